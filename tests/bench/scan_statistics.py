"""What each corruption does to simple figures of a scan: the mean over scans, corrupted beside clean."""

from __future__ import annotations

import os
from pathlib import Path

import click
import numpy as np

from edge_ad.data.scan_corruptions import CORRUPTIONS, SEVERITIES, corrupt
from edge_ad.runtime.scan_rings import count_rings
from edge_ad.runtime.scans import Points, list_scans, read_scan

FIGURES = ("points", "rings", "nearest m", "median m", "mean m", "mean intensity", "points nearer than 4 m")


def figures(points: Points) -> tuple[float, ...]:
    """`FIGURES` of one scan."""
    distance = np.linalg.norm(points[:, :3].astype(np.float64), axis=1)
    return (
        len(points), count_rings(points), distance.min(), np.median(distance), distance.mean(), points[:, 3].mean(),
        (distance < 4).sum(),
    )  # fmt: skip


@click.command()
@click.option("--scans", type=click.Path(path_type=Path), help="Folder of clean scans (default: KITTI).")
@click.option("--n", default=6, help="The last so many of them.")
def main(scans: Path | None, n: int) -> None:
    """Print one Markdown table."""
    if scans is None:
        scans = (
            Path(os.environ.get("EDGE_AD_DATA", "../shared/data")) / "lidar" / "kitti_drive_a" / "velodyne"
        )
    clean = [read_scan(path) for path in list_scans(scans)[-n:]]
    print(f"| corruption | severity | {' | '.join(FIGURES)} |\n| --- | --- |{' --- |' * len(FIGURES)}")
    _print("none", "", clean)
    rng = np.random.default_rng(7)
    for kind in CORRUPTIONS:
        for severity in SEVERITIES:
            _print(kind, severity, [corrupt(scan, kind, severity, rng) for scan in clean])


def _print(kind: str, severity: str, scans: list[Points]) -> None:
    points, rings, nearest, median, mean, intensity, near = np.mean([figures(scan) for scan in scans], axis=0)
    print(
        f"| {kind} | {severity} | {points:.0f} | {rings:.1f} | {nearest:.2f} | {median:.2f} | {mean:.2f} | "
        f"{intensity:.3f} | {near:.0f} |"
    )


if __name__ == "__main__":
    main()
