"""Log-mel features of sound or vibration, in integers: windows of int16 samples to int16 decibels, standardised.

What AD01 of MLPerf Tiny and the baseline of DCASE 2020 task 2 take from librosa in float: overlapping frames, each
under a periodic Hann window, their power spectra, triangular filters evenly spaced on Slaney's mel scale and of equal
area ("Auditory Toolbox", 1998), 10 log10, and `frames` frames one after the other. Frames lie inside the window: none
is padded.

In integers: the window is 1 less the cosine that the FFT (`rfft`) has, with 30 fractional bits. A frame has one
exponent, chosen before it is transformed so that its largest sample has 31 - log2(frame) bits: one more than `rfft`
takes, because no sum of samples under this window is more than half of what it is without. Powers have 48 bits. Two
neighbouring filters overlap so that their weights add to 1, hence one weight a bin; their areas and every other factor
are an offset to the logarithm, which has 16 fractional bits and comes from a table (`functions.log2`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.integer.arithmetic import Int64, round_shift
from edge_ad.runtime.integer.functions import logarithms
from edge_ad.runtime.integer.rfft import TURN, log2_size, rfft_shift, rfft_words, turned

UNITS_OF_A_DB = 128  # features are in units of 1/128 dB
STANDARD_UNIT = 2.0**-11  # of standardised features, in standard deviations: int16 from -16 to 16
GAIN_BITS = 16  # fractional bits of a gain
LEAST_SPREAD_DB = 0.25
FULL_SCALE = 1 << 15  # the sample that stands for 1.0
_WEIGHT_BITS = 14  # fractional bits of the filters' weights
_POWER_SHIFT = (
    12  # a frame's powers add up to 2^60.6 at most, and with weights to less than 2^63 after this shift
)
_WINDOW_BITS = 31  # the window's fractional bits
_DB_SHIFT = 38
DB_MULTIPLIER = round(10 * math.log10(2) * UNITS_OF_A_DB / 2**16 * 2**_DB_SHIFT)
_LOG_BITS = 6  # segments of the logarithm's table between two powers of two: 2^6

UInt16 = npt.NDArray[np.uint16]
Int16 = npt.NDArray[np.int16]


@dataclass(frozen=True)
class LogMel:
    """What the features are of. frame: samples, a power of two from 64 to 2048. bands: of each frame. frames: to a
    window. floor_db: what less power is shown as; samples are taken as from -1.0 to 1.0. Above -75 dB features are
    within 0.1 dB of exact ones, also beside a tone of full scale."""

    rate_hz: float = 16000.0
    frame: int = 1024
    hop: int = 512
    bands: int = 128
    frames: int = 5
    low_hz: float = 0.0
    high_hz: float = 8000.0
    floor_db: float = -75.0

    def __post_init__(self) -> None:
        """Raises ValueError for what there cannot be."""
        log2_size(self.frame)
        if not 1 <= self.hop <= self.frame:
            raise ValueError(f"a hop of {self.hop} samples between frames of {self.frame}")
        if self.bands < 1 or self.frames < 1 or self.bands * self.frames > 1 << 16:
            raise ValueError(f"{self.frames} frames of {self.bands} bands")
        if not 0 <= self.low_hz < self.high_hz <= self.rate_hz / 2:
            raise ValueError(
                f"bands from {self.low_hz:g} to {self.high_hz:g} Hz at {self.rate_hz:g} samples a second"
            )
        if not -250 <= self.floor_db <= 0:
            raise ValueError(f"a floor of {self.floor_db:g} dB")
        if empty := empty_bands(self):
            raise ValueError(
                f"{len(empty)} of {self.bands} bands hold no bin of a frame of {self.frame} samples"
            )

    @property
    def length(self) -> int:
        """Samples of a window."""
        return (self.frames - 1) * self.hop + self.frame

    @property
    def values(self) -> int:
        """Features of a window."""
        return self.frames * self.bands

    @property
    def floor(self) -> int:
        """The least feature."""
        return round(self.floor_db * UNITS_OF_A_DB)


@dataclass(frozen=True)
class Tables:
    """starts: (bands + 2,) the first bin of each segment between the edges of neighbouring filters, and the end of the
    last. fractions: (frame / 2 + 1,) each bin's place in its segment, 0 to 2^14: its weight in the filter above, and 1
    less that in the one below. offsets: (bands,), 16 fractional bits."""

    starts: UInt16
    fractions: UInt16
    offsets: npt.NDArray[np.int32]


def edges_hz(bands: int, low_hz: float, high_hz: float) -> list[float]:
    """(bands + 2) edges of the filters: filter b rises from b to b + 1, and falls to b + 2."""
    low, high = _mel(low_hz), _mel(high_hz)
    return [_hz(low + (high - low) * i / (bands + 1)) for i in range(bands + 2)]


def empty_bands(spec: LogMel) -> list[int]:
    """Bands that no bin of a frame falls into."""
    edges = edges_hz(spec.bands, spec.low_hz, spec.high_hz)
    bins = np.arange(spec.frame // 2 + 1) * (spec.rate_hz / spec.frame)
    return [b for b in range(spec.bands) if not ((bins > edges[b]) & (bins < edges[b + 2])).any()]


@lru_cache(maxsize=8)
def tables(spec: LogMel) -> Tables:
    """The constants of these features."""
    n = spec.frame
    edges = edges_hz(spec.bands, spec.low_hz, spec.high_hz)
    bins = [k * spec.rate_hz / n for k in range(n // 2 + 1)]
    starts = [next((k for k, hz in enumerate(bins) if hz >= edge), len(bins)) for edge in edges]
    fractions = np.zeros(n // 2 + 1, np.uint16)
    for segment in range(spec.bands + 1):
        low, high = edges[segment], edges[segment + 1]
        for k in range(starts[segment], starts[segment + 1]):
            fractions[k] = round((bins[k] - low) / (high - low) * (1 << _WEIGHT_BITS))
    unit = _POWER_SHIFT - _WEIGHT_BITS - 2 * 15  # samples have 15 fractional bits
    areas = [2 / (edges[b + 2] - edges[b]) for b in range(spec.bands)]
    offsets = [round((unit + math.log2(area)) * 2**16) for area in areas]
    return Tables(np.array(starts, np.uint16), fractions, np.array(offsets, np.int32))


def log_mel(samples: npt.NDArray[np.generic], spec: LogMel) -> Int16:
    """Features (…, frames, bands), oldest frame first, of windows (…, length) of int16 samples."""
    made = tables(spec)
    places = np.arange(spec.frames)[:, None] * spec.hop + np.arange(spec.frame)
    framed = np.asarray(samples, np.int64)[..., places]
    shift = rfft_shift(framed) + 1
    words = rfft_words(round_shift(framed * hann(spec.frame), _WINDOW_BITS - shift))
    powers = round_shift((words * words).sum(axis=-1), _POWER_SHIFT)
    sums = _band_sums(powers, made)
    return _decibels(sums, made.offsets.astype(np.int64) - (shift << 17), spec.floor)


def standardised(features: Int16, means: Sequence[int], gains: Sequence[int]) -> Int16:
    """(…, bands, frames) from features (…, frames, bands): (feature - mean) * gain / 2^16, rounded half up, saturated.

    means, gains: of each band, as `standard` gives them; then units are `STANDARD_UNIT`.
    """
    distances = np.asarray(features, np.int64) - np.asarray(means, np.int64)
    scaled = round_shift(distances * np.asarray(gains, np.int64), GAIN_BITS)
    return np.asarray(np.clip(scaled, -(2**15), 2**15 - 1).swapaxes(-1, -2), np.int16)


def standard(features: npt.NDArray[np.generic]) -> tuple[list[int], list[int]]:
    """(means, gains) of features (n, frames, bands) of what is normal. A band that hardly changes counts as changing by
    `LEAST_SPREAD_DB`, about what quantized samples and features do by themselves."""
    values = features.reshape(-1, features.shape[-1]).astype(np.float64)
    spread = np.maximum(values.std(axis=0), LEAST_SPREAD_DB * UNITS_OF_A_DB)
    gains = [round(2**GAIN_BITS / (STANDARD_UNIT * s)) for s in spread]
    return [round(mean) for mean in values.mean(axis=0)], gains


@lru_cache(maxsize=8)
def hann(n: int) -> Int64:
    """(n,) 0.5 * (1 - cos(2 pi i / n)) with 31 fractional bits."""
    half = (1 << 30) - turned(np.arange(n // 2 + 1) * (TURN // n))[0]
    return np.concatenate([half, half[-2:0:-1]])


def _band_sums(powers: Int64, made: Tables) -> Int64:
    """(…, bands) of powers (…, N / 2 + 1): each segment's rising part for the filter above, falling for the below."""
    starts, fractions = made.starts.astype(np.int64), made.fractions.astype(np.int64)
    # Sums from the first bin on, so that those of a segment, which may hold no bin, are differences.
    rising, falling = (
        np.concatenate([np.zeros_like(powers[..., :1]), np.cumsum(powers * weights, axis=-1)], axis=-1)
        for weights in (fractions, (1 << _WEIGHT_BITS) - fractions)
    )
    rising, falling = (np.diff(sums[..., starts], axis=-1) for sums in (rising, falling))
    return np.asarray(rising[..., :-1] + falling[..., 1:], np.int64)


def _decibels(sums: Int64, offsets: Int64, floor: int) -> Int16:
    """10 log10 of sums * 2^(offsets / 2^16), in units of 1/128 dB."""
    scaled = (log2_of(np.maximum(sums, 1)) + offsets) * DB_MULTIPLIER
    features = np.where(sums > 0, round_shift(scaled, _DB_SHIFT), floor)
    return np.clip(features, floor, 2**15 - 1).astype(np.int16)


def log2_of(x: Int64) -> Int64:
    """`functions.log2` of each value."""
    high = x >> 32
    upper = np.frexp(high.astype(np.float64))[1].astype(np.int64)
    lower = np.frexp((x & 0xFFFFFFFF).astype(np.float64))[1].astype(np.int64)
    whole = np.where(high > 0, upper + 32, lower) - 1
    fraction = (x << (62 - whole)) - (np.int64(1) << 62)
    at, rest = fraction >> (62 - _LOG_BITS), (fraction >> (62 - _LOG_BITS - 16)) & 0xFFFF
    table = logarithms()
    between = (table[at + 1] - table[at]) * rest >> 16
    return np.asarray((whole << 16) + ((table[at] + between + (1 << 13)) >> 14), np.int64)


def _mel(hz: float) -> float:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    return hz / _HZ_A_MEL if hz < 1000 else 1000 / _HZ_A_MEL + math.log(hz / 1000) / _LOG_STEP


def _hz(mel: float) -> float:
    return (
        mel * _HZ_A_MEL if mel < 1000 / _HZ_A_MEL else 1000 * math.exp(_LOG_STEP * (mel - 1000 / _HZ_A_MEL))
    )


_HZ_A_MEL = 200 / 3
_LOG_STEP = math.log(6.4) / 27
