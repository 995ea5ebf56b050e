"""A fitted STARNet: its model folder, its networks, its head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_ad.bundle.manifest import DetectorInfo, HeadSpec, InputSpec, Threshold
from edge_ad.data.inputs import find_normals
from edge_ad.data.series_splits import SeriesSplits
from edge_ad.data.splits import Splits
from edge_ad.detectors.base import Outputs, Part, Staged
from edge_ad.detectors.model_folder import (
    LOAD_ERRORS,
    check_version,
    damaged,
    load_modules,
    module_tensors,
    read_tensors,
    write_model,
)
from edge_ad.detectors.starnet.choose import (
    FEWEST_TO_CHOOSE,
    Choice,
    Gains,
    choose_gains,
    choose_head,
    choose_score,
    sensitivities,
)
from edge_ad.detectors.starnet.config import PRESETS, StarNetConfig
from edge_ad.detectors.starnet.data import is_vector
from edge_ad.detectors.starnet.network import (
    Decoder,
    Encoder,
    Front,
    Reconstruction,
    Tail,
    VectorFront,
)
from edge_ad.detectors.widths import check_joined, is_pruned, take_widths
from edge_ad.runtime.engines.base import Engine, EngineInfo
from edge_ad.runtime.heads.likelihood_regret import PAIRS, noise

NAME = "starnet"
VERSION = 1
# Generic disturbances of clean features, mild ones: standard deviations of a channel, share of cells, factor.
NOISE, MISSING, GAIN = 0.1, 0.05, 0.95


class TorchEngine:
    """A module as an engine, for choices that are made before anything is compiled."""

    parts: ClassVar[Mapping[str, Engine]] = {}

    def __init__(self, module: nn.Module):
        self._module = module.eval()

    def infer(self, batch: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The module's one output."""
        with torch.no_grad():
            return {"output": self._module(torch.from_numpy(batch)).numpy()}

    def describe(self) -> EngineInfo:
        """PyTorch as it is installed."""
        return EngineInfo("torch", torch.__version__, "CPU", "", torch.get_num_threads(), "fp32")

    def close(self) -> None:
        """Nothing to release."""


@dataclass
class StarNet:
    """The detector contract for STARNet."""

    name: ClassVar[str] = NAME
    outputs: ClassVar[tuple[str, ...]] = ("mean", "logvar", "features", "mahalanobis")

    config: StarNetConfig
    splits: Splits | SeriesSplits
    input: InputSpec
    front: Front
    encoder: Encoder
    decoder: Decoder
    fit_info: dict[str, Any] = field(default_factory=dict)
    choice: Choice | None = None

    def network(self) -> nn.Module:
        """Preprocessed features (1, …) to the posterior's mean and log variance (1, latent), the standardised features
        and their Mahalanobis distance (1, 1)."""
        return self.simplified()

    def simplified(self) -> Staged:
        """The same: only the encoder is quantized."""
        return Staged(self.front, self.encoder, Tail(), core_inputs=1).eval()

    def parts(self) -> Mapping[str, Part]:
        """The decoder, for `PAIRS` points of the latent space at once."""
        return {"decoder": Part(self.decoder.eval(), (PAIRS, self.latent), ("reconstruction",), self.around)}

    def around(self, outputs: Outputs) -> Iterator[npt.NDArray[np.float32]]:
        """Points that the search may ask for: the posterior's mean with the shared noise, and steps to either side."""
        mean, logvar = outputs["mean"].astype(np.float64), outputs["logvar"].astype(np.float64)
        draw = noise(self.config.seed, mean.shape[1]) * np.exp(0.5 * logvar)
        random = np.random.default_rng(self.config.seed)
        for size in (0.0, 0.25, 1.0):
            step = size * random.choice([-1.0, 1.0], mean.shape)
            rows = [mean + step + draw, mean - step + draw, mean + step - draw, mean - step - draw]
            yield np.concatenate(rows).astype(np.float32)

    def fit_head(self, outputs: Iterable[Outputs], parts: Mapping[str, Engine]) -> HeadSpec:
        """The fit's gains, and ranges from one compiled form's outputs for clean inputs (`choose`)."""
        chosen = Gains(**self.fit_info["search"]) if "search" in self.fit_info else None
        self.choice = choose_head(
            self.config, self.fit_info["variance"], self.score, list(outputs), parts["decoder"], chosen
        )
        return self.choice.head

    @property
    def latent(self) -> int:
        """Dimensions of the latent space; fewer than the preset's once it has been pruned."""
        return self.encoder.mean.out_features

    @property
    def score(self) -> str:
        """The figure that a bundle alarms on: the one asked for, or the one chosen on clean data at the fit."""
        chosen: str = self.config.score or self.fit_info["score"]
        return chosen

    @torch.no_grad()
    def tune(self, inputs: Tensor) -> None:
        """Choose the search's gains and the score on clean preprocessed inputs (n, …), into `fit_info`."""
        network, decoder, info = self.simplified(), TorchEngine(self.decoder), self.fit_info
        outputs = [
            {n: t.numpy() for n, t in zip(self.outputs, network(x[None]), strict=True)} for x in inputs
        ]
        gains = choose_gains(self.config, info["variance"], outputs, decoder)
        head = choose_head(self.config, info["variance"], "neg_elbo", outputs, decoder, gains).head
        found = sensitivities(head, outputs, decoder, self._disturbed)
        info["search"] = asdict(gains)
        info["sensitivity"] = {name: round(value, 3) for name, value in found.items()}
        info["score"] = choose_score(info["sensitivity"], len(outputs))

    @torch.no_grad()
    def _disturbed(self, outputs: Outputs) -> Iterator[Outputs]:
        """Outputs for disturbed copies of clean features: noise in every value, another gain, and values that are
        empty, at random or along one axis of the image."""
        features = torch.from_numpy(outputs["features"]).reshape(self.input.shape)
        raw = features * self.front.std + self.front.mean
        random = torch.Generator().manual_seed(self.config.seed)
        changed = [raw + NOISE * self.front.std * torch.randn(raw.shape, generator=random), GAIN * raw]
        for axes in disturbed_axes(tuple(raw.shape)):
            missing = torch.rand(axes, generator=random) < MISSING
            missing.view(-1)[int(torch.randint(missing.numel(), (), generator=random))] = True  # at least one
            changed.append(raw.masked_fill(missing, 0.0))
        for copy in changed:
            yield {n: t.numpy() for n, t in zip(self.outputs, self.simplified()(copy), strict=True)}

    def finish_head(self, head: HeadSpec, threshold: Threshold) -> HeadSpec:
        """Where regret is the score, its search may end once the threshold is passed."""
        if head.params["score"] != "regret":
            return head
        _, centre, high = head.params["ranges"]["regret"]
        bound = centre + 1.01 * max(threshold.value, 0.0) * (high - centre)
        return head.model_copy(update={"params": {**head.params, "stop_at": bound}})

    def decisions(self) -> list[tuple[str, str]]:
        found = [] if self.choice is None else [("score", self.choice.sentence)]
        if self.config.score is not None:
            return [("score", f"The score is '{self.score}', two-sided, as was asked for."), *found]
        told = ", ".join(f"{name} {value:.2g}" for name, value in self.fit_info["sensitivity"].items())
        why = "the cheapest figure that moves at least half as far as any when clean inputs are disturbed a little"
        n = self.fit_info["inputs"]["calibration"]
        if n < FEWEST_TO_CHOOSE:
            why = f"the cheapest figure, since {n} inputs are too few to tell what another one is worth"
        return [
            ("score", f"The score is '{self.score}', two-sided: {why} (in units of its spread: {told})."),
            *found,
        ]

    def info(self) -> DetectorInfo:
        return DetectorInfo(
            name=NAME,
            preset=self.config.preset,
            version=VERSION,
            config=self.config.model_dump(mode="json"),
            fit=self.fit_info,
        )

    def unfitted(self, preset: str) -> StarNet:
        """A detector for the same features with another preset's size and weights that learnt nothing."""
        config = PRESETS[preset].model_copy(update={"features": self.config.features, "score": self.score})
        channels = self.input.shape[1]
        vector = is_vector(self.input.shape)
        columns = config.rows if config.features == "bev" else config.columns
        extents = (1,) if vector else (config.rows, columns)
        shape = (channels,) if vector else (channels, *extents)
        rows = (1, *shape[:-1]) if not vector else (1, channels)
        statistic = (1, channels, *(1 for _ in extents))
        front = (VectorFront if vector else Front)(
            torch.zeros(statistic), torch.ones(statistic), torch.zeros(rows), torch.ones(rows)
        )
        encoder, decoder = (kind(shape, config.widths, config.latent) for kind in (Encoder, Decoder))
        input_ = self.input.model_copy(update={"shape": (1, channels, *extents)})
        return StarNet(config, self.splits, input_, front, encoder, decoder, {**self.fit_info})

    def held_back(self, data: Path) -> int:
        """How many normal inputs of `data` are kept for the threshold."""
        return len(find_normals(self.splits, data, self.input).threshold)

    def save(self, folder: Path) -> None:
        tensors = module_tensors(front=self.front, encoder=self.encoder, decoder=self.decoder)
        write_model(
            folder, NAME, VERSION, self.config, self.splits, self.fit_info, tensors,
            input=self.input.model_dump(mode="json"),
        )  # fmt: skip

    @classmethod
    def load(cls, folder: Path, described: dict[str, Any]) -> StarNet:
        """Read a model folder whose `model.json` holds `described`. Raises ModelError."""
        check_version(described, NAME, VERSION, folder)
        try:
            config = StarNetConfig.model_validate(described["config"])
            spec = InputSpec.model_validate(described["input"])
            vector = is_vector(spec.shape)
            kind: type[Splits] | type[SeriesSplits] = SeriesSplits if vector else Splits
            splits = kind.model_validate(described["splits"])
            tensors = read_tensors(folder)
            shape = (spec.shape[1],) if vector else spec.shape[1:]
            statistics = [tensors[f"front.{name}"] for name in ("mean", "std", "row_mean", "row_std")]
            front = (VectorFront if vector else Front)(*(torch.zeros_like(s) for s in statistics))
            encoder, decoder = (k(shape, config.widths, config.latent) for k in (Encoder, Decoder))
            pruned = is_pruned(described["fit"])
            if pruned:
                take_widths(tensors, encoder=encoder, decoder=decoder)
            load_modules(tensors, front=front, encoder=encoder, decoder=decoder)
            if pruned:
                check_joined(
                    nn.Sequential(front, Reconstruction(encoder, decoder)), spec.shape, torch.float32
                )
            return cls(config, splits, spec, front, encoder, decoder, described["fit"])
        except LOAD_ERRORS as error:
            raise damaged(error, folder) from error


def disturbed_axes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of masks that hide values of features of `shape`: cells, whole rows, whole columns; channels of a
    vector."""
    if is_vector(shape):
        return [(1, shape[1], 1)]
    return [(1, 1, shape[2], shape[3]), (1, 1, shape[2], 1), (1, 1, 1, shape[3])]
