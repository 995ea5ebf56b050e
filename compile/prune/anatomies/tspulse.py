"""TSPulse as pruning sees it: the newest patch and the spectrum that the core gives.

The core is brought into its scoring form first, in which a mixer's gate narrows with its hidden layer. The mixers'
hidden widths go, the features of all tokens, which the residual stream joins from the embeddings to the heads, and the
register tokens. Time and spectrum tokens are the window's own and stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomy import Anatomy, Kept, Parts
from edge_ad.compile.prune.groups import LAYERS
from edge_ad.compile.prune.joined import Joined, Slices, of_layer
from edge_ad.detectors.base import Detector
from edge_ad.detectors.tspulse.detector import TsPulse
from edge_ad.detectors.tspulse.network import Core, Mixer
from edge_ad.detectors.tspulse.scaling import Scaling
from edge_ad.detectors.tspulse.scoring_form import scoring_form
from edge_ad.detectors.tspulse.stages import Front, Tail, scoring_network

# On a Cortex-M7 a multiply-accumulate of these layers takes 1.5 instructions, an output 22 besides, and what is done to
# it before the next layer, by the norm, the curve or the gated sum, 10 to 33.
OVERHEAD = 30


class Reconstructed(nn.Module):
    """Windows (N, C, S) to the core's outputs for each channel of each: (N, C, p) and (N, C, S), scaled."""

    def __init__(self, scaling: Scaling, core: Core):
        super().__init__()
        self.core = core
        self._ends = Front(scaling), Tail(scaling)  # no submodules: they stay as they are

    def found(self, x: Tensor) -> tuple[Tensor, ...]:
        """What stands before the core, a row for each channel of each window, and what goes past it."""
        with torch.no_grad():
            made: tuple[Tensor, ...] = self._ends[0](x.reshape(1, -1, x.shape[-1]))
        return made

    def forward(self, x: Tensor) -> Parts:
        patch, spectrum = self.core(*self.found(x)[:2])
        return patch.reshape(*x.shape[:2], -1), spectrum.reshape(*x.shape[:2], -1)

    def errors(self, parts: Parts, x: Tensor) -> Tensor:
        """The errors that the head takes, (N, streams, C)."""
        errors = self._ends[1](parts[0].flatten(0, 1), parts[1].flatten(0, 1), *self.found(x)[2:])
        return errors.reshape(-1, x.shape[0], x.shape[1]).transpose(0, 1)


def anatomy(detector: Detector, normal: Tensor, changed: Tensor, calibration: Tensor) -> Anatomy:
    """The score of one window is the head's, over all of its channels."""
    assert isinstance(detector, TsPulse)
    config, core = scoring_form(detector.config, detector.core)
    network = Reconstructed(detector.scaling, core.eval().requires_grad_(True))
    staged = scoring_network(detector.scaling, detector.core).eval()
    with torch.no_grad():
        outputs = [{"errors": staged(window[None]).numpy()} for window in calibration]
    scale = torch.tensor(detector.fit_head(outputs, {}).params["scale"])

    def score(parts: Parts, x: Tensor) -> Tensor:
        return torch.log1p(network.errors(parts, x) / scale).mean((1, 2))

    def rebuilt(pruned: nn.Module, kept: Kept, calibration: Tensor, fit_info: dict[str, Any]) -> Detector:
        assert isinstance(pruned, Reconstructed)
        return replace(detector, config=config, core=pruned.core, fit_info=fit_info)

    fixed = [n for n, m in network.named_modules() if isinstance(m, LAYERS) and not n.endswith(".up")]
    channels = normal.shape[1]
    return Anatomy(
        network,
        score,
        (None, None),
        rebuilt,
        frozenset(fixed),
        batch=max(1, 64 // channels),
        rate=2e-3,
        steps=3000,
        joined=joined_of,
        unpruned=Reconstructed(detector.scaling, detector.core),
        overhead=OVERHEAD,
    )


def joined_of(network: nn.Module) -> list[Joined]:
    """The features of all tokens, and the register tokens where there are any."""
    assert isinstance(network, Reconstructed)
    core = network.core
    return [_features(core)] + ([_registers(core)] if len(core.registers) else [])


def _features(core: Core) -> Joined:
    """Read by each mixer through its norm, or without one by its first matrix, and by the heads."""
    width = core.time_embedding.out_features
    each = torch.arange(width)[:, None]
    tokens = core.base_norm.weight.numel() // width
    flat = each + width * torch.arange(tokens)
    parts = [
        *of_layer("core.time_embedding", 0, each),
        *of_layer("core.spectrum_embedding", 0, each),
        Slices("core.registers", 1, each),
        *of_layer("core.base_norm", 0, flat),
        *of_layer("core.time_head", 1, each, read=True),
        *of_layer("core.spectrum_head", 1, each, read=True),
    ]
    runs: list[str] = []
    for name, mixer in _mixers(core):
        normed = not isinstance(mixer.norm, nn.Identity)
        if normed:
            parts += of_layer(f"{name}.norm", 0, each, read=True)
        parts += [
            Slices(f"{name}.norm.{statistic}", 0, each)
            for statistic in ("running_mean", "running_var")
            if hasattr(mixer.norm, statistic)
        ]
        if mixer.over_tokens:
            runs += _layers(name)
        else:
            parts += of_layer(f"{name}.up", 1, each, read=not normed)
            parts += _outputs(name, each)
    return Joined("features", width, tuple(parts), dict.fromkeys(runs, width))


def _registers(core: Core) -> Joined:
    """Read by the mixers over tokens. They go together, up to four: three fewer tokens cost kernels as much as none."""
    count, first = len(core.registers), 2 * core.patches
    width = core.time_embedding.out_features
    place = torch.arange(count)[:, None]
    each = first + place
    parts = [
        Slices("core.registers", 0, place),
        *of_layer("core.base_norm", 0, each * width + torch.arange(width)),
    ]
    runs: list[str] = []
    trimmed = False
    for name, mixer in _mixers(core):
        trimmed = trimmed or mixer.kept is not None
        if mixer.over_tokens:
            parts += of_layer(f"{name}.up", 1, each, read=True)
            parts += () if trimmed else _outputs(name, each)
        elif not trimmed:
            runs += _layers(name)
    all_runs = dict.fromkeys(runs, first + count)
    return Joined("registers", count, tuple(parts), all_runs, step=min(count, 4), least=0)


def _mixers(core: Core) -> Iterator[tuple[str, Mixer]]:
    for index, mixer in enumerate(core.mixers):
        assert isinstance(mixer, Mixer)
        yield f"core.mixers.{index}", mixer


def _layers(mixer: str) -> list[str]:
    return [f"{mixer}.{part}" for part in ("up", "down", "gate.linear")]


def _outputs(mixer: str, places: Tensor) -> tuple[Slices, ...]:
    """Of what a mixer adds to the stream."""
    return (*of_layer(f"{mixer}.down", 0, places), *of_layer(f"{mixer}.gate.linear", 0, places))
