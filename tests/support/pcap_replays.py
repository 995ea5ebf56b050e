"""Captures of a LiDAR's packets, replayed and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lidar_packets import (
    scan_input,
)

from edge_ad.runtime.sample import Sample
from edge_ad.runtime.sources.lidar import PcapReplay, open_lidar

decoder = pytest.importorskip("velodyne_decoder", reason="velodyne-decoder is not installed")


def replay(path: Path, options: str = "model=VLP16") -> PcapReplay:
    source = open_lidar(f"pcap:{path}?{options}", scan_input(), stall_s=1)
    assert isinstance(source, PcapReplay)
    return source


def ranges_of(samples: list[Sample]) -> list[list[float]]:
    return [sorted(set(np.linalg.norm(s.data[:, :3], axis=1).round(1).tolist())) for s in samples]


def same(first: list[Sample], second: list[Sample]) -> bool:
    return len(first) == len(second) and all(
        (a.name, a.ts, a.position, a.gap) == (b.name, b.ts, b.position, b.gap)
        and np.array_equal(a.data, b.data)
        for a, b in zip(first, second, strict=True)
    )


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(points.T)]
