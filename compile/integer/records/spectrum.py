"""Records of transforms of samples to spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_ad.compile.integer.records.base import Record, Ref


@dataclass(frozen=True)
class RfftRows(Record):
    """The FFT of `rows` rows of 2^log2_size int16 samples: edge_ad/runtime/integer/rfft.py, `rfft`.

    bins: int16 (rows, N/2 + 1, 2), real and imaginary parts, in units of 2^exponent. exponents: int32 (rows,).
    work: 4 N bytes, apart from all others.
    """

    C_NAME: ClassVar[str] = "rfft_rows"

    input: Ref
    bins: Ref
    exponents: Ref
    work: Ref
    rows: int
    log2_size: int


@dataclass(frozen=True)
class LogMel(Record):
    """Standardised log-mel features of a window of int16 samples: edge_ad/runtime/integer/log_mel.py.

    input: (frames - 1) * hop + N samples, N = 2^log2_size. output: int16 (bands, frames). work: 4 N bytes, apart from
    input and output. starts, uint16 (bands + 2,), and fractions, uint16 (N / 2 + 1,), both in the image, and offsets,
    int32 (bands,): `log_mel.Tables`. means, int16 (bands,), gains, int32 (bands,): of `standardised`. floor: the least
    feature.
    """

    C_NAME: ClassVar[str] = "log_mel"

    input: Ref
    output: Ref
    work: Ref
    starts: Ref
    fractions: Ref
    offsets: Ref
    means: Ref
    gains: Ref
    frames: int
    hop: int
    bands: int
    log2_size: int
    floor: int


@dataclass(frozen=True)
class Narrow(Record):
    """int8 output[i] = clamp(scale(input[i], multiplier, shift) + zero) of an int16 input: runtime/integer/narrow.py.

    In place where the output takes the first half of the input.
    """

    C_NAME: ClassVar[str] = "narrow"

    input: Ref
    output: Ref
    size: int
    multiplier: int
    shift: int
    zero: int
