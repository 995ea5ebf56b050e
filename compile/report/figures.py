"""The report's figures: matplotlib to PNG, the same bytes for the same data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from edge_ad.bundle.manifest import Thresholds
from edge_ad.compile.report.canvas import Theme, canvas, to_png
from edge_ad.compile.report.examples import Example

Scores = npt.NDArray[np.floating[Any]]
_BINS = 40


@dataclass(frozen=True, kw_only=True)
class FigureData:
    """What the figures of one payload are drawn from.

    normal_*: (n,) scores of the held-back good images. test_*: (m,) scores and labels (True for anomalous) of
    the labelled test images, None without any.
    """

    target: str
    normal_float: Scores
    normal_compiled: Scores
    test_labels: npt.NDArray[np.bool_] | None = None
    test_float: Scores | None = None
    test_compiled: Scores | None = None
    examples: list[Example] = field(default_factory=list)


def histogram(data: FigureData, thresholds: Thresholds, theme: Theme = "light") -> bytes:
    """Histograms of the scores, float above compiled on one axis, with both thresholds. PNG."""
    rows = (
        ("float network", data.normal_float, data.test_float, "float_"),
        ("compiled network", data.normal_compiled, data.test_compiled, "compiled"),
    )
    edges, beyond = _bins(data, thresholds)
    with canvas((7.2, 4.6), theme) as (figure, ink):
        for index, (title, normal, test, colour) in enumerate(rows):
            axes = figure.add_subplot(2, 1, index + 1)
            _bars(axes, normal, edges, getattr(ink, colour), f"held-back good ({normal.size})", filled=True)
            if test is not None and data.test_labels is not None:
                good, bad = test[~data.test_labels], test[data.test_labels]
                if good.size:
                    _bars(axes, good, edges, ink.text, f"test good ({good.size})", filled=False)
                if bad.size:
                    _bars(
                        axes,
                        bad,
                        edges,
                        ink.anomalous,
                        f"test anomalous ({bad.size})",
                        filled=False,
                        wide=True,
                    )
            axes.axvline(
                thresholds.float_.value,
                color=ink.float_,
                linestyle="--",
                linewidth=1.6,
                label="float threshold",
            )
            if index:
                axes.axvline(
                    thresholds.compiled.value,
                    color=ink.compiled,
                    linewidth=2,
                    label="compiled threshold (in use)",
                )
            axes.set_title(title, loc="left", fontsize=10, color=getattr(ink, colour), fontweight="bold")
            axes.set_ylabel("share of images")
            axes.set_xlim(edges[0], edges[-1])
            axes.legend(fontsize=7.5, frameon=False, labelcolor=ink.text)
            if index == 0:
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel(
                    "anomaly score" + (" (the outermost bars hold everything beyond)" if beyond else "")
                )
        return to_png(figure)


def roc(data: FigureData, thresholds: Thresholds, theme: Theme = "light") -> bytes | None:
    """ROC of the float and the compiled network with their operating points. PNG; None for one class."""
    labels = data.test_labels
    if labels is None or data.test_float is None or data.test_compiled is None:
        return None
    if labels.all() or not labels.any():
        return None
    with canvas((4.6, 4.4), theme) as (figure, ink):
        axes = figure.add_subplot(1, 1, 1)
        axes.plot([0, 1], [0, 1], color=ink.faint, linewidth=1, linestyle=":", label="guessing")
        for scores, colour, style, name in (
            (data.test_float, ink.float_, "--", "float"),
            (data.test_compiled, ink.compiled, "-", "compiled"),
        ):
            false_alarms, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
            axes.plot(false_alarms, recall, color=colour, linestyle=style, linewidth=1.8, label=name)
        for scores, threshold, colour, marker, name in (
            (data.test_float, thresholds.float_.value, ink.float_, "o", "float, own threshold"),
            (
                data.test_compiled,
                thresholds.float_.value,
                ink.compiled,
                "X",
                "compiled, float threshold kept",
            ),
            (
                data.test_compiled,
                thresholds.compiled.value,
                ink.compiled,
                "D",
                "compiled, own threshold (in use)",
            ),
        ):
            alarm = scores > threshold
            axes.plot(
                alarm[~labels].mean(),
                alarm[labels].mean(),
                marker=marker,
                color=colour,
                markersize=8,
                markeredgecolor=ink.paper,
                linestyle="none",
                label=name,
                clip_on=False,
                zorder=4,
            )
        axes.set_xlabel("false alarms, share of good test images")
        axes.set_ylabel("found, share of anomalous test images")
        axes.set_xlim(-0.01, 1)
        axes.set_ylim(0, 1.01)
        axes.set_aspect("equal")
        axes.legend(fontsize=7.5, frameon=False, labelcolor=ink.text, loc="lower right")
        return to_png(figure)


def _bins(data: FigureData, thresholds: Thresholds) -> tuple[npt.NDArray[np.float64], bool]:
    """Common bin edges (n + 1,), and whether scores lie beyond them.

    They end not far from where good images and thresholds lie, so that far anomalies do not squash those.
    """
    ours = np.concatenate([data.normal_float, data.normal_compiled])
    every = np.concatenate([ours, *(s for s in (data.test_float, data.test_compiled) if s is not None)])
    marks = (thresholds.float_.value, thresholds.compiled.value)
    middle = float(np.median(ours))
    near_low, near_high = min(*marks, float(ours.min())), max(*marks, float(ours.max()))
    low = max(min(*marks, float(every.min())), near_low - 2.5 * (middle - near_low))
    high = min(max(*marks, float(every.max())), near_high + 2.5 * (near_high - middle))
    if high <= low:
        low, high = low - 0.5, low + 0.5
    margin = 0.02 * (high - low)
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    return edges, bool(every.min() < edges[0] or every.max() > edges[-1])


def _bars(
    axes: Any,
    scores: Scores,
    edges: npt.NDArray[Any],
    colour: str,
    label: str,
    *,
    filled: bool,
    wide: bool = False,
) -> None:
    counted, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
    axes.stairs(
        counted / scores.size,
        edges,
        fill=filled,
        color=colour,
        alpha=0.55 if filled else 1.0,
        linewidth=1.8 if wide else 1.1,
        label=label,
    )
