"""Disjoint splits of normal inputs, a file each: fit, calibration, threshold. Nothing here ever sees a test input."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from edge_ad.errors import DataError
from edge_ad.runtime.images import list_images, read_image
from edge_ad.runtime.scans import list_scans, read_scan

CALIBRATION_SHARE = 0.10
THRESHOLD_SHARE = 0.25
MIN_INPUTS = 8


@dataclass(frozen=True)
class FileKind:
    """A kind of input that lies in a file of its own. noun: what one is called, in errors. ordered: the files, by
    name, are a sequence in time, of which neighbours are alike, so that a split must not be drawn at random."""

    noun: str
    list_files: Callable[[Path], list[Path]]
    read: Callable[[Path], npt.NDArray[Any]]
    ordered: bool
    calibration_share: float = CALIBRATION_SHARE


IMAGES = FileKind("image", list_images, read_image, ordered=False)
# Few scans are recorded at a time, and the spread of their scores is taken from the calibration split.
SCANS = FileKind("scan", list_scans, read_scan, ordered=True, calibration_share=0.25)


class SplitFile(BaseModel):
    """One file of a split: its path relative to train/good, and the digest of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str


class Splits(BaseModel):
    """fit: learns weights. calibration: the head's scales and INT8 ranges. threshold: nothing but the threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    fit: list[SplitFile]
    calibration: list[SplitFile]
    threshold: list[SplitFile]


@dataclass(frozen=True)
class SplitPaths:
    """The same splits as paths in a data folder; `new` counts files that the fit never saw."""

    fit: list[Path]
    calibration: list[Path]
    threshold: list[Path]
    new: int


def train_good(root: Path, kind: FileKind = IMAGES) -> Path:
    """`root`/train/good. Raises DataError when it is missing or holds no file of this kind."""
    folder = root / "train" / "good"
    hint = f"put {kind.noun}s of what is normal into train/good (MVTec layout)"
    if not folder.is_dir():
        raise DataError("there is no folder train/good", where=root, hint=hint)
    if not kind.list_files(folder):
        others = [k.noun for k in (IMAGES, SCANS) if k is not kind and k.list_files(folder)]
        held = f"holds {others[0]}s, no {kind.noun}" if others else f"holds no {kind.noun}"
        raise DataError(held, where=folder, hint=hint)
    return folder


def split_normals(root: Path, seed: int, holdout: float | None = None, kind: FileKind = IMAGES) -> Splits:
    """Split `root`/train/good, repeatably: at random, or in order of name (fit, calibration, threshold) where the
    files are a sequence in time.

    holdout: share that goes to the threshold split (THRESHOLD_SHARE unless given). Files with the same bytes
    always share a split, so that no input is on two sides. Raises DataError for fewer than MIN_INPUTS.
    """
    folder = train_good(root, kind)
    groups: dict[str, list[SplitFile]] = {}
    for path in kind.list_files(folder):
        entry = SplitFile(name=path.relative_to(folder).as_posix(), sha256=file_sha256(path))
        groups.setdefault(entry.sha256, []).append(entry)
    n = len(groups)
    if n < MIN_INPUTS:
        raise DataError(
            f"holds {n} different {kind.noun}s, at least {MIN_INPUTS} are needed",
            where=folder,
            hint="the fit, the calibration and the threshold each need some of their own",
        )
    n_threshold = max(2, round(n * (THRESHOLD_SHARE if holdout is None else holdout)))
    n_calibration = max(2, round(n * kind.calibration_share))
    ordered = [groups[key] for key in sorted(groups, key=lambda k: groups[k][0].name)]
    if kind.ordered:
        ordered.reverse()  # the newest for the threshold, the oldest for the fit
    else:
        ordered = [ordered[i] for i in np.random.default_rng(seed).permutation(n)]
    parts = (
        ordered[n_threshold + n_calibration :],
        ordered[n_threshold : n_threshold + n_calibration],
        ordered[:n_threshold],
    )
    fit, calibration, threshold = (
        sorted((entry for group in part for entry in group), key=lambda e: e.name) for part in parts
    )
    return Splits(seed=seed, fit=fit, calibration=calibration, threshold=threshold)


def find_splits(splits: Splits, root: Path, kind: FileKind = IMAGES) -> SplitPaths:
    """Where the files of `splits` lie in `root`/train/good now, matched by content.

    Files that the fit did not see join the threshold split. Raises DataError when the calibration or the
    threshold split has none there.
    """
    folder = train_good(root, kind)
    role = {e.sha256: "fit" for e in splits.fit}
    role |= {e.sha256: "calibration" for e in splits.calibration}
    known = {e.sha256 for e in splits.threshold}
    found: dict[str, list[Path]] = {"fit": [], "calibration": [], "threshold": []}
    new = 0
    for path in kind.list_files(folder):
        digest = file_sha256(path)
        found[role.get(digest, "threshold")].append(path)
        new += digest not in role and digest not in known
    for name in ("calibration", "threshold"):
        if not found[name]:
            raise DataError(
                f"holds none of the {kind.noun}s that the model set aside for {name}",
                where=folder,
                hint="give --data the folder that the model was fitted on",
            )
    return SplitPaths(found["fit"], found["calibration"], found["threshold"], new)


def file_sha256(path: Path) -> str:
    """Digest of a file's bytes. Raises DataError when it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error
