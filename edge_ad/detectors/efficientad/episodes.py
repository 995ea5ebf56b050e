"""Imaginary inspection tasks on which the built-in teacher is trained: normal images and defective ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_ad.data.defects import Mask, Patch, add_defect
from edge_ad.data.textures import N_CLASSES, product, texture
from edge_ad.detectors.efficientad.network import RECEPTIVE_FIELD_PX, STRIDE_PX
from edge_ad.runtime.images import import_cv2

CROP_PX = 96
_IMAGE_PX = 128
_IMAGES = 12  # of one product, the last three for queries alone
_SUPPORT_IMAGES = 9
_CENTRE_PX = 17  # a defect counts for a position when it lies in the middle of its receptive field
_CENTRE_SHARE = 0.03


@dataclass(frozen=True)
class Counts:
    """Crops an episode: normal ones to fit on, normal ones to score, defective ones to score."""

    support: int = 12
    normal: int = 4
    defective: int = 6


@dataclass(frozen=True)
class Episode:
    """crops: (support + normal + defective, CROP_PX, CROP_PX, 3) float32 of 0..1, in that order.

    masks: (defective, CROP_PX, CROP_PX), where the defects are.
    """

    crops: Patch
    masks: Mask


def draw_episode(seed: int, counts: Counts) -> Episode:
    """A product, crops of its images, and defects in some; the same seed gives the same episode.

    Negative seeds are for episodes held out from training.
    """
    rng = np.random.default_rng([77, seed] if seed >= 0 else [78, -seed])
    images, foreign = _materials(rng)
    turn = rng.random() < 0.5
    support = [_crop(rng, images[i % _SUPPORT_IMAGES], turn) for i in range(counts.support)]
    queries = images[_SUPPORT_IMAGES:]
    scored = [_crop(rng, queries[i % len(queries)], turn) for i in range(counts.normal)]
    masks = []
    for i in range(counts.defective):
        patch, mask = _crop(rng, queries[i % len(queries)], turn), np.zeros((CROP_PX, CROP_PX), np.bool_)
        for _ in range(1 if rng.random() < 0.7 else 2):
            patch, where = add_defect(patch, _crop(rng, foreign, False), rng)
            mask |= where
        scored.append(patch)
        masks.append(mask)
    if rng.random() < 0.5:  # the camera's exposure has drifted since the fit
        gain, offset = 1 + 0.02 * rng.normal(), 0.01 * rng.normal()
        scored = [np.float32(gain) * p + np.float32(offset) for p in scored]
    crops = np.stack(support + scored)
    if rng.random() < 0.3:
        noise = rng.uniform(0, 0.02) * rng.standard_normal((*crops.shape[:3], 1))
        crops = (crops + noise).astype(np.float32)
    return Episode(np.clip(crops, 0, 1), np.stack(masks))


def affected_positions(masks: Mask) -> Tensor:
    """Which output positions (N, H/4 - 8, W/4 - 8) have part of a defect at their centre; masks (N, H, W)."""
    margin = (RECEPTIVE_FIELD_PX - _CENTRE_PX) // 2
    inner = torch.from_numpy(masks[:, margin:-margin, margin:-margin]).float()
    return F.avg_pool2d(inner, _CENTRE_PX, STRIDE_PX) > _CENTRE_SHARE


def _materials(rng: np.random.Generator) -> tuple[Patch, Patch]:
    """Images of one product (_IMAGES, _IMAGE_PX, _IMAGE_PX, 3), of one or two materials, and a foreign one."""

    def draw() -> npt.NDArray[np.uint8]:
        return product(int(rng.integers(N_CLASSES)), int(rng.integers(1 << 30)), _IMAGES, _IMAGE_PX)

    images = draw() / np.float32(255)
    if rng.random() < 0.3:
        other = draw() / np.float32(255)
        for image, second in zip(images, other, strict=True):
            field = rng.standard_normal((_IMAGE_PX, _IMAGE_PX)).astype(np.float32)
            field = import_cv2().GaussianBlur(field, (0, 0), 16.0)
            share = (1 / (1 + np.exp(-8 * field / field.std())))[..., None]
            image[:] = share * image + (1 - share) * second
    foreign = texture(int(rng.integers(N_CLASSES)), int(rng.integers(1 << 30)), _IMAGE_PX) / np.float32(255)
    if rng.random() < 0.6:  # a grey camera
        images = np.repeat(images.mean(3, keepdims=True), 3, axis=3)
        foreign = np.repeat(foreign.mean(2, keepdims=True), 3, axis=2)
    return images, foreign


def _crop(rng: np.random.Generator, image: Patch, turn: bool) -> Patch:
    y, x = rng.integers(0, _IMAGE_PX - CROP_PX + 1, 2)
    crop = image[y : y + CROP_PX, x : x + CROP_PX]
    return np.ascontiguousarray(np.rot90(crop, 2) if turn and rng.random() < 0.5 else crop)
