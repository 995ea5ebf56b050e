"""A street of boxes and cylinders, laid out at random: what a generated LiDAR scan sees.

Metres; x along the street, y to the left of it, z up; the ground rises by `grade` with x and y.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

KERB_M = 0.12
_LANE_M = 1.7  # from the axis to where cars drive, on the left; the sensor's own lane is free
_FACADE_DEPTH_M = 10.0
_BELOW_M = 1.0  # things reach below the ground, so that no slope opens a gap


@dataclass(frozen=True)
class Box:
    """Upright box, turned by `yaw` about z. half: half its length and width. panes: whether it has window panes."""

    x: float
    y: float
    half: tuple[float, float]
    yaw: float
    bottom: float
    top: float
    albedo: float
    panes: bool = False


@dataclass(frozen=True)
class Cylinder:
    """Upright cylinder. porosity: share of beams that pass between its leaves."""

    x: float
    y: float
    radius: float
    bottom: float
    top: float
    albedo: float
    porosity: float = 0.0


Thing = TypeVar("Thing", Box, Cylinder)


@dataclass(frozen=True)
class Street:
    """road_m: half the width of the road, which has marks on its axis. roughness_m: of the ground, standard
    deviation."""

    boxes: tuple[Box, ...]
    cylinders: tuple[Cylinder, ...]
    grade: tuple[float, float]
    road_m: float
    roughness_m: float

    def ground(self, x: float, y: float) -> float:
        """Height of the ground at (x, y)."""
        return self.grade[0] * x + self.grade[1] * y


def make_street(rng: np.random.Generator, begin: float, end: float) -> Street:
    """A street from x = `begin` to `end`: buildings, kerbs, parked and driving cars, poles and trees."""
    grade = (float(rng.normal(0, 0.01)), float(rng.normal(0, 0.005)))
    road = float(rng.uniform(4.7, 7.5))
    pavement = float(rng.uniform(2.0, 5.0))
    parked, trees, poles = rng.uniform(0.0, 0.8), rng.uniform(0.0, 0.8), rng.uniform(0.2, 0.8)
    boxes: list[Box] = []
    cylinders: list[Cylinder] = []
    for side in (-1, 1):
        wall = side * (road + pavement)
        boxes += _facades(rng, begin, end, wall)
        middle = (begin + end) / 2
        boxes.append(Box(middle, side * (road + 15), ((end - begin) / 2, 15.0), 0.0, -_BELOW_M, KERB_M, 0.3))
        boxes += _cars(rng, begin, end, side * (road - 1.1), parked, spread=0.1)
        cylinders += _trees(rng, begin, end, side * (road + 0.8), trees)
        cylinders += _poles(rng, begin, end, side * (road + 0.4), poles)
    boxes += _cars(rng, begin, end, _LANE_M, rng.uniform(0.05, 0.3), spread=0.3)
    street = Street((), (), grade, road, float(rng.uniform(0.005, 0.02)))
    return replace(
        street,
        boxes=tuple(_raised(box, street) for box in boxes),
        cylinders=tuple(_raised(cylinder, street) for cylinder in cylinders),
    )


def _facades(rng: np.random.Generator, begin: float, end: float, wall: float) -> list[Box]:
    side = np.sign(wall)
    boxes = []
    x = begin + float(rng.uniform(-10, 0))
    setback = rng.uniform(0.0, 6.0)
    while x < end:
        length = float(rng.uniform(8, 28))
        depth = wall + side * float(rng.uniform(0, setback))
        boxes.append(
            Box(
                x + length / 2,
                float(depth + side * _FACADE_DEPTH_M / 2),
                (length / 2, _FACADE_DEPTH_M / 2),
                0.0,
                -_BELOW_M,
                float(rng.uniform(5, 18)),
                float(rng.uniform(0.2, 0.65)),
                panes=True,
            )
        )
        x += length + (float(rng.uniform(3, 20)) if rng.random() < 0.35 else 0.0)
    return boxes


def _cars(
    rng: np.random.Generator, begin: float, end: float, lane: float, share: float, *, spread: float
) -> list[Box]:
    """Bodies and cabins, one on average every 6.5 m / share."""
    boxes = []
    for place in np.arange(begin, end, 6.5):
        if rng.random() > share:
            continue
        x, y = float(place + rng.uniform(-0.6, 0.6)), float(lane + rng.normal(0, spread))
        yaw, albedo = float(rng.normal(0, 0.03)), float(rng.uniform(0.1, 0.8))
        length, width = float(rng.uniform(3.7, 4.9)), float(rng.uniform(1.65, 1.9))
        boxes.append(Box(x, y, (length / 2, width / 2), yaw, 0.2, 0.85, albedo))
        back = float(rng.uniform(-0.4, 0.1))
        boxes.append(
            Box(x + back, y, (length / 4, 0.45 * width), yaw, 0.85, float(rng.uniform(1.35, 1.8)), 0.12)
        )
    return boxes


def _trees(rng: np.random.Generator, begin: float, end: float, line: float, share: float) -> list[Cylinder]:
    cylinders = []
    for place in np.arange(begin, end, 9.0):
        if rng.random() > share:
            continue
        x, y = float(place + rng.uniform(-1, 1)), float(line + rng.normal(0, 0.2))
        crown = float(rng.uniform(2.2, 3.5))
        cylinders.append(Cylinder(x, y, float(rng.uniform(0.1, 0.3)), -_BELOW_M, crown + 0.5, 0.3))
        cylinders.append(
            Cylinder(x, y, float(rng.uniform(1.0, 2.5)), crown, crown + float(rng.uniform(2, 5)), 0.45, 0.35)
        )
    return cylinders


def _poles(rng: np.random.Generator, begin: float, end: float, line: float, share: float) -> list[Cylinder]:
    return [
        Cylinder(
            float(place + rng.uniform(-3, 3)),
            line,
            float(rng.uniform(0.05, 0.15)),
            -_BELOW_M,
            float(rng.uniform(2.5, 8)),
            0.5,
        )
        for place in np.arange(begin, end, 18.0)
        if rng.random() < share
    ]


def _raised(thing: Thing, street: Street) -> Thing:
    """The thing as it stands on the sloping ground."""
    height = street.ground(thing.x, thing.y)
    return replace(thing, bottom=thing.bottom + height, top=thing.top + height)
