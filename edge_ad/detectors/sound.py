"""Sound and vibration to fit on: windows of raw samples, split by recordings, as standardised log-mel features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.data.recordings import split_recordings
from edge_ad.data.series_splits import SeriesFacts, find_series_splits, survey
from edge_ad.detectors.vectors import MOST_FITTED, Vectors
from edge_ad.errors import DataError, UsageError
from edge_ad.runtime.integer.log_mel import STANDARD_UNIT, LogMel, log_mel, standard, standardised
from edge_ad.runtime.series.log_mel import LogMelFront, integer_samples
from edge_ad.runtime.series.readers import Values

HEADROOM = (
    4.0  # of a converter above the loudest sample of the fit, where the files do not say what they come from
)
_BLOCK = 512  # frames that are transformed at a time

Int16 = npt.NDArray[np.int16]


class SoundConfig(BaseModel):
    """Which features are taken of samples: `edge_ad.runtime.integer.log_mel.LogMel`, by default AD01's.

    rate_hz: samples a second, None for what the files say. channel: the one to take of several. high_hz: None for half
    the rate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frame: Annotated[int, Field(gt=0)] = 1024
    hop: Annotated[int, Field(gt=0)] = 512
    bands: Annotated[int, Field(gt=0)] = 128
    frames: Annotated[int, Field(gt=0)] = 5
    low_hz: Annotated[float, Field(ge=0)] = 0.0
    high_hz: Annotated[float, Field(gt=0)] | None = None
    rate_hz: Annotated[float, Field(gt=0)] | None = None
    channel: str | None = None


def prepare_sound(root: Path, config: SoundConfig, holdout: float | None) -> Vectors:
    """Features of the normal recordings of `root`, each band standardised by what it is in those to fit on.

    Raises DataError, and UsageError for features that there cannot be.
    """
    facts = _one_channel(root, config)
    features = _features(config, facts, root)
    window = WindowSpec(
        length=features.length, hop=features.hop, rate_hz=facts.rate_hz, channels=facts.channels
    )
    splits = split_recordings(root, facts, window, holdout)
    sets = find_series_splits(splits, root, window)
    unit = converter_unit(facts)
    chosen = islice(sets.fit, 0, None, max(1, -(-len(sets.fit) // MOST_FITTED)))
    found = window_features(chosen, features, unit)
    means, gains = standard(found)
    front = LogMelFront(features, unit, tuple(means), tuple(gains))
    input_ = InputSpec(
        modality="series", shape=(1, features.bands, features.frames), dtype="float32", preprocess=front.spec,
        window=window,
    )  # fmt: skip
    calibration = window_features(sets.calibration, features, unit)
    return Vectors(input_, splits, _standardised(found, front), _standardised(calibration, front))


def converter_unit(facts: SeriesFacts) -> float:
    """What a step of a 16-bit converter stands for: the files' own, or a power of two that leaves headroom."""
    if facts.unit is not None:
        return facts.unit
    return 2.0 ** math.ceil(math.log2(HEADROOM * facts.peak / (1 << 15)))


def window_features(windows: Iterable[Values], features: LogMel, unit: float) -> Int16:
    """(n, frames, bands) of windows (length, 1): `log_mel` of each, its frames transformed once where windows share
    them."""
    newest: list[int] = []  # of each window, the number of its newest frame

    def frames() -> Iterator[Int16]:
        before: Int16 | None = None
        count = 0
        for values in windows:
            samples = integer_samples(values, features.length, unit)
            follows = before is not None and np.array_equal(samples[: -features.hop], before[features.hop :])
            for place in range(features.frames - 1 if follows else 0, features.frames):
                yield samples[place * features.hop :][: features.frame]
                count += 1
            newest.append(count - 1)
            before = samples

    single = LogMel(**{**vars(features), "frames": 1})
    given = frames()
    blocks: list[Int16] = []
    while block := list(islice(given, _BLOCK)):
        blocks.append(log_mel(np.stack(block), single)[:, 0])
    if not blocks:
        return np.zeros((0, features.frames, features.bands), np.int16)
    places = np.array(newest)[:, None] + np.arange(1 - features.frames, 1)
    return np.concatenate(blocks)[places]


def _standardised(found: Int16, front: LogMelFront) -> torch.Tensor:
    values = standardised(found, front.means, front.gains) * np.float32(STANDARD_UNIT)
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _one_channel(root: Path, config: SoundConfig) -> SeriesFacts:
    facts = survey(root, config.rate_hz, None if config.channel is None else [config.channel])
    if len(facts.channels) != 1:
        raise DataError(
            f"has {len(facts.channels)} channels ({', '.join(facts.channels[:8])}), features are of one", where=root,
            hint=f"name it: --channel {facts.channels[0]}",
        )  # fmt: skip
    if facts.rate_hz is None:
        raise DataError("does not say how many samples a second it has", where=root, hint="give --rate-hz")
    return facts


def _features(config: SoundConfig, facts: SeriesFacts, root: Path) -> LogMel:
    assert facts.rate_hz is not None
    high = facts.rate_hz / 2 if config.high_hz is None else config.high_hz
    try:
        return LogMel(
            rate_hz=facts.rate_hz, frame=config.frame, hop=config.hop, bands=config.bands, frames=config.frames,
            low_hz=config.low_hz, high_hz=high,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"log-mel features cannot be taken: {error}", where=root,
                         hint="take fewer bands or another frame") from error  # fmt: skip
