"""The one preprocessing function, shared by fit, calibration, verification and the device.

Images: in integers throughout, so the bytes are the same on every machine and with every build of NumPy.
Normalisation is no part of it: that is folded into the network. Vectors for INT8 networks: one division in
float64 and one rounding, which IEEE 754 leaves no choice in either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import PreprocessSpec
from edge_ad.errors import DataError, SchemaError
from edge_ad.runtime import scan_images
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.series import log_mel, samples
from edge_ad.runtime.series import standardise as series

RESIZE_AREA = "image/resize-area"
RESIZE_AREA_VERSION = 1
_WEIGHT_BITS = 11  # two passes of 11 bits on 8-bit values stay below 2^31

QUANTIZE = "tensor/quantize"
QUANTIZE_VERSION = 1

UInt8Array = npt.NDArray[np.uint8]
Int8Array = npt.NDArray[np.int8]


def resize_spec(height: int, width: int) -> PreprocessSpec:
    """The spec of `resize_area` to (height, width)."""
    return PreprocessSpec(
        name=RESIZE_AREA, version=RESIZE_AREA_VERSION, params={"height": height, "width": width}
    )


def quantize_spec(shape: tuple[int, ...], scale: float, zero_point: int) -> PreprocessSpec:
    """The spec of `quantize` for inputs of `shape`, without the batch dimension."""
    return PreprocessSpec(
        name=QUANTIZE,
        version=QUANTIZE_VERSION,
        params={"shape": list(shape), "scale": scale, "zero_point": zero_point},
    )


def preprocess(spec: PreprocessSpec, data: npt.NDArray[np.generic]) -> Tensor:
    """Apply a manifest's preprocessing to one input as acquired; returns a batch of one.

    Images: (H, W, 3) uint8 RGB to (1, 3, height, width) uint8. Tensors: numbers of the network's shape to INT8. Scans:
    points (N, 4) to a range image or bird's-eye histogram (1, C, H, W) float32. Series: a window (length, C) to
    (1, C, length) float32, or one (length, 1) of samples to log-mel features (1, n) float32. Raises SchemaError for a
    name or version that this release does not know, DataError for another input.
    """
    step = _STEPS.get((spec.name, spec.version))
    if step is None:
        known = ", ".join(f"{name} version {version}" for name, version in _STEPS)
        raise SchemaError(
            f"unknown preprocessing '{spec.name}' version {spec.version}",
            hint=f"this release has {known}; compile the model again",
        )
    return step(data, **spec.params)


def resize(data: npt.NDArray[np.generic], *, height: int, width: int) -> UInt8Array:
    """`resize_area` of (H, W, 3) uint8 to the network's (1, 3, height, width). Raises DataError for another input."""
    if data.dtype != np.uint8 or data.ndim != 3 or data.shape[2] != 3:
        raise DataError(
            f"an image of shape (H, W, 3) and dtype uint8 is expected, not {data.shape} {data.dtype}"
        )
    resized = resize_area(data.astype(np.uint8, copy=False), (height, width))
    return np.ascontiguousarray(resized.transpose(2, 0, 1))[None]


def quantize(
    data: npt.NDArray[np.generic], *, shape: Sequence[int], scale: float, zero_point: int
) -> Int8Array:
    """Numbers of `shape` to INT8 (1, *shape): data / scale, rounded half to even, plus zero_point, saturated.

    INT8 data is taken as quantized already. Raises DataError for another shape, for what is no number, and for
    values that are not finite.
    """
    wanted = tuple(shape)
    if data.shape != wanted or data.dtype.kind not in "fiu":
        raise DataError(f"numbers of shape {wanted} are expected, not {data.shape} {data.dtype}")
    if data.dtype == np.int8:
        return np.ascontiguousarray(data)[None].astype(np.int8, copy=False)
    values = data.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("holds values that are not finite")
    quantized: Int8Array = np.clip(np.rint(values / scale) + zero_point, -128, 127).astype(np.int8)
    return quantized[None]


def resize_area(image: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resize (H, W, C) uint8 to `size` = (height, width), the aspect ratio not kept; exact integers.

    Shrinking averages each target pixel's area, enlarging interpolates linearly between pixel centres (each
    axis on its own); weights have 11 bits, and the one rounding is half up.
    """
    if image.shape[:2] == size:
        return image
    columns = _weighted_rows(np.ascontiguousarray(image), size[0])
    both = _weighted_rows(np.ascontiguousarray(columns.transpose(1, 0, 2)), size[1]).transpose(1, 0, 2)
    half = np.int32(1 << (2 * _WEIGHT_BITS - 1))
    resized: UInt8Array = ((both + half) >> (2 * _WEIGHT_BITS)).astype(np.uint8)
    return resized


def _weighted_rows(image: npt.NDArray[np.integer[Any]], size: int) -> npt.NDArray[np.int32]:
    """Resize the first axis of (H, W, C) to `size`; values grow by 2^11. int32."""
    index, weight = _taps(image.shape[0], size)
    total = np.zeros((size, *image.shape[1:]), np.int32)
    for t in range(index.shape[1]):
        total += weight[:, t, None, None] * image[index[:, t]]
    return total


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    """Source indices and weights (target, taps) of each target position; each row of weights sums to 2^11."""
    scale = source / target
    one = 1 << _WEIGHT_BITS
    rows: list[dict[int, float]] = []
    for i in range(target):
        if scale > 1:
            lo, hi = i * scale, (i + 1) * scale
            rows.append(
                {j: min(hi, j + 1) - max(lo, j) for j in range(int(lo), min(int(np.ceil(hi)), source))}
            )
        else:
            centre = min(max((i + 0.5) * scale - 0.5, 0.0), source - 1.0)
            left = min(int(centre), max(source - 2, 0))
            share = centre - left
            rows.append({left: 1 - share, left + 1: share} if share > 0 else {left: 1.0})
    taps = max(len(row) for row in rows)
    index = np.zeros((target, taps), np.intp)
    weight = np.zeros((target, taps), np.int32)
    for i, row in enumerate(rows):
        total = sum(row.values())
        exact = {j: w / total * one for j, w in row.items()}
        whole = {j: round(w) for j, w in exact.items()}
        largest = max(whole, key=lambda j: whole[j])
        whole[largest] += one - sum(whole.values())
        for t, (j, w) in enumerate(whole.items()):
            index[i, t], weight[i, t] = j, w
    return index, weight


_STEPS: dict[tuple[str, int], Callable[..., Tensor]] = {
    (RESIZE_AREA, RESIZE_AREA_VERSION): resize,
    (QUANTIZE, QUANTIZE_VERSION): quantize,
    (scan_images.RANGE_IMAGE, scan_images.VERSION): scan_images.range_image,
    (scan_images.BEV_HISTOGRAM, scan_images.VERSION): scan_images.bev_histogram,
    (series.STANDARDISE, series.VERSION): series.standardise,
    (log_mel.LOG_MEL, log_mel.VERSION): log_mel.log_mel_features,
    (samples.SAMPLES, samples.VERSION): samples.samples,
}
