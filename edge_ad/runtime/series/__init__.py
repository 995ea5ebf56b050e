"""Series of numbers from sensors: reading files, cutting streams into windows, preprocessing them."""

from __future__ import annotations

from edge_ad.runtime.series.readers import (
    EXTENSIONS,
    Chunk,
    SeriesFile,
    list_series,
    open_series,
    open_windowed,
)
from edge_ad.runtime.series.windows import Gap, Window, Windower

__all__ = [
    "EXTENSIONS",
    "Chunk",
    "Gap",
    "SeriesFile",
    "Window",
    "Windower",
    "list_series",
    "open_series",
    "open_windowed",
]
