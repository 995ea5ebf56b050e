"""python -m edge_ad.data.scan_corruptions: a corrupted copy of a folder of scans, to test a detector with."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np

from edge_ad.bundle.atomic import atomic_folder
from edge_ad.data.scan_corruptions import CORRUPTIONS, SEVERITIES, corrupt
from edge_ad.errors import DataError, EdgeAdError
from edge_ad.runtime.scans import EXTENSIONS, list_scans, read_scan


def corrupt_folder(source: Path, destination: Path, kind: str, severity: str, seed: int) -> int:
    """Write a corrupted copy of each scan below `source` to the new folder `destination`, as KITTI .bin; how many.

    A scan's random numbers come from `seed` and its place in the order of paths: the same arguments, the same bytes.
    Raises UsageError for an unknown kind or severity, DataError for an input without scans, one that cannot be read,
    or two that would be written under one name, BundleError for an output that exists or cannot be written.
    """
    paths = list_scans(source)
    if not paths:
        raise DataError("holds no scans", where=source, hint=f"known: {', '.join(EXTENSIONS)}")
    names = [_bin_name(path.relative_to(source)) for path in paths]
    if len(set(names)) < len(names):
        twice = next(path for path, name in zip(paths, names, strict=True) if names.count(name) > 1)
        raise DataError("has the name of another scan, but for its ending", where=twice, hint="rename it")
    with atomic_folder(destination) as folder:
        for i, (path, name) in enumerate(zip(paths, names, strict=True)):
            corrupted = corrupt(read_scan(path), kind, severity, np.random.default_rng((seed, i)))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(corrupted.astype("<f4").tobytes())
    return len(paths)


def _bin_name(path: Path) -> Path:
    ending = next(e for e in sorted(EXTENSIONS, key=len, reverse=True) if path.name.lower().endswith(e))
    return path.with_name(path.name[: -len(ending)] + ".bin")


@click.command(context_settings={"show_default": True})
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("destination", type=click.Path(path_type=Path))
@click.option(
    "--kind", type=click.Choice(list(CORRUPTIONS)), required=True, help="What happens to the scans."
)
@click.option("--severity", type=click.Choice(SEVERITIES), default="moderate", help="How much of it.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="The same seed gives the same scans.")
def main(source: Path, destination: Path, kind: str, severity: str, seed: int) -> None:
    """Write a corrupted copy of each scan below SOURCE to the new folder DESTINATION, as KITTI .bin."""
    try:
        written = corrupt_folder(source, destination, kind, severity, seed)
    except EdgeAdError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(f"{destination}: {written} scans, {kind}, {severity}")


if __name__ == "__main__":
    main()
