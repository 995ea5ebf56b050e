"""Defects of the sample part. Each changes the planes of a `Part` in a region of its own, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edge_ad.data.part_scene import BOLT_HOLE, BORE, OUTER, Part, Plane, bolt_holes, flange
from edge_ad.runtime.images import import_cv2

Rng = np.random.Generator
Mask = npt.NDArray[np.bool_]

_STAIN = np.array([0.50, 0.36, 0.20], np.float32)  # what burnt cutting oil leaves of red, green and blue


def scratch(part: Part, rng: Rng) -> Part:
    """A curved groove with a raised burr on one side, bare metal at its bottom."""
    start = _on_face(rng)
    heading = rng.uniform(0, 2 * np.pi)
    length = rng.uniform(0.14, 0.26)
    bend = rng.uniform(-0.9, 0.9)
    steps = np.linspace(0, 1, 24)
    turn = heading + bend * steps
    path = np.cumsum(np.c_[np.cos(turn), np.sin(turn)] * length / 24, axis=0)
    path += start - path.mean(axis=0)
    distance, along = _distance_to_path(part, path)
    half = rng.uniform(0.007, 0.010) * (0.35 + 0.65 * np.sin(np.pi * np.clip(along, 0.04, 0.96)))
    groove = np.clip(1 - (distance / half) ** 2, 0, None) ** 2
    burr = np.clip(1 - ((distance - 1.5 * half) / (0.6 * half)) ** 2, 0, None) ** 2
    height = part.height + (-0.012 * groove + 0.004 * burr).astype(np.float32)
    tint = part.tint * (1 + rng.uniform(0.15, 0.45) * groove)[..., None].astype(np.float32)
    return replace(part, height=height, tint=tint)


def dent(part: Part, rng: Rng) -> Part:
    """An elliptical bowl: dark on the side of the lamp, bright on the other."""
    cx, cy = _on_face(rng)
    turn, stretch, radius = rng.uniform(0, np.pi), rng.uniform(1.0, 1.5), rng.uniform(0.032, 0.05)
    dx, dy = part.x - np.float32(cx), part.y - np.float32(cy)
    a = (np.cos(turn) * dx + np.sin(turn) * dy) / (radius * stretch)
    b = (np.cos(turn) * dy - np.sin(turn) * dx) / (radius / stretch)
    bowl = np.clip(1 - a**2 - b**2, 0, None) ** 2
    return replace(part, height=part.height - (0.75 * radius * bowl).astype(np.float32))


def crack(part: Part, rng: Rng) -> Part:
    """A jagged dark line that starts at a hole and branches once."""
    holes = [(0.0, 0.0, BORE)] + [(x, y, BOLT_HOLE) for x, y in bolt_holes()]
    cx, cy, radius = holes[rng.integers(len(holes))]
    heading = rng.uniform(0, 2 * np.pi)
    start = np.array([cx + (radius - 0.004) * np.cos(heading), cy + (radius - 0.004) * np.sin(heading)])
    trunk = _jagged(start, heading, rng.uniform(0.12, 0.18), rng)
    fork = len(trunk) // 2
    branch = _jagged(trunk[fork], heading + rng.choice([-0.8, 0.8]), rng.uniform(0.04, 0.08), rng)
    depth = np.zeros_like(part.height)
    for path, width in ((trunk, 0.0068), (branch, 0.0048)):
        distance, along = _distance_to_path(part, path)
        half = width * (1 - 0.7 * along)
        depth = np.maximum(depth, np.clip(1 - (distance / half) ** 2, 0, 1))
    tint = part.tint * (1 - 0.88 * np.sqrt(depth))[..., None].astype(np.float32)
    return replace(part, tint=tint, gloss=part.gloss * (1 - depth).astype(np.float32))


def stain(part: Part, rng: Rng) -> Part:
    """Burnt oil: an uneven brown spot with a darker rim and a few splashes, dull."""
    cx, cy = _on_face(rng)
    amount = _blob(part, cx, cy, rng.uniform(0.045, 0.07), 0.35, rng)
    for _ in range(int(rng.integers(2, 5))):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.07, 0.10)
        splash = _blob(
            part, cx + away * np.cos(angle), cy + away * np.sin(angle), rng.uniform(0.008, 0.016), 0.15, rng
        )
        amount = np.maximum(amount, splash)
    film = np.clip(amount * 3, 0, 1) * (0.75 + 0.25 * np.clip(1 - amount, 0, 1))  # dries darkest at its rim
    film = (film * rng.uniform(0.6, 0.9)).astype(np.float32)
    tint = part.tint * (1 - film[..., None] * (1 - _STAIN))
    return replace(part, tint=tint, gloss=part.gloss * (1 - 0.8 * film))


def chip(part: Part, rng: Rng) -> Part:
    """A piece broken out of the outer edge, with a sloping fracture face."""
    angle = rng.uniform(0, 2 * np.pi)
    away = OUTER + rng.uniform(0.0, 0.012)
    bite = _blob(part, away * np.cos(angle), away * np.sin(angle), rng.uniform(0.04, 0.06), 0.3, rng)
    gone = np.clip((bite - 0.35) * part.side * 0.05, 0, 1).astype(np.float32)
    face = np.clip(bite / 0.35, 0, 1)
    height = part.height - (0.014 * face**2).astype(np.float32)
    tint = part.tint * (1 - 0.22 * face * (1 - gone))[..., None].astype(np.float32)
    return replace(part, height=height, cover=part.cover * (1 - gone), tint=tint)


def missing_hole(part: Part, rng: Rng) -> Part:
    """One bolt hole was never drilled."""
    whole = flange(part.side, part.pose, undrilled=int(rng.integers(len(bolt_holes()))))
    return replace(part, height=whole.height, cover=whole.cover)


DEFECTS: dict[str, Callable[[Part, Rng], Part]] = {
    "chip": chip,
    "crack": crack,
    "dent": dent,
    "missing_hole": missing_hole,
    "scratch": scratch,
    "stain": stain,
}


def changed(good: Part, bad: Part) -> Mask:
    """Pixels (H, W) that the defect can change: where a plane differs, and the height's neighbours.

    Slopes are central differences, so a pixel also sees the heights beside it.
    """
    relief = (good.height != bad.height).astype(np.uint8)
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    seen = (good.cover > 0) | (bad.cover > 0)  # the surface under a hole is not seen
    surface = import_cv2().dilate(relief, cross) > 0
    surface |= (good.tint != bad.tint).any(axis=2) | (good.gloss != bad.gloss)
    result: Mask = (surface & seen) | (good.cover != bad.cover)
    return result


def _on_face(rng: Rng) -> npt.NDArray[np.float64]:
    """A place on the part's face, in part coordinates, clear of the bolt holes."""
    while True:
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.16, 0.335)
        place = radius * np.array([np.cos(angle), np.sin(angle)])
        if min(np.hypot(*(place - hole)) for hole in bolt_holes()) > 0.075:
            return place


def _jagged(
    start: npt.NDArray[np.float64], heading: float, length: float, rng: Rng
) -> npt.NDArray[np.float64]:
    """A crack's path (n, 2): straight on the whole, each step turned at random."""
    steps = 12
    turns = heading + rng.uniform(-0.7, 0.7, steps)
    moves = np.c_[np.cos(turns), np.sin(turns)] * length / steps
    return np.vstack([start, start + np.cumsum(moves, axis=0)])


def _distance_to_path(part: Part, path: npt.NDArray[np.float64]) -> tuple[Plane, Plane]:
    """For each pixel the distance to a polyline (n, 2), and where along it the nearest point lies, 0 to 1."""
    nearest = np.full_like(part.x, np.inf)
    along = np.zeros_like(part.x)
    for k, ((ax, ay), (bx, by)) in enumerate(pairwise(path.astype(np.float32))):
        ex, ey = bx - ax, by - ay
        t = np.clip(((part.x - ax) * ex + (part.y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        distance = np.hypot(part.x - ax - t * ex, part.y - ay - t * ey)
        closer = distance < nearest
        nearest = np.where(closer, distance, nearest)
        along = np.where(closer, (k + t) / (len(path) - 1), along)
    return nearest, along


def _blob(part: Part, cx: float, cy: float, radius: float, uneven: float, rng: Rng) -> Plane:
    """1 at the centre, falling to 0 at an uneven outline, 0 beyond."""
    dx, dy = part.x - np.float32(cx), part.y - np.float32(cy)
    angle = np.arctan2(dy, dx)
    outline = np.ones_like(angle)
    for harmonic in range(2, 7):
        phase = np.float32(rng.uniform(0, 2 * np.pi))
        outline += np.float32(uneven * rng.uniform(0.2, 1) / harmonic) * np.cos(harmonic * angle + phase)
    result: Plane = np.clip(1 - (dx * dx + dy * dy) / (np.float32(radius) * outline) ** 2, 0, None)
    return result
