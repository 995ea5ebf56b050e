"""Scans for tests, and the files that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_ad.runtime.scans import Points


def ring_scan(rings: int = 16, columns: int = 90, seed: int = 0) -> Points:
    """A scan (N, 4) ring by ring from straight ahead counter-clockwise, in a room whose walls are some metres off;
    on KITTI's grid: millimetres and hundredths."""
    rng = np.random.default_rng(seed)
    azimuth = (np.arange(columns) + 0.5) * 2 * np.pi / columns
    elevation = np.radians(np.linspace(3, -25, rings))[:, None]
    distance = 8 + 3 * np.sin(3 * azimuth) + rng.normal(0, 0.02, (rings, columns))
    level = distance * np.cos(elevation)
    points = np.stack(
        [
            level * np.cos(azimuth), level * np.sin(azimuth), distance * np.sin(elevation),
            rng.uniform(0, 0.99, distance.shape),
        ],
        axis=2,
    ).reshape(-1, 4)  # fmt: skip
    return (np.rint(points * (1000, 1000, 1000, 100)) / (1000, 1000, 1000, 100)).astype(np.float32)


def write_bin(path: Path, points: np.ndarray) -> Path:
    """KITTI's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.asarray(points, "<f4").tobytes())
    return path


def pcd(points: np.ndarray, data: str, fields: str = "x y z intensity", extra: str = "") -> bytes:
    """A PCD file of float32 fields."""
    names = fields.split()
    assert points.shape[1] == len(names)
    ones = " ".join("1" for _ in names)
    header = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {fields}\nSIZE {ones.replace('1', '4')}\nTYPE {ones.replace('1', 'F')}\n"
        f"COUNT {ones}\nWIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n{extra}POINTS {len(points)}\n"
        f"DATA {data}\n"
    ).encode()
    table = np.asarray(points, "<f4")
    if data == "ascii":
        return header + "".join(" ".join(repr(float(v)) for v in row) + "\n" for row in table).encode()
    if data == "binary":
        return header + table.tobytes()
    packed = lzf(np.ascontiguousarray(table.T).tobytes())
    return header + np.array([len(packed), table.nbytes], "<u4").tobytes() + packed


def lzf(data: bytes) -> bytes:
    """LZF compression, plain and slow: literal runs, and references to the latest three equal bytes."""
    out, literals, seen = bytearray(), bytearray(), {}
    i = 0

    def flush() -> None:
        for first in range(0, len(literals), 32):
            run = literals[first : first + 32]
            out.append(len(run) - 1)
            out.extend(run)
        literals.clear()

    while i < len(data):
        key = data[i : i + 3]
        back = i - seen[key] if len(key) == 3 and key in seen else 0
        seen[key] = i
        if not 0 < back <= 8192:
            literals.append(data[i])
            i += 1
            continue
        length = 3
        while length < 264 and i + length < len(data) and data[i + length] == data[i + length - back]:
            length += 1
        flush()
        code, offset = length - 2, back - 1
        out.append((min(code, 7) << 5) | (offset >> 8))
        if code >= 7:
            out.append(code - 7)
        out.append(offset & 255)
        i += length
    flush()
    return bytes(out)
