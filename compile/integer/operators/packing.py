"""What a kernel set asks of the compiler for matrix operators: the order of its weights, and memory of its own.

FULLY_CONNECTED and CONV_2D: both sets multiply an input vector, or a pixel's window copied to one run of memory, by
four rows of weights at once, so that each value loaded serves four products. Rows come in groups of four (the last
group has what is left), interleaved by as many bytes as one load takes: words of 4, the last one filled up with zeros,
for DSP; 16, the rest masked, for MVE (8 in FullyConnectedWide, whose loads widen them to 16 bits).

DEPTHWISE_CONV_2D: channels come in blocks (4 for DSP, 8 for MVE, the last has what is left), and a block has all
taps of its channels, tap by tap.
"""

from __future__ import annotations

import numpy as np

from edge_ad.compile.integer.graph import Array
from edge_ad.compile.integer.lower import KernelSet
from edge_ad.compile.integer.records import Convolution, Depthwise, FullyConnected, Geometry, Record
from edge_ad.compile.integer.records.maps import ConvolutionInt16
from edge_ad.compile.integer.records.residual import FullyConnectedWide

ROWS = 4  # of a group
_LOAD_BYTES = {"dsp": 4, "mve": 16}
_WIDE_LOAD_BYTES = {"dsp": 4, "mve": 8}
_BLOCK_CHANNELS = {"dsp": 4, "mve": 8}
_POINTER_BYTES = 4


def pack(kernels: KernelSet, record: type[Record], weights: Array, groups: int = 1) -> Array:
    """Weights as the kernels of `record` read them; given in the order that its docstring says.

    groups: of a Convolution; each is packed by itself.
    """
    if kernels == "plain":
        return weights
    if record in (FullyConnected, Convolution, ConvolutionInt16):
        rows = weights.reshape(groups, weights.shape[0] // groups, -1)
        return np.concatenate([_interleaved(kernels, group, _LOAD_BYTES[kernels]) for group in rows])
    if record is FullyConnectedWide:
        return _interleaved(kernels, weights, _WIDE_LOAD_BYTES[kernels])
    if record is Depthwise:
        flat = weights.reshape(-1, weights.shape[-1])
        block = _BLOCK_CHANNELS[kernels]
        return np.concatenate([flat[:, c : c + block].ravel() for c in range(0, flat.shape[1], block)])
    return weights


def _interleaved(kernels: KernelSet, rows: Array, load: int) -> Array:
    """(rows, depth), flat; load: bytes of a row that lie together."""
    if kernels == "dsp":
        rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % load)))
    n, depth = rows.shape
    return np.concatenate(
        [rows[r : r + ROWS, d : d + load].ravel() for r in range(0, n, ROWS) for d in range(0, depth, load)]
    )


def scratch_bytes(kernels: KernelSet, record: type[Record], geometry: Geometry) -> int:
    """Bytes of the arena that the kernel of `record` needs for itself at this geometry; 0 for none."""
    g = geometry
    if kernels == "plain":
        return 0
    taps = g.k_h * g.k_w
    if record is Depthwise:
        return taps * _POINTER_BYTES + g.in_c
    if record in (Convolution, ConvolutionInt16):
        pointwise = taps == 1 and g.pad_top == 0 and g.pad_left == 0
        return 0 if pointwise else taps * (g.in_c // g.groups)
    return 0
