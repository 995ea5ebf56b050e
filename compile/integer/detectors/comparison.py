"""FADeR's comparison of image and reconstruction in integers: the nodes of a graph, and their definition.

Both are int16, pixels in steps of 2^-PIXEL_SHIFT. Each kind of map is a sum in int32, smoothed, and then standardised
by position: (map - mean) * gain, with means as exact as the map and gains of 16 bits of the largest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.graph import Array
from edge_ad.compile.integer.operators.resize import bilinear_places
from edge_ad.detectors.fader import comparison as fitted
from edge_ad.detectors.fader.config import FaderConfig
from edge_ad.detectors.fader.similarity import GRADIENT_C, SCALES
from edge_ad.runtime.integer.maps import affine_map, box_mean, squared_difference
from edge_ad.runtime.integer.similarity import (
    WHITE,
    gradient_constant,
    gradient_dissimilarity,
    halve,
    stretch_sum,
)

CHANNELS = 3
_GAIN_BITS, _MOST_BITS = 16, 24
_CONSTANT = gradient_constant(GRADIENT_C)

Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Kind:
    """One kind of map. fine: the shift of squared differences' sums, or the bits of shares of gradients; scale: of a
    step of the map. mean, gain, shift: what standardises it; constants (1, size, size, 1) or of one value."""

    name: str
    fine: int
    scale: float
    mean: Array
    gain: Array
    shift: int


@dataclass(frozen=True)
class Comparison:
    """size: of the image. side: of the windows that smooth. scale: of a step of the result."""

    size: int
    side: int
    parts: tuple[Kind, ...]
    scale: float

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    @classmethod
    def of(cls, comparison: fitted.Comparison, config: FaderConfig) -> Comparison:
        """The fitted comparison. A step of the result is 2^-30 of the largest that it can be: none saturates."""
        side = config.smoothing_px
        mean, gain = (x[0].double().numpy() for x in (comparison.mean, comparison.gain))
        gain = gain / len(comparison.kinds)
        scale = float(gain.max(initial=0) * len(comparison.kinds)) / 2**30
        parts = []
        for k, name in enumerate(comparison.kinds):
            fine, step = _fineness(name, side)
            gains, shift = _gains(gain[k] * step / scale)
            means = np.clip(np.rint(mean[k] / step), -(2**31), 2**31 - 1).astype(np.int32)
            parts.append(Kind(name, fine, step, _constant(means), _constant(gains), shift))
        return cls(config.size, side, tuple(parts), scale)

    def write(self, draft: Draft, seen: int, made: int) -> int:
        """Append the nodes that compare two of int16, (1, size, size, 3), to a draft; the map, (1, size, size, 1)."""
        total: list[int] = []
        for part in self.parts:
            found = self._msgms(draft, seen, made, part) if part.name == "msgms" else draft.node(
                "squared_difference", [seen, made], self._map(draft), shift=part.fine
            )  # fmt: skip
            smooth = draft.node("box_mean", [found], self._map(draft), side=self.side)
            constants = [draft.constant(part.mean), draft.constant(part.gain)]
            total = [
                draft.node("affine_map", [smooth, *constants, *total], self._map(draft), shift=part.shift)
            ]
        return total[0]

    def _map(self, draft: Draft, scale: int = 0) -> int:
        return draft.tensor((1, self.size >> scale, self.size >> scale, 1), np.int32)

    def _msgms(self, draft: Draft, seen: int, made: int, part: Kind) -> int:
        total: list[int] = []
        for scale in range(SCALES):
            if scale:
                side = self.size >> scale
                seen, made = (
                    draft.node("halve", [x], draft.tensor((1, side, side, CHANNELS), np.int16))
                    for x in (seen, made)
                )
            found = draft.node(
                "gradient_dissimilarity", [seen, made], self._map(draft, scale), constant=_CONSTANT, bits=part.fine
            )  # fmt: skip
            if scale:
                found = draft.node(
                    "stretch_sum", [found, *total], self._map(draft), alignCorners=False, halfPixelCenters=True
                )  # fmt: skip
            total = [found]
        return total[0]

    def reference(self, seen: Int16, made: Int16) -> Int32:
        """What `write` computes, by the operators' definitions: (size, size, 3) twice to (size, size)."""
        total = None
        for part in self.parts:
            if part.name == "msgms":
                found = _msgms(seen, made, part.fine)
            else:
                found = squared_difference(seen, made, part.fine)
            mean, gain = (np.squeeze(x).astype(np.int64) for x in (part.mean, part.gain))
            total = affine_map(box_mean(found, self.side), total, mean, gain, part.shift)
        assert total is not None
        return total


def _msgms(seen: Int16, made: Int16, bits: int) -> Int32:
    size, total = len(seen), gradient_dissimilarity(seen, made, _CONSTANT, bits)
    for scale in range(1, SCALES):
        seen, made = halve(seen), halve(made)
        places = np.concatenate([bilinear_places(size >> scale, size, False, True)] * 2).astype(np.int64)
        total = stretch_sum(gradient_dissimilarity(seen, made, _CONSTANT, bits), total, places, size)
    return total


def _fineness(name: str, side: int) -> tuple[int, float]:
    """`fine` and `scale` of a kind, as fine as the sum over a window, of 32 bits, allows."""
    if name == "msgms":
        terms = CHANNELS * SCALES
        bits = min(_MOST_BITS, 32 - math.ceil(math.log2(terms * side**2 + 1)))
        return bits, 1 / (terms * 2.0**bits)
    most = CHANNELS * WHITE**2
    shift = max(0, (most * side**2).bit_length() - 32)
    return shift, 2.0**shift / most


def _gains(ratios: Array) -> tuple[Array, int]:
    """uint16 gains and their shift: ratios in units of 2^-shift, the largest with all 16 bits."""
    shift = _GAIN_BITS - 1 - math.floor(math.log2(float(ratios.max())))
    gains = np.minimum(np.rint(np.ldexp(ratios, shift)), (1 << _GAIN_BITS) - 1)
    return gains.astype(np.uint16), shift


def _constant(values: Array) -> Array:
    """(h, w) as (1, h, w, 1), or one value."""
    return values.ravel() if values.size == 1 else values[None, :, :, None]
