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
    """Log-mel features of a window of int16 samples: edge_ad/runtime/integer/log_mel.py, `log_mel`.

    input: (frames - 1) * hop + N samples, N = 2^log2_size. output: int16 (frames, bands). starts: uint16 (bands + 2,),
    fractions: uint16 (N / 2 + 1,), offsets: int32 (bands,), all in the image: `log_mel.Tables`. work: 4 N bytes, apart
    from all others. floor: the least feature.
    """

    C_NAME: ClassVar[str] = "log_mel"

    input: Ref
    output: Ref
    starts: Ref
    fractions: Ref
    offsets: Ref
    work: Ref
    frames: int
    hop: int
    bands: int
    log2_size: int
    floor: int
