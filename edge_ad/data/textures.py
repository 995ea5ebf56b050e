"""Generated images: surfaces, patterns and textures that need no data set and carry nobody's rights.

They train the built-in teacher and serve as images of other things in EfficientAD's penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.data import texture_processes as processes
from edge_ad.data.texture_processes import Grey, Process
from edge_ad.errors import UsageError
from edge_ad.runtime.images import UInt8Image, import_cv2

_SHARES: tuple[tuple[Process, int], ...] = (
    (processes.fractal, 24),
    (processes.fractal_noise, 12),
    (processes.blotches, 8),
    (processes.dead_leaves, 14),
    (processes.grating, 12),
    (processes.brushed, 8),
    (processes.grains, 14),
    (processes.traces, 10),
    (processes.dot_grid, 6),
    (processes.weave, 4),
    (processes.worn_surface, 8),
)
_CLASSES: tuple[Process, ...] = tuple(process for process, count in _SHARES for _ in range(count))

N_CLASSES = len(_CLASSES)
MIN_SIZE_PX = 32


@dataclass(frozen=True)
class _Look:
    """How pictures are taken: exposure, colours, noise."""

    blur_px: float
    gamma: float
    inverted: bool
    low: float
    contrast: float
    dark: npt.NDArray[np.float64]
    bright: npt.NDArray[np.float64]
    noise: float


def texture(class_index: int, seed: int, size: int) -> UInt8Image:
    """One generated image (size, size, 3), RGB.

    class_index: 0 to N_CLASSES - 1, a process with its parameters. seed: the image within the class, with its
    own gamma, contrast, inversion, colours and noise. The same arguments give the same image. Raises
    UsageError for a class or size that does not exist.
    """
    _check(class_index, size)
    rng = np.random.default_rng([class_index, seed])
    image = _CLASSES[class_index](_style(class_index), rng, size)
    return _photograph(image, _draw_look(rng), rng)


def _check(class_index: int, size: int) -> None:
    if not 0 <= class_index < N_CLASSES:
        raise UsageError(f"there is no texture class {class_index}", hint=f"use 0 to {N_CLASSES - 1}")
    if size < MIN_SIZE_PX:
        raise UsageError(f"a texture of {size} px is too small", hint=f"use {MIN_SIZE_PX} px or more")


def _style(class_index: int) -> np.random.Generator:
    return np.random.default_rng([0xED6E, class_index])


def _draw_look(rng: np.random.Generator) -> _Look:
    contrast = rng.uniform(0.25, 1.0)
    two_colours = rng.random() < 0.3
    return _Look(
        blur_px=float(rng.uniform(0.4, 1.2)) if rng.random() < 0.3 else 0.0,
        gamma=float(np.exp(rng.uniform(-0.7, 0.7))),
        inverted=bool(rng.random() < 0.4),
        low=rng.uniform(0, 1 - contrast),
        contrast=contrast,
        dark=rng.uniform(0, 0.5, 3) if two_colours else np.zeros(3),
        bright=rng.uniform(0.5, 1, 3) if two_colours else np.ones(3),
        noise=rng.uniform(0, 0.04),
    )


def _photograph(image: Grey, look: _Look, rng: np.random.Generator) -> UInt8Image:
    """Scale to 0..1, then focus, gamma, inversion, contrast and exposure, colours, noise."""
    low, high = np.quantile(image, [0.002, 0.998])
    grey = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    if look.blur_px:
        grey = import_cv2().GaussianBlur(grey, (0, 0), look.blur_px)
    grey = grey ** np.float32(look.gamma)
    grey = look.low + look.contrast * (1 - grey if look.inverted else grey)
    rgb = look.dark + (look.bright - look.dark) * grey[..., None]
    noise = look.noise * rng.standard_normal(rgb.shape[:2])
    return np.clip(np.round(255 * (rgb + noise[..., None])), 0, 255).astype(np.uint8)
