"""Disjoint splits of normal images: fit, calibration, threshold. Nothing here ever sees a test image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from edge_ad.errors import DataError
from edge_ad.runtime.images import list_images

CALIBRATION_SHARE = 0.10
THRESHOLD_SHARE = 0.25
MIN_IMAGES = 8


class SplitFile(BaseModel):
    """One image of a split: its path relative to train/good, and the digest of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str


class Splits(BaseModel):
    """fit: learns weights. calibration: map quantiles and INT8 ranges. threshold: nothing but the threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    fit: list[SplitFile]
    calibration: list[SplitFile]
    threshold: list[SplitFile]


@dataclass(frozen=True)
class SplitPaths:
    """The same splits as paths in a data folder; `new` counts images that the fit never saw."""

    fit: list[Path]
    calibration: list[Path]
    threshold: list[Path]
    new: int


def train_good(root: Path) -> Path:
    """`root`/train/good. Raises DataError when it is missing or holds no image."""
    folder = root / "train" / "good"
    hint = "put images of good parts into train/good (MVTec layout)"
    if not folder.is_dir():
        raise DataError("there is no folder train/good", where=root, hint=hint)
    if not list_images(folder):
        raise DataError("holds no image", where=folder, hint=hint)
    return folder


def split_normals(root: Path, seed: int, holdout: float | None = None) -> Splits:
    """Split `root`/train/good at random, repeatably.

    holdout: share that goes to the threshold split (THRESHOLD_SHARE unless given). Files with the same bytes
    always share a split, so that no image is on two sides. Raises DataError for fewer than MIN_IMAGES.
    """
    folder = train_good(root)
    groups: dict[str, list[SplitFile]] = {}
    for path in list_images(folder):
        entry = SplitFile(name=path.relative_to(folder).as_posix(), sha256=file_sha256(path))
        groups.setdefault(entry.sha256, []).append(entry)
    n = len(groups)
    if n < MIN_IMAGES:
        raise DataError(
            f"holds {n} different images, at least {MIN_IMAGES} are needed",
            where=folder,
            hint="the fit, the calibration and the threshold each need images of their own",
        )
    n_threshold = max(2, round(n * (THRESHOLD_SHARE if holdout is None else holdout)))
    n_calibration = max(2, round(n * CALIBRATION_SHARE))
    ordered = [groups[key] for key in sorted(groups, key=lambda k: groups[k][0].name)]
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


def find_splits(splits: Splits, root: Path) -> SplitPaths:
    """Where the images of `splits` lie in `root`/train/good now, matched by content.

    Images that the fit did not see join the threshold split. Raises DataError when the calibration or the
    threshold split has no image there.
    """
    folder = train_good(root)
    role = {e.sha256: "fit" for e in splits.fit}
    role |= {e.sha256: "calibration" for e in splits.calibration}
    known = {e.sha256 for e in splits.threshold}
    found: dict[str, list[Path]] = {"fit": [], "calibration": [], "threshold": []}
    new = 0
    for path in list_images(folder):
        digest = file_sha256(path)
        found[role.get(digest, "threshold")].append(path)
        new += digest not in role and digest not in known
    for name in ("calibration", "threshold"):
        if not found[name]:
            raise DataError(
                f"holds none of the images that the model set aside for {name}",
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
