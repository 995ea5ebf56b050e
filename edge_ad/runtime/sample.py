"""One acquired input, on its way from a source to the network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Sample:
    """data: for images (H, W, 3) uint8 RGB, as acquired. name: file name or frame number. ts: acquisition, UTC."""

    data: npt.NDArray[np.generic]
    name: str
    ts: datetime
