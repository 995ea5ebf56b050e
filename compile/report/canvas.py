"""Where figures are drawn: matplotlib without the user's settings, to PNG that depends on the data alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edge_ad.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Theme = Literal["light", "dark"]

DPI = 144


@dataclass(frozen=True)
class Ink:
    """Colours of one theme; float and compiled stay apart for colour-blind readers (blue and orange)."""

    text: str
    faint: str
    paper: str
    float_: str
    compiled: str
    anomalous: str


INK: dict[Theme, Ink] = {
    "light": Ink("#1f2933", "#c9d1d9", "#ffffff", "#2f6fb0", "#c2560c", "#7a2048"),
    "dark": Ink("#e6e9ec", "#444c56", "#1a1f26", "#6cb0f0", "#f59a4a", "#f08fb5"),
}


@contextmanager
def canvas(size: tuple[float, float], theme: Theme, dpi: int = DPI) -> Iterator[tuple[Figure, Ink]]:
    """A figure in inches with matplotlib's own defaults, whatever the user's matplotlibrc says."""
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "the report needs matplotlib", hint="install it: pip install 'edge-ad[compile]'"
        ) from error
    ink = INK[theme]
    style = {
        "font.family": ["DejaVu Sans"],  # comes with matplotlib
        "font.size": 9,
        "text.color": ink.text,
        "axes.facecolor": ink.paper,
        "axes.labelcolor": ink.text,
        "axes.edgecolor": ink.faint,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": ink.text,
        "ytick.color": ink.text,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=size, dpi=dpi, facecolor=ink.paper, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, ink


def to_png(figure: Figure, *, transparent: bool = False) -> bytes:
    """The figure's PNG, without the metadata that would tell matplotlib's version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi, transparent=transparent, metadata={"Software": None})
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG as the value of an `src` attribute."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
