"""python -m edge_ad.runtime.sources.lidar.record: scans of a LiDAR as files, to fit a detector on."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import click

from edge_ad.bundle.atomic import atomic_folder
from edge_ad.errors import EdgeAdError, SourceError, UsageError
from edge_ad.runtime.sources.base import Source
from edge_ad.runtime.sources.lidar import open_lidar


def record(source: Source, destination: Path, *, scans: int | None = None, every: int = 1) -> int:
    """Write every `every`-th scan of `source`, up to `scans`, to the new folder `destination` as KITTI .bin; how many.

    Points are written as a detector will see them from this source: same order, same scale of intensity. The folder
    appears when all are written. Closes the source. Raises UsageError for a live source without `scans`, SourceError
    as the source does, and BundleError for an output that exists or cannot be written.
    """
    written = 0
    try:
        if source.live and scans is None:
            raise UsageError("a live sensor does not end", hint="say how many scans: --scans 500")
        with atomic_folder(destination) as folder:
            for sample in islice(source, 0, None if scans is None else (scans - 1) * every + 1, every):
                (folder / f"{written:06}.bin").write_bytes(sample.data.astype("<f4").tobytes())
                written += 1
            if not written:
                raise SourceError("gave no scan", where=source.name)
    finally:
        source.close()
    return written


@click.command(context_settings={"show_default": True})
@click.argument("url")
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--scans", type=click.IntRange(min=1), help="Stop after so many; a live sensor needs it.")
@click.option("--every", type=click.IntRange(min=1), default=1, help="Keep one scan of so many.")
@click.option(
    "--stall", type=click.FloatRange(min=0, min_open=True), default=10.0, help="Seconds without a scan."
)
def main(url: str, destination: Path, scans: int | None, every: int, stall: float) -> None:
    """Write the scans of a LiDAR (velodyne://…, ouster://…, pcap:…) to the new folder DESTINATION, as KITTI .bin."""
    try:
        written = record(open_lidar(url, None, stall_s=stall), destination, scans=scans, every=every)
    except EdgeAdError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(f"{destination}: {written} scans")


if __name__ == "__main__":
    main()
