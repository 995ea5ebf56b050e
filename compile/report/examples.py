"""Example images of a report: which ones, by rule so that nobody picks the handsome ones, and how drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.compile.report.canvas import canvas, to_png
from edge_ad.runtime.images import import_cv2
from edge_ad.runtime.localise import region, upsample

EXAMPLE_DPI = 110  # photographs of grainy surfaces hardly compress
_MARK = "#00d0ff"
_PANEL = 2.3  # width of one picture, inches
_LONGEST = 512  # pixels drawn from, more than are shown


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image and what the compiled network made of it.

    image: (H, W, 3) uint8 RGB. map: (h, w) float32 of the compiled network on its own grid, in the unit of
    the scores; `pad`: border cells of the image that this grid lacks. mask: (H, W), non-zero where defective,
    None where unknown. kind: e.g. `good` or the name of the defect.
    """

    name: str
    kind: str
    anomalous: bool
    image: npt.NDArray[np.uint8]
    map: npt.NDArray[np.float32]
    pad: int
    float_score: float
    compiled_score: float
    threshold: float
    mask: npt.NDArray[Any] | None = None

    @property
    def alarm(self) -> bool:
        """The device's verdict."""
        return self.compiled_score > self.threshold


def pick_examples(
    kinds: Sequence[str], anomalous: Sequence[bool], scores: npt.ArrayLike, limit: int = 8
) -> list[int]:
    """Indices of the images to show, by their compiled scores.

    Of the good images the one with the median score and the highest. Of each kind of defect the one with the
    median score, then of each kind the lowest, as far as `limit` goes. Good images come first.
    """
    values = np.asarray(scores, np.float64)
    groups: dict[str, list[int]] = {}
    for index, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(index)
    ranked = {kind: sorted(members, key=lambda i: (values[i], i)) for kind, members in sorted(groups.items())}
    good = [m for m in ranked.values() if not anomalous[m[0]]]
    bad = [m for m in ranked.values() if anomalous[m[0]]]
    wanted = [m[len(m) // 2] for m in good] + [m[-1] for m in good]
    wanted += [m[len(m) // 2] for m in bad] + [m[0] for m in bad]
    chosen = list(dict.fromkeys(wanted))[:limit]
    return sorted(chosen, key=lambda i: (bool(anomalous[i]), kinds[i], values[i], i))


def map_scale(examples: list[Example]) -> tuple[float, float]:
    """One colour scale for all examples: from what is usual, the threshold in its middle."""
    usual = float(np.median([np.median(e.map) for e in examples]))
    threshold = max(e.threshold for e in examples)
    reach = max(threshold - usual, 1e-6)
    return usual, usual + 2 * reach


def example(item: Example, scale: tuple[float, float]) -> bytes:
    """The image as it was seen, and beside it the anomaly map over it, with what an event would report. PNG.

    The frame and the cross are the event's box and peak (`edge_ad.runtime.localise.region`).
    """
    image, mask = _shrunk(item)
    height, width = image.shape[:2]
    anomaly = upsample(item.map, item.pad, (height, width))
    contourable = min(height, width) > 1
    low, high = scale
    level = np.clip((anomaly - low) / (high - low), 0, 1)
    size = (2 * _PANEL + 0.1, _PANEL * min(max(height / width, 0.35), 2.5))
    with canvas(size, "light", EXAMPLE_DPI) as (figure, _):
        from matplotlib.patches import (
            Rectangle,
        )  # after `canvas` has said what to install where it is missing

        figure.set_layout_engine("none")
        seen, judged = (figure.add_axes((x, 0.0, 0.49, 1.0)) for x in (0.0, 0.51))
        for axes in (seen, judged):
            axes.imshow(image, interpolation="antialiased")
            axes.set_axis_off()
        if mask is not None and mask.any() and contourable:
            seen.contour(mask, levels=[0.5], colors=_MARK, linewidths=1.0)
        judged.imshow(
            level, cmap="inferno", vmin=0, vmax=1, alpha=0.15 + 0.65 * level, interpolation="antialiased"
        )
        if contourable and anomaly.max() > item.threshold > anomaly.min():
            judged.contour(anomaly, levels=[item.threshold], colors="#ffffff", linewidths=1.2)
        where = region(item.map, item.threshold, item.pad, image.shape)
        if where is not None:
            assert where.box is not None and where.peak is not None  # an image's region has both
            x, y, across, down = where.box
            # pixel n reaches from n - 0.5 to n + 0.5
            frame = Rectangle((x - 0.5, y - 0.5), across, down, fill=False, edgecolor=_MARK, linewidth=1.2)
            judged.add_patch(frame)
            judged.plot(*where.peak, marker="+", color=_MARK, markersize=8, markeredgewidth=1.4)
        return to_png(figure, transparent=True)


def _shrunk(item: Example) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_] | None]:
    """Image and mask with at most `_LONGEST` pixels a side; no marked pixel is lost on the way."""
    cv2 = import_cv2()
    height, width = item.image.shape[:2]
    factor = min(1.0, _LONGEST / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = cv2.resize(item.image, size, interpolation=cv2.INTER_AREA)
    if item.mask is None:
        return image, None
    marked = (np.asarray(item.mask) != 0).astype(np.float32)
    return image, cv2.resize(marked, size, interpolation=cv2.INTER_AREA) > 0
