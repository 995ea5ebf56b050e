"""Synthetic defects: local changes drawn into images of good parts.

They stand in for real defects where those may not be seen: in weighting a teacher's outputs for a product
(`edge_ad.detectors.efficientad.emphasis`). Pasting and blending as in Li et al., "CutPaste", CVPR 2021, and
Zavrtanik et al., "DRAEM", ICCV 2021.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_ad.data.textures import N_CLASSES, texture
from edge_ad.runtime.images import UInt8Image, import_cv2

PATCH_PX = 96  # a defect and its surroundings
VISIBLE = 0.03  # change of brightness, of 1, from which a pixel counts as defective
MIN_VISIBLE_PX = 6
_ATTEMPTS = 10

Patch = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def defective(
    images: UInt8Image, seed: int, per_image: int = 3, *, scale: float = 1.0
) -> tuple[UInt8Image, Mask]:
    """Copies of `images` (N, H, W, 3), RGB, each with `per_image` defects, and where they are (N, H, W).

    Height and width must be PATCH_PX or more for defects of full size; in smaller images they are smaller. scale, 1 or
    more: how many times larger defects are, for images that are resized by it before anything looks at them. A
    defect that replaces material shows a piece of a generated texture; grey images stay grey.
    """
    rng = np.random.default_rng(seed)
    changed, masks = images.copy(), np.zeros(images.shape[:3], np.bool_)
    height, width = images.shape[1:3]
    side = min(round(PATCH_PX * scale), height, width)
    drawn = min(side, PATCH_PX)
    for image, mask in zip(changed, masks, strict=True):
        grey = bool((image == image[..., :1]).all())
        for _ in range(per_image):
            y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            window = np.s_[y : y + side, x : x + side]
            donor = texture(int(rng.integers(N_CLASSES)), int(rng.integers(1 << 30)), drawn) / np.float32(255)
            if grey:
                donor = np.repeat(donor.mean(2, keepdims=True, dtype=np.float32), 3, axis=2)
            patch, where = _enlarged(image[window] / np.float32(255), donor, rng)
            image[window] = np.round(255 * patch)
            mask[window] |= where
    return changed, masks


def _enlarged(patch: Patch, donor: Patch, rng: np.random.Generator) -> tuple[Patch, Mask]:
    """`add_defect` as large as `patch` (S, S, 3), drawn at the size of `donor` (T, T, 3), T <= S."""
    side, drawn = len(patch), len(donor)
    if side == drawn:
        return add_defect(patch, donor, rng)
    cv2 = import_cv2()
    small = cv2.resize(patch, (drawn, drawn), interpolation=cv2.INTER_AREA)
    changed, visible = add_defect(small, donor, rng)
    change = cv2.resize(changed - small, (side, side), interpolation=cv2.INTER_LINEAR)
    where = cv2.resize(visible.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    return np.clip(patch + change, 0, 1).astype(np.float32), where.astype(np.bool_)


def add_defect(patch: Patch, donor: Patch, rng: np.random.Generator) -> tuple[Patch, Mask]:
    """One random defect in `patch` (S, S, 3) of values 0..1, and the pixels (S, S) that it visibly changes.

    donor: (S, S, 3), foreign material. A draw that changes too little is replaced by another, a few times.
    """
    cv2 = import_cv2()
    for _ in range(_ATTEMPTS):
        opacity = (rng.uniform(0.25, 1.0) * _region(rng, len(patch)))[..., None]
        changed = np.clip(patch + opacity * (_content(rng, patch, donor) - patch), 0, 1).astype(np.float32)
        visible: Mask = cv2.blur(np.abs(changed - patch).mean(2), (3, 3)) > VISIBLE
        if visible.sum() >= MIN_VISIBLE_PX:
            break
    return changed, visible


def _region(rng: np.random.Generator, size: int) -> Patch:
    """Opacity (size, size) of a defect's shape: ellipse, box, islands, scratch or soft blob."""
    cv2 = import_cv2()
    y, x = np.mgrid[:size, :size].astype(np.float32)
    centre = rng.uniform(0.25 * size, 0.75 * size, 2)
    angle = rng.uniform(0, np.pi)
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    long = np.exp(rng.uniform(np.log(2), np.log(0.25 * size)))
    short = long * np.exp(rng.uniform(-1, 0))
    shape = rng.integers(5)
    if shape == 0:
        region = (u / long) ** 2 + (v / short) ** 2 < 1
    elif shape == 1:
        region = (np.abs(u) < long) & (np.abs(v) < short)
    elif shape == 2:
        noise = rng.standard_normal((size, size)).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(1.5, 5)))
        region = (noise > rng.uniform(-0.3, 0.8) * noise.std()) & (np.hypot(u, v) < max(long, 6))
    elif shape == 3:
        region = np.zeros((size, size), np.float32)
        heading = angle + np.cumsum(rng.normal(0, 0.3, 6))
        steps = np.stack([np.cos(heading), np.sin(heading)], 1) * rng.uniform(0.03, 0.12) * size
        path = (centre + np.cumsum(steps, 0)).astype(np.int32)
        cv2.polylines(region, [path], False, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
    else:
        region = np.exp(-0.5 * ((u / (0.6 * long + 1)) ** 2 + (v / (0.6 * short + 1)) ** 2))
    soft: Patch = region.astype(np.float32)
    return cv2.GaussianBlur(soft, (0, 0), float(rng.uniform(0.5, 2))) if rng.random() < 0.5 else soft


def _content(rng: np.random.Generator, patch: Patch, donor: Patch) -> Patch:
    """What shows through a defect (S, S, 3): other material, misplaced or turned structure, another exposure,
    blur, an even colour, other contrast, or noise."""
    size = len(patch)
    kind = rng.integers(8)
    if kind == 0:
        return donor
    if kind == 1:
        return np.roll(patch, rng.integers(size // 5, 4 * size // 5, 2), (0, 1))
    if kind == 2:
        return patch + np.float32(rng.choice([-1, 1]) * rng.uniform(0.06, 0.4))
    if kind == 3:
        blurred: Patch = import_cv2().GaussianBlur(patch, (0, 0), float(rng.uniform(1.5, 5)))
        return blurred
    if kind == 4:
        return np.full_like(patch, rng.uniform(0, 1))
    if kind == 5:
        mean = patch.mean((0, 1))
        return mean + (patch - mean) * np.float32(rng.choice([0.3, 0.5, 1.6, 2.2]))
    if kind == 6:
        if rng.random() < 0.5:
            return np.rot90(patch, int(rng.integers(1, 4)))
        return np.roll(patch, rng.integers(3, 9, 2), (0, 1))
    return patch + np.float32(rng.uniform(0.05, 0.25)) * rng.standard_normal((size, size, 1)).astype(
        np.float32
    )
