"""Records of scores of series: a window scaled by itself, its spectrum, errors of its newest patch, the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Loop, Record, Ref


@dataclass(frozen=True)
class WindowScale(Record):
    """Row `channel` of int16 windows (channels, size) to int16 (size,) in units of its own spread; the newest `patch`
    values become those of `token`: edge_ad/runtime/integer/windows.py, `window_scale`.

    channel: int32 (1,). statistics: int32 (2,), mean and spread. floor: low and high word of the least variance.
    """

    C_NAME: ClassVar[str] = "window_scale"

    input: Ref
    channel: Ref
    token: Ref
    output: Ref
    statistics: Ref
    channels: int
    size: int
    patch: int
    floor_low: int
    floor_high: int
    multiplier: int
    shift: int
    offset: int


@dataclass(frozen=True)
class HalfSpectra(Record):
    """int16 (N,), N = 2^log2_size, to its spectrum's real and imaginary halves, each over its largest: int16 (N,).

    sizes: int32 (4,), what each half was divided by, bin N/2, and how far all three are shifted left. work: 4 N bytes,
    apart from all others. floor: added to the sizes, in 2^-16 of the input's unit. See runtime/integer/windows.py.
    """

    C_NAME: ClassVar[str] = "half_spectra"

    input: Ref
    output: Ref
    sizes: Ref
    work: Ref
    log2_size: int
    floor: int


@dataclass(frozen=True)
class InversePatch(Record):
    """The newest `patch` values of the series whose halves `values` and `sizes` are, int32, in 2^-20 of the window's
    spread: edge_ad/runtime/integer/windows.py, `inverse_patch`."""

    C_NAME: ClassVar[str] = "inverse_patch"

    values: Ref
    sizes: Ref
    output: Ref
    log2_size: int
    patch: int
    bits: int
    extra: int
    multiplier: int
    shift: int
    offset: int


@dataclass(frozen=True)
class PatchErrors(Record):
    """Mean squares of (time, spectrum, 0) minus the newest patch, to column `channel` of errors, int32 (3, channels).

    time: int16 (patch,), to 2^-20 of the window's spread by multiplier, shift and offset. spectrum: as of
    `InversePatch`. input, statistics, channel: as of `WindowScale`. See runtime/integer/windows.py, `patch_errors`.
    """

    C_NAME: ClassVar[str] = "patch_errors"

    time: Ref
    spectrum: Ref
    input: Ref
    statistics: Ref
    channel: Ref
    errors: Ref
    channels: int
    size: int
    patch: int
    multiplier: int
    shift: int
    offset: int


@dataclass(frozen=True)
class ErrorStreams(Record):
    """Sum over the `top` largest channels of the sum over streams of log2(1 + errors / scale), int32 (1,), in 2^-16.

    errors: int32 (streams, channels). scales: int32 multiplier[streams * channels], then as many shifts: see
    edge_ad/runtime/integer/error_streams.py.
    """

    C_NAME: ClassVar[str] = "error_streams"

    errors: Ref
    output: Ref
    scales: Ref
    streams: int
    channels: int
    top: int


@dataclass(frozen=True)
class Repeat(Loop):
    """Runs its steps again with 1, 2, …, times - 1 in `counter`, int32 (1,): once for each further channel."""

    C_NAME: ClassVar[str] = "repeat"

    counter: Ref
    times: int
