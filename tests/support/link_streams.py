"""A device that sends SAMPLES frames, and the rows that it sends: row i is (i, -i)."""

from __future__ import annotations

import numpy as np

from edge_ad.firmware_bridge.frames import Frame, FrameType, encode
from edge_ad.firmware_bridge.samples import encode_samples


def numbered_rows(first: int, n: int) -> np.ndarray:
    """Rows (n, 2) float32."""
    numbers = np.arange(first, first + n)
    return np.stack([numbers, -numbers], 1).astype("<f4")


def frame(first: int, n: int, *, offset: int = 0, seq: int = 0) -> bytes:
    """The frame of rows first..first+n on the line. offset: what the index is more than the row's number."""
    payload = encode_samples(first + offset, numbered_rows(first, n))
    return encode(Frame(FrameType.SAMPLES, seq % 65536, payload))
