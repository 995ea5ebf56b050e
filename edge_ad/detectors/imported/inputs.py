"""What devices acquire for an imported network, and how that becomes its input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.data.series_splits import SeriesSplits, split_series, survey
from edge_ad.data.splits import Splits, split_normals
from edge_ad.detectors.imported.config import Head, Layout
from edge_ad.detectors.imported.reading import told
from edge_ad.errors import UsageError
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
    """What the user says of a network; None is what follows from the shape of its input and from the data.

    mean, std: of each channel in the network's order, in place of those of `pixels`; for series in the data's own
    unit. hop: rows between windows of a series. exact_from: as of `ImportConfig`.
    """

    head: Head
    modality: Literal["image", "series"] = "image"
    shape: tuple[int, ...] | None = None
    layout: Layout | None = None
    pixels: str | None = None
    bgr: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    outputs: tuple[str, ...] = ()
    exact_from: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    hop: int | None = None
    rate_hz: float | None = None
    holdout: float = HOLDOUT
    seed: int = 42


@dataclass(frozen=True)
class Found:
    """The input of a network: layout, what devices acquire and preprocess, what that is multiplied with and added to by
    channel in the network's order, and the normal inputs that are set aside."""

    layout: Layout
    spec: InputSpec
    gain: list[float]
    offset: list[float]
    splits: BaseModel


def image_input(shape: tuple[int, ...], said: Said, data: Path, path: Path) -> Found:
    """Of a network of images. Raises UsageError for a shape that is none, DataError for the data."""
    for given, option in ((said.channels, "--channels"), (said.hop, "--hop"), (said.rate_hz, "--rate-hz")):
        if given:
            raise UsageError(f"{option} is for series", hint="--input series")
    layout = said.layout
    if layout is None and len(shape) == 4:
        layout = "nchw" if shape[1] in (1, 3) else "nhwc" if shape[3] in (1, 3) else "nchw"
    if len(shape) != 4 or layout not in ("nchw", "nhwc"):
        raise UsageError(
            f"takes {told(shape)}, which is no image",
            where=path,
            hint="--input series, or --layout nchw or nhwc",
        )
    channels, height, width = (shape[1], *shape[2:]) if layout == "nchw" else (shape[3], *shape[1:3])
    if channels not in (1, 3):
        raise UsageError(
            f"takes images {told(shape)} of {channels} channels, 1 or 3 are possible",
            where=path,
            hint="see --layout",
        )
    if said.bgr and channels == 1:
        raise UsageError("--bgr is for images of three channels", where=path)
    scale, *usual = PIXELS[said.pixels or "0..1"]
    mean, std = (numbers[::-1] if said.bgr else numbers for numbers in usual)
    means, stds = _each(said.mean or mean, channels, "--mean"), _each(said.std or std, channels, "--std")
    spec = InputSpec(
        modality="image", shape=(1, 3, height, width), dtype="uint8", preprocess=resize_spec(height, width)
    )
    return Found(
        layout,
        spec,
        gain=[1 / (scale * s) for s in stds],
        offset=[-m / s for m, s in zip(means, stds, strict=True)],
        splits=_all_for_calibration(split_normals(data, said.seed, said.holdout)),
    )


def series_input(shape: tuple[int, ...], said: Said, data: Path, path: Path) -> Found:
    """Of a network of series, or of their rows one by one. Raises UsageError for another shape, DataError for the data.

    Devices standardise each channel by its mean and spread in `data`, as for every detector of series, so that values
    are of one size wherever they come from; gain and offset take that back, and do what the user says instead.
    """
    for given, option in ((said.pixels, "--pixels"), (said.bgr, "--bgr")):
        if given:
            raise UsageError(f"{option} is for images", hint="--input image")
    layout = said.layout or ("nc" if len(shape) == 2 else "ncl")
    if len(shape) != len(layout) or layout not in ("ncl", "nlc", "nc"):
        raise UsageError(
            f"takes {told(shape)}, which is no window of a series",
            where=path,
            hint="see --input and --layout",
        )
    length = {"ncl": shape[-1], "nlc": shape[1], "nc": 1}[layout]
    count = shape[2] if layout == "nlc" else shape[1]
    facts = survey(data, said.rate_hz, list(said.channels) or None)
    if len(facts.channels) != count:
        raise UsageError(
            f"takes {count} channels of {length} rows, the data has {len(facts.channels)}: "
            f"{', '.join(facts.channels[:8])}",
            where=path, hint="choose by --channels, or see --layout",
        )  # fmt: skip
    means, stds = _each(said.mean or (0.0,), count, "--mean"), _each(said.std or (1.0,), count, "--std")
    window = WindowSpec(length=length, hop=said.hop or length, rate_hz=facts.rate_hz, channels=facts.channels)
    splits: SeriesSplits = split_series(data, facts, window, said.holdout)
    parts = [p.model_copy(update={"fit": (0, 0), "calibration": (0, p.calibration[1])}) for p in splits.parts]
    spec = InputSpec(
        modality="series", shape=(1, count, length), dtype="float32",
        preprocess=standardise_spec(facts.mean, facts.std), window=window,
    )  # fmt: skip
    return Found(
        layout,
        spec,
        gain=(np.array(facts.std) / stds).tolist(),
        offset=((np.array(facts.mean) - means) / stds).tolist(),
        splits=splits.model_copy(update={"parts": parts}),
    )


def _each(values: list[float] | tuple[float, ...], channels: int, what: str) -> list[float]:
    """One number a channel. Raises UsageError."""
    if what == "--std" and min(values) <= 0:
        raise UsageError("--std must be above 0")
    if len(values) == 1:
        return list(values) * channels
    if len(values) == 3 and channels == 1:  # those of ImageNet, for a grey image
        return [sum(values) / 3]
    if len(values) != channels:
        raise UsageError(f"{what} holds {len(values)} numbers, the network takes {channels} channels")
    return list(values)


def _all_for_calibration(splits: Splits) -> Splits:
    """What a fit would take, for the calibration."""
    both = sorted([*splits.fit, *splits.calibration], key=lambda entry: entry.name)
    return splits.model_copy(update={"fit": [], "calibration": both})
