"""Distances from what is normal on a board: their parameters in integers, and their steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records import Buffer
from edge_ad.compile.integer.records.distances import Mahalanobis, RowSums, TwoSided
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.integer.distances import WHITE_BITS, Gaussian

SQUARES_SHIFT = 10  # of a distance: its unit is 2^-10
SCORE = PortSpec((1, 1), "int32", 2.0**-12)  # spreads of clean inputs
_WEIGHT_BITS = 15

Float64 = npt.NDArray[np.float64]


def gaussian(centre: Float64, whitening: Float64) -> Gaussian:
    """centre (n,), whitening (rows, n), or (n,) of a diagonal one: for a vector in integers, whitening * (x - centre)
    has a variance of 1. Each row has a power of two of its own. Raises TargetError for a spread of far less than 1."""
    rows = np.atleast_2d(whitening.T).T  # (n, 1) of a diagonal one
    most = np.abs(rows).max(1) * 2.0**WHITE_BITS
    shifts = np.array([_WEIGHT_BITS - math.frexp(value)[1] for value in most])
    shifts = np.minimum(shifts - (np.rint(most * 2.0**shifts) >= 1 << _WEIGHT_BITS), 61)
    if shifts.min() < 0:
        raise TargetError(
            "a value spreads over less than a step of its integers", where="the Mahalanobis distance",
            hint="fit the detector on more varied data",
        )  # fmt: skip
    scaled = np.rint(rows * 2.0 ** (shifts[:, None] + WHITE_BITS)).astype(np.int64)
    return Gaussian(np.rint(centre).astype(np.int64), scaled.reshape(whitening.shape), shifts)


def distance_port(dimensions: int) -> PortSpec:
    """Of a squared distance for each of `dimensions`."""
    return PortSpec((1, 1), "int32", 2.0 ** (SQUARES_SHIFT - 2 * WHITE_BITS) / dimensions)


def emit_row_sums(builder: Builder, source: Buffer, rows: int, length: int) -> Buffer:
    """Sums of int16 rows, int32."""
    sums = builder.buffer(4 * rows)
    builder.step(RowSums(source, sums, rows, length), reads=[source], writes=[sums])
    return sums


def emit_mahalanobis(builder: Builder, gaussians: Sequence[Gaussian], source: Buffer) -> Buffer:
    """The least squared distance of an int32 vector from these Gaussians, all of one shape."""
    diagonal = gaussians[0].whitening.ndim == 1
    rows, n = len(gaussians[0].shifts), len(gaussians[0].centre)
    output = builder.buffer(4)
    record = Mahalanobis(
        input=source, output=output, gaussians=len(gaussians), rows=rows, n=n, diagonal=int(diagonal),
        centres=builder.constant(np.stack([g.centre for g in gaussians]).astype(np.int32)),
        whitening=builder.constant(np.stack([g.whitening for g in gaussians]).astype(np.int16)),
        shifts=builder.constant(np.stack([g.shifts for g in gaussians]).astype(np.int32)), shift=SQUARES_SHIFT,
    )  # fmt: skip
    macs = sum(g.whitening.size for g in gaussians)
    builder.step(record, reads=[source], writes=[output], macs=macs)
    return output


def sides(limits: Sequence[float], port: PortSpec) -> TwoSided:
    """The record, still without places, of a figure's distance from the centre of `limits` (low, centre, high), in
    units of the spread on that side; port: of the figure."""
    low, centre, high = limits
    most = (1 << 31) - 1
    spreads = centre - low, high - centre
    below, above = (quantize_multiplier(port.scale / (spread * SCORE.scale)) for spread in spreads)
    return TwoSided(None, None, min(max(round(centre / port.scale), -most), most), *below, *above)
