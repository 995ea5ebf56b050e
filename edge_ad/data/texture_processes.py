"""The random processes behind `edge_ad.data.textures`: each draws one grey image (size, size) float32.

A process takes two generators: `style` is seeded by the class, so that it draws the same parameters for every
image of that class, and `rng` by the image. Values need no particular range; the caller scales them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.images import import_cv2

Grey = npt.NDArray[np.float32]
Process = Callable[[np.random.Generator, np.random.Generator, int], Grey]


def spectral_noise(rng: np.random.Generator, size: int, slope: float, stretch: float, angle: float) -> Grey:
    """Gaussian noise whose amplitude falls as 1 / f^slope, zero mean and unit deviation.

    stretch > 1 elongates it along `angle` (radians).
    """
    fy = np.fft.fftfreq(size)[:, None]
    fx = np.fft.rfftfreq(size)[None]
    along, across = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
    radius = np.sqrt((along * stretch) ** 2 + across**2)
    radius[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(radius, 0.5 / size) ** slope
    noise = np.fft.irfft2(spectrum, (size, size))
    return (noise / (noise.std() + 1e-9)).astype(np.float32)


def fractal(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """Attractor of an iterated function system of affine maps, as logarithmic point density.

    Contractive maps by singular values, cf. Anderson & Farrell, "Improving Fractal Pre-training", WACV 2022.
    """
    count = int(style.integers(2, 5))
    maps = np.empty((count, 2, 2))
    for m in maps:
        a, b = style.uniform(0, 2 * np.pi, 2)
        s1 = style.uniform(0.5, 0.85)
        s2 = style.uniform(0.2, s1)
        m[:] = _rotation(a) @ np.diag([s1, s2 * style.choice([-1, 1])]) @ _rotation(b)
    shift = style.uniform(-1, 1, (count, 2))
    maps = maps * rng.uniform(0.92, 1.08, (count, 1, 1))
    weight = np.abs(np.linalg.det(maps)) + 0.02
    points = rng.uniform(-1, 1, (max(500, size * size // 20), 2))
    cloud = []
    for step in range(24):
        choice = rng.choice(count, len(points), p=weight / weight.sum())
        points = np.einsum("nij,nj->ni", maps[choice], points) + shift[choice]
        if step >= 8:
            cloud.append(points)
    xy = np.concatenate(cloud) @ _rotation(rng.uniform(0, 2 * np.pi))
    low, high = np.quantile(xy, [0.01, 0.99], axis=0)
    cell = ((xy - low) / np.maximum(high - low, 1e-6) * (size - 1)).astype(np.int64)
    cell = cell[((cell >= 0) & (cell < size)).all(1)]
    density = np.bincount(cell[:, 0] * size + cell[:, 1], minlength=size * size).reshape(size, size)
    image: Grey = import_cv2().GaussianBlur(np.log1p(density).astype(np.float32), (0, 0), size / 250)
    return image


def fractal_noise(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """Noise of one spectral slope, isotropic or stretched."""
    slope = style.uniform(0.3, 2.2)
    return spectral_noise(rng, size, slope, np.exp(style.uniform(0, 2)), rng.uniform(0, np.pi))


def blotches(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """Noise cut at a level: islands with soft or hard edges, on a faint ground texture."""
    scale = style.uniform(2, 12)
    noise = import_cv2().GaussianBlur(rng.standard_normal((size, size)).astype(np.float32), (0, 0), scale)
    level = np.quantile(noise, style.uniform(0.3, 0.9))
    hardness = 10 ** style.uniform(0.5, 2) / noise.std()
    islands = 1 / (1 + np.exp(np.clip(-(noise - level) * hardness, -30, 30)))
    return islands.astype(np.float32) + 0.08 * spectral_noise(rng, size, 1.0, 1.0, 0.0)


def dead_leaves(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """Opaque shapes with power-law sizes, each over the ones before (discs, boxes, ellipses)."""
    cv2 = import_cv2()
    shape = int(style.integers(0, 4))
    smallest = style.uniform(0.01, 0.05) * size
    image = np.full((size, size), 0.5, np.float32)
    for _ in range(int(style.integers(60, 250))):
        radius = min(smallest * rng.uniform(0.02, 1) ** -0.7, 0.4 * size)
        centre = tuple(int(c) for c in rng.integers(0, size, 2))
        value = float(rng.uniform(0, 1))
        kind = int(rng.integers(0, 3)) if shape == 3 else shape
        if kind == 0:
            cv2.circle(image, centre, int(radius) + 1, value, -1, cv2.LINE_AA)
        else:
            axes = (int(radius) + 1, int(radius * rng.uniform(0.2, 1)) + 1)
            angle = float(rng.uniform(0, 180))
            if kind == 1:
                cv2.ellipse(image, centre, axes, angle, 0, 360, value, -1, cv2.LINE_AA)
            else:
                box = cv2.boxPoints((centre, (2.0 * axes[0], 2.0 * axes[1]), angle))
                cv2.fillConvexPoly(image, box.astype(np.int32), value, cv2.LINE_AA)
    return image + float(style.uniform(0, 0.06)) * spectral_noise(rng, size, 0.8, 1.0, 0.0)


def grating(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """Waves in one or two directions, smooth or square, slightly bent."""
    period = style.uniform(4, 40)
    two, square = bool(style.random() < 0.5), bool(style.random() < 0.5)
    angle = rng.uniform(0, np.pi)
    bend = spectral_noise(rng, size, 2.0, 1.0, 0.0) * style.uniform(0, 0.6)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    waves = []
    for a in (angle, angle + np.pi / 2)[: 1 + two]:
        phase = 2 * np.pi * (x * np.cos(a) + y * np.sin(a)) / period
        waves.append(np.tanh(np.sin(phase + bend + rng.uniform(0, 2 * np.pi)) * (6 if square else 0.8)))
    return (np.sum(waves, 0) if square else np.max(waves, 0)).astype(np.float32)


def brushed(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """Brushed or ground metal: noise smeared along one direction, with slow shading."""
    stretch, angle = style.uniform(8, 60), rng.uniform(0, np.pi)
    lines = spectral_noise(rng, size, style.uniform(0.2, 0.8), stretch, angle)
    return lines + style.uniform(0, 1.5) * spectral_noise(rng, size, 2.2, 1.0, 0.0)


def grains(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """Voronoi cells: crystalline grains with their own grey value, boundaries, or both."""
    cv2 = import_cv2()
    edge = style.uniform(0.04, 0.25) * size
    count = max(4, int((size / edge) ** 2))
    seeds = np.full((size, size), 255, np.uint8)
    seeds[tuple(rng.integers(0, size, (2, count)))] = 0
    if style.random() < 0.4:  # elongated grains: label a squeezed copy
        seeds = np.ascontiguousarray(seeds[: size // 2])
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    distance = cv2.resize(distance, (size, size), interpolation=cv2.INTER_NEAREST)
    label = cv2.resize(label, (size, size), interpolation=cv2.INTER_NEAREST)
    value = rng.uniform(0, 1, int(label.max()) + 1).astype(np.float32)
    borders = cv2.morphologyEx(label.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    image = style.uniform(0, 1) * value[label] - style.uniform(0, 0.8) * borders
    image = image + style.uniform(-0.5, 0.5) * distance / edge
    soft: Grey = cv2.GaussianBlur(image.astype(np.float32), (0, 0), float(style.uniform(0.5, 1.6)))
    return soft + float(style.uniform(0, 0.1)) * spectral_noise(rng, size, 0.6, 1.0, 0.0)


def traces(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """Conductors on a board: polylines in steps of 45 degrees, pads and drill holes."""
    cv2 = import_cv2()
    pitch = float(style.uniform(6, 20))
    width = max(1, int(pitch * style.uniform(0.25, 0.6)))
    image = np.zeros((size, size), np.float32)
    steps = np.array([[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]])
    for _ in range(int(style.uniform(0.4, 1.2) * size / pitch)):
        point, heading = np.round(rng.uniform(0, size, 2) / pitch), 2 * int(rng.integers(0, 4))
        line = [point]
        for _ in range(int(rng.integers(2, 7))):
            point = point + steps[heading % 8] * int(rng.integers(1, 6))
            heading += int(rng.integers(-1, 2))
            line.append(point)
        corners = (np.array(line) * pitch).astype(np.int32)
        cv2.polylines(image, [corners], False, 1.0, width, cv2.LINE_AA)
        for corner in corners[[0, -1]]:
            cv2.circle(image, tuple(int(c) for c in corner), width + 1, 1.0, -1, cv2.LINE_AA)
            if width > 2 and style.random() < 0.7:
                cv2.circle(image, tuple(int(c) for c in corner), max(1, width // 2), 0.0, -1, cv2.LINE_AA)
    return image


def dot_grid(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """A lattice of round or square marks, jittered, on a shaded ground."""
    cv2 = import_cv2()
    pitch, square = float(style.uniform(6, 32)), style.random() < 0.4
    radius = max(1, int(pitch * style.uniform(0.12, 0.42)))
    jitter = style.choice([0.0, 0.05, 0.15]) * pitch
    image = 0.15 * spectral_noise(rng, size, 2.0, 1.0, 0.0)
    rotation = _rotation(rng.uniform(0, np.pi))
    reach = int(size / pitch) + 1
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            centre = rotation @ np.array([i, j]) * pitch + size / 2 + rng.normal(0, 1, 2) * jitter
            if ((centre < -pitch) | (centre > size + pitch)).any():
                continue
            x, y = (int(c) for c in centre)
            if square:
                cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), 1.0, -1)
            else:
                cv2.circle(image, (x, y), radius, 1.0, -1, cv2.LINE_AA)
    return image


def weave(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """Interlaced threads, each with its own shade and thickness."""
    period = style.uniform(5, 20)
    over = int(style.integers(1, 4))
    y, x = np.mgrid[:size, :size].astype(np.float32)
    bend = spectral_noise(rng, size, 2.2, 1.0, 0.0) * period * 0.12
    u, v = (x + bend) / period, (y - bend) / period
    count = int(size / period) + 8
    shade = rng.normal(0, style.uniform(0.02, 0.25), (2, count))
    warp, weft = (np.clip(np.floor(a).astype(int) + 3, 0, count - 1) for a in (u, v))
    on_top = ((warp + weft * (over if over > 1 else 1)) % (over + 1)) == 0
    profile_u, profile_v = np.abs(np.sin(np.pi * u)), np.abs(np.sin(np.pi * v))
    return np.where(on_top, profile_u + shade[0][warp], profile_v + shade[1][weft]).astype(np.float32)


def worn_surface(style: np.random.Generator, rng: np.random.Generator, size: int) -> Grey:
    """A smooth shaded face with scratches, spots and a step edge."""
    cv2 = import_cv2()
    roughness = style.uniform(0, 0.3)
    image = spectral_noise(rng, size, 2.5, 1.0, 0.0)
    image += (roughness * rng.standard_normal((size, size))).astype(np.float32)
    strength = float(style.uniform(0.5, 3))
    for _ in range(int(style.integers(0, 12))):
        start = rng.uniform(0, size, 2)
        turn = np.cumsum(rng.normal(0, 0.15, 8)) + rng.uniform(0, 2 * np.pi)
        stride = rng.uniform(0.01, 0.08) * size
        path = start + stride * np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1), 0)
        value = float(rng.normal(0, strength))
        cv2.polylines(image, [path.astype(np.int32)], False, value, int(rng.integers(1, 3)), cv2.LINE_AA)
    for _ in range(int(style.integers(0, 30))):
        centre = tuple(int(c) for c in rng.integers(0, size, 2))
        cv2.circle(image, centre, int(rng.integers(1, 5)), float(rng.normal(0, strength)), -1, cv2.LINE_AA)
    if style.random() < 0.5:
        y, x = np.mgrid[:size, :size]
        angle = rng.uniform(0, np.pi)
        side = (x - size / 2) * np.cos(angle) + (y - size / 2) * np.sin(angle) > rng.normal(0, size / 4)
        image += np.float32(rng.normal(0, 2)) * side.astype(np.float32)
    return image


def _rotation(angle: float) -> npt.NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
