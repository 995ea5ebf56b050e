"""Labelled test files of an MVTec-style folder: read for the report and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_ad.errors import DataError
from edge_ad.runtime.images import list_images, read_image


@dataclass(frozen=True)
class LabelledFile:
    """kind: the folder below test/; anomalous: kind is not `good`; mask: file of an image's ground truth, or None."""

    path: Path
    kind: str
    anomalous: bool
    mask: Path | None


class Masked(Protocol):
    """What `read_mask` asks of an image."""

    @property
    def anomalous(self) -> bool: ...

    @property
    def mask(self) -> Path | None: ...


def list_labelled(root: Path, list_files: Callable[[Path], list[Path]] = list_images) -> list[LabelledFile]:
    """Files below `root`/test/<kind>, masks at `root`/ground_truth/<kind>/<name>_mask.png; empty without test/."""
    files = []
    for folder in sorted(p for p in (root / "test").glob("*") if p.is_dir()):
        for path in list_files(folder):
            mask = root / "ground_truth" / folder.name / f"{path.stem}_mask.png"
            anomalous = folder.name != "good"
            files.append(LabelledFile(path, folder.name, anomalous, mask if mask.is_file() else None))
    return files


def read_mask(image: Masked, shape: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    """Ground truth of `image` as (H, W) booleans; all False for a good image, None where no mask exists.

    Raises DataError when the mask's size is not the image's.
    """
    if not image.anomalous:
        return np.zeros(shape, np.bool_)
    if image.mask is None:
        return None
    mask = read_image(image.mask)[..., 0] > 127
    if mask.shape != shape:
        raise DataError(
            f"the mask is {mask.shape[1]} x {mask.shape[0]} px, its image {shape[1]} x {shape[0]}",
            where=image.mask,
        )
    return mask
