"""One acquired input, on its way from a source to the network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

Position = dict[str, int | float | str]


@dataclass(frozen=True)
class Sample:
    """One input of a stream.

    data: for images (H, W, 3) uint8 RGB, as acquired. name: file name or frame number. ts: acquisition, UTC.
    position: where a replay goes on behind this sample (`Source.resume`), None for sources that cannot be wound back;
    plain values that JSON can hold. gap: samples are missing before this one (the source was away, rows were lost).
    """

    data: npt.NDArray[np.generic]
    name: str
    ts: datetime
    position: Position | None = None
    gap: bool = False
