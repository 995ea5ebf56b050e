"""From somebody's ONNX file and what is said of it to a model folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.bundle.names import shown
from edge_ad.data.series_splits import SeriesSplits, split_series, survey
from edge_ad.data.splits import Splits, split_normals
from edge_ad.detectors.imported.config import Head, ImportConfig, Layout
from edge_ad.detectors.imported.detector import Imported
from edge_ad.detectors.imported.reading import check_runs, dimensions, opset_of, read_network
from edge_ad.detectors.model_folder import MODEL_FILE
from edge_ad.errors import ModelError, UsageError
from edge_ad.runtime.preprocess import resize_spec
from edge_ad.runtime.series.standardise import standardise_spec

HOLDOUT = 0.5  # of the normal inputs, for the threshold: there is no fit that would need them
# By name: what pixels of 0 to 255 are divided by, then mean and standard deviation by channel.
PIXELS: dict[str, tuple[float, list[float], list[float]]] = {
    "0..1": (255.0, [0.0], [1.0]),
    "0..255": (1.0, [0.0], [1.0]),
    "-1..1": (255.0, [0.5], [0.5]),
    "imagenet": (255.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}


@dataclass(frozen=True)
class Said:
    """What the user says of a network. mean, std: of each channel, in place of those of `pixels`; for series in the
    data's own units. length and channels of series follow from the shape and `channels`."""

    head: Head
    modality: Literal["image", "series"] = "image"
    shape: tuple[int, ...] | None = None
    layout: Layout | None = None
    pixels: str = "0..1"
    bgr: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    outputs: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    hop: int = 1
    rate_hz: float | None = None
    holdout: float = HOLDOUT
    seed: int = 42


def import_network(path: Path, data: Path, out: Path, said: Said) -> Imported:
    """Read, check and describe the network in `path`, choose normal inputs below `data`, and write the model folder.

    Raises ModelError for a network that cannot be taken, UsageError for what does not fit it, DataError for the data.
    """
    if (out / MODEL_FILE).exists():
        raise ModelError("holds a model already", where=out, hint="choose another --out")
    model = read_network(path, said.shape)
    check_runs(model, path)
    given = next(v for v in model.graph.input if v.name not in {t.name for t in model.graph.initializer})
    shape = tuple(int(d or 0) for d in dimensions(given))
    outputs = _outputs(model, said, shape, path)
    splits: Splits | SeriesSplits
    if said.modality == "image":
        layout, spec, gain, offset = _image(shape, said, path)
        splits = _all_for_calibration(split_normals(data, said.seed, said.holdout))
    else:
        layout, spec, splits = _series(shape, said, data, path)
        gain, offset = [1.0] * len(said.channels or spec.window.channels), [0.0] * spec.shape[1]  # type: ignore[union-attr]
    config = ImportConfig(
        name=re.sub(r"[^\x21-\x7e]", "-", path.stem)[:60] or "network", head=said.head, shape=shape, layout=layout,
        gain=gain, offset=offset, bgr=said.bgr, input=spec, network_input=given.name, outputs=outputs,
        sha256=hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(), opset=opset_of(model),
        seed=said.seed,
    )  # fmt: skip
    detector = Imported(config, splits, model)
    detector.save(out)
    return detector


def _outputs(model: onnx.ModelProto, said: Said, shape: tuple[int, ...], path: Path) -> list[str]:
    """The outputs that the head takes. Raises UsageError, naming those that there are."""
    found = {output.name: tuple(int(d or 0) for d in dimensions(output)) for output in model.graph.output}
    told = ", ".join(f"{shown(name)} {size}" for name, size in found.items())
    for name in said.outputs:
        if name not in found:
            raise UsageError(f"has no output {shown(name)}", where=path, hint=f"it has: {told}")
    names = list(said.outputs) or list(found)
    fit: list[list[str]]
    if said.head == "mse":
        fit = [[name] for name in names if found[name] == shape]
    elif said.head == "channel-mse":
        pairs = [[a, b] for i, a in enumerate(names) for b in names[i + 1 :] if found[a] == found[b]]
        fit = pairs or [[name] for name in names if found[name] == shape]
    elif said.head == "value":
        fit = [[name] for name in names if _values(found[name]) == 1]
    else:
        fit = [[name] for name in names if sum(size != 1 for size in found[name]) <= 2]
    if len(fit) == 1:
        return fit[0]
    hint = f"its input is {shape}, it gives: {told}"
    if not fit:
        raise UsageError(f"gives nothing that the head '{said.head}' takes", where=path, hint=hint)
    raise UsageError(
        f"more than one output fits the head '{said.head}'", where=path, hint=f"--output NAME; {hint}"
    )


def _values(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _image(
    shape: tuple[int, ...], said: Said, path: Path
) -> tuple[Layout, InputSpec, list[float], list[float]]:
    layout = said.layout
    if layout is None and len(shape) == 4:
        layout = "nchw" if shape[1] in (1, 3) else "nhwc" if shape[3] in (1, 3) else None
    if len(shape) != 4 or layout not in ("nchw", "nhwc"):
        raise UsageError(
            f"takes {shape}, which is no image", where=path, hint="--input series, or --layout nchw or nhwc"
        )
    channels, height, width = (shape[1], *shape[2:]) if layout == "nchw" else (shape[3], *shape[1:3])
    if channels not in (1, 3):
        raise UsageError(f"takes images of {channels} channels, 1 or 3 are possible", where=path)
    scale, mean, std = PIXELS[said.pixels]
    mean, std = (
        list(given) if given is not None else own for given, own in ((said.mean, mean), (said.std, std))
    )
    mean, std = (_each(values, channels, what, path) for values, what in ((mean, "--mean"), (std, "--std")))
    if min(std) <= 0:
        raise UsageError("--std must be above 0")
    spec = InputSpec(
        modality="image", shape=(1, 3, height, width), dtype="uint8", preprocess=resize_spec(height, width)
    )
    gain = [1 / (scale * s) for s in std]
    return layout, spec, gain, [-m / s for m, s in zip(mean, std, strict=True)]


def _series(
    shape: tuple[int, ...], said: Said, data: Path, path: Path
) -> tuple[Layout, InputSpec, SeriesSplits]:
    layout = said.layout or "ncl"
    if len(shape) != 3 or layout not in ("ncl", "nlc"):
        raise UsageError(
            f"takes {shape}, which is no window of a series", where=path, hint="--layout ncl or nlc"
        )
    count, length = (shape[1], shape[2]) if layout == "ncl" else (shape[2], shape[1])
    facts = survey(data, said.rate_hz, list(said.channels) or None)
    if len(facts.channels) != count:
        raise UsageError(
            f"takes {count} channels of {length} rows, the data has {len(facts.channels)}", where=path,
            hint=f"name them: --channels {','.join(facts.channels[:3])}, or say --layout ncl or nlc",
        )  # fmt: skip
    mean = _each(list(said.mean or [0.0]), count, "--mean", path)
    std = _each(list(said.std or [1.0]), count, "--std", path)
    if min(std) <= 0:
        raise UsageError("--std must be above 0")
    window = WindowSpec(length=length, hop=said.hop, rate_hz=facts.rate_hz, channels=facts.channels)
    splits = split_series(data, facts, window, said.holdout)
    parts = [p.model_copy(update={"fit": (0, 0), "calibration": (0, p.calibration[1])}) for p in splits.parts]
    spec = InputSpec(
        modality="series", shape=(1, count, length), dtype="float32", preprocess=standardise_spec(mean, std),
        window=window,
    )  # fmt: skip
    return layout, spec, splits.model_copy(update={"parts": parts})


def _each(values: list[float], channels: int, what: str, path: Path) -> list[float]:
    """One number a channel. Raises UsageError."""
    if len(values) == 1:
        return values * channels
    if len(values) == 3 and channels == 1:  # those of ImageNet, for a grey image
        return [sum(values) / 3]
    if len(values) != channels:
        raise UsageError(f"{what} holds {len(values)} numbers for {channels} channels", where=path)
    return values


def _all_for_calibration(splits: Splits) -> Splits:
    """What a fit would take, for the calibration."""
    both = sorted([*splits.fit, *splits.calibration], key=lambda entry: entry.name)
    return splits.model_copy(update={"fit": [], "calibration": both})
