"""Reading training images: what every detector of images does alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge_ad.data.splits import SplitFile
from edge_ad.errors import DataError
from edge_ad.runtime.images import read_image
from edge_ad.runtime.preprocess import resize_area

MAX_IMAGE_BYTES = 4 << 30  # preprocessed images are held in memory; about 22,000 of them at 256 px


def read_images(folder: Path, files: list[SplitFile], size: int) -> Tensor:
    """Preprocessed images of `folder`, (N, 3, size, size) uint8 RGB.

    Raises DataError for an image that cannot be read, and for more images than memory should hold.
    """
    if len(files) * 3 * size * size > MAX_IMAGE_BYTES:
        raise DataError(
            f"holds {len(files)} images, more than fit into {MAX_IMAGE_BYTES >> 30} GiB at {size} px",
            where=folder,
            hint="use a subset, or a preset with a smaller size",
        )
    resized = [resize_area(read_image(folder / f.name), (size, size)).transpose(2, 0, 1) for f in files]
    return torch.from_numpy(np.stack(resized))
