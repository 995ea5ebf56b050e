"""A turned steel flange on a dark mat, as a camera above it sees it: geometry, light and sensor noise.

Lengths in this module are fractions of the image side unless they say `_px`; heights are in the same unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.runtime.images import import_cv2

Plane = npt.NDArray[np.floating[Any]]
Image = npt.NDArray[np.uint8]

OUTER = 0.395
BORE = 0.105
HUB = 0.205
BOLT_CIRCLE = 0.3
BOLT_HOLE = 0.034
PIN_HOLE = 0.015
_BEVEL = 0.013
_RELIEF = 0.010  # how far the hub stands above the flange

_STEEL = np.array([0.63, 0.635, 0.65], np.float32)
_MAT = np.array([0.150, 0.163, 0.180], np.float32)


@dataclass(frozen=True)
class Pose:
    """Where the part lies (fractions of the side) and how it is turned (radians)."""

    x: float
    y: float
    angle: float


@dataclass(frozen=True)
class Light:
    """azimuth of the lamp (radians, image axes), elevation, its strength, and the colour balance (3,)."""

    azimuth: float
    elevation: float
    strength: float
    balance: Plane


@dataclass
class Part:
    """The part's surface, as planes (H, W): a defect changes these and nothing else.

    x, y: part coordinates, origin at the bore's axis. height: relief. cover: 1 where metal is seen, 0 where
    not, fractions at edges. tint: (H, W, 3) what remains of the reflected light. gloss: what remains of the
    mirror-like share.
    """

    pose: Pose
    x: Plane
    y: Plane
    height: Plane
    cover: Plane
    tint: Plane
    gloss: Plane

    @property
    def side(self) -> int:
        """Image side in pixels."""
        return int(self.x.shape[0])


def flange(side_px: int, pose: Pose, *, undrilled: int | None = None) -> Part:
    """The flawless part: outer rim, raised hub, bore, four bolt holes and one dowel-pin hole.

    undrilled: index of a bolt hole to leave out.
    """
    axis = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px - 0.5
    u, v = np.meshgrid(axis - np.float32(pose.x), axis - np.float32(pose.y))
    cos, sin = np.float32(np.cos(pose.angle)), np.float32(np.sin(pose.angle))
    x, y = cos * u + sin * v, cos * v - sin * u
    radius = np.hypot(x, y)
    height = _RELIEF * _smoothstep((HUB - radius) / 0.02) - _bevel(OUTER - radius)
    part = Part(
        pose=pose,
        x=x,
        y=y,
        height=height.astype(np.float32),
        cover=_edge(OUTER - radius, side_px),
        tint=np.ones((side_px, side_px, 3), np.float32),
        gloss=np.ones((side_px, side_px), np.float32),
    )
    _drill(part, 0.0, 0.0, BORE)
    for index, (cx, cy) in enumerate(bolt_holes()):
        if index != undrilled:
            _drill(part, cx, cy, BOLT_HOLE)
    _drill(part, BOLT_CIRCLE * np.cos(np.pi / 4 + 0.35), BOLT_CIRCLE * np.sin(np.pi / 4 + 0.35), PIN_HOLE)
    return part


def bolt_holes() -> list[tuple[float, float]]:
    """Centres of the four bolt holes in part coordinates."""
    return [(BOLT_CIRCLE * np.cos(a), BOLT_CIRCLE * np.sin(a)) for a in np.arange(4) * np.pi / 2]


def _drill(part: Part, cx: float, cy: float, radius: float) -> None:
    """A through hole with a bevelled edge."""
    outside = np.hypot(part.x - np.float32(cx), part.y - np.float32(cy)) - np.float32(radius)
    part.height -= _bevel(outside)
    part.cover *= _edge(outside, part.side)


def shade(part: Part, light: Light, grain: np.random.Generator) -> Plane:
    """What the lens sees before the sensor adds noise: (H, W, 3) RGB, linear to the 8-bit value, 1 is white.

    The same `grain` state gives the same mat and the same machining marks, whatever was done to the part.
    """
    mat = _mat(part.side, grain)
    marks = _turning_marks(part, grain)
    shadow = _shadow(part, light)
    falloff = 1 + 0.16 * np.hypot(part.x, part.y) * np.cos(_angle_to_lamp(part, light))
    metal = _metal(part, light, marks)
    cover = part.cover[..., None]
    scene = cover * metal + (1 - cover) * mat * shadow[..., None]
    result: Plane = scene * (falloff[..., None] * light.strength * light.balance)
    return result.astype(np.float32)


def expose(scene: Plane, noise: np.random.Generator) -> Image:
    """Sensor: shot noise that grows with the signal, read noise, and 8 bits. (H, W, 3) uint8 RGB."""
    deviation = np.sqrt(0.00006 + 0.00022 * np.clip(scene, 0, 1))
    noisy = scene + deviation * noise.standard_normal(scene.shape, np.float32)
    return np.clip(np.rint(noisy * 255), 0, 255).astype(np.uint8)


def _metal(part: Part, light: Light, marks: Plane) -> Plane:
    """Diffuse and mirror-like light on brushed metal.

    Turning leaves fine circular grooves; they scatter the lamp into two opposite bright fans whose axis lies
    along the light (anisotropic reflection: Kajiya 1985, in the form of a lobe in the angle to the grooves).
    """
    scale = part.side  # heights and steps are fractions of the side, so slopes have no unit
    slope_y, slope_x = (np.asarray(d) for d in np.gradient(part.height, 1 / scale))
    slope = np.sqrt(1 + slope_x**2 + slope_y**2)
    planar, upright = np.cos(light.elevation), np.sin(light.elevation)
    towards = (upright - planar * (slope_x * np.cos(light.azimuth) + slope_y * np.sin(light.azimuth))) / slope
    diffuse = np.clip(towards, 0, None) / upright
    mirror = np.exp(-22 * np.clip(1 - _half_vector(slope_x, slope_y, slope, light), 0, None))
    fan = np.exp(2.2 * (np.cos(2 * _angle_to_lamp(part, light)) - 1))
    bright = 0.33 + 0.42 * diffuse + part.gloss * (0.25 * fan + 0.16 * (mirror - _flat_mirror(light)))
    bright *= 1 + (0.042 + 0.055 * fan) * marks
    shaded: Plane = bright[..., None] * _STEEL * part.tint
    return shaded


def _angle_to_lamp(part: Part, light: Light) -> Plane:
    """Angle at the bore's axis between each pixel and the lamp, in the image plane."""
    angle: Plane = np.arctan2(part.y, part.x) + np.float32(part.pose.angle - light.azimuth)
    return angle


def _half_vector(slope_x: Plane, slope_y: Plane, slope: Plane, light: Light) -> Plane:
    """Cosine between the surface normal and the direction half-way between lamp and camera (Blinn 1977)."""
    planar, upright = np.cos(light.elevation), np.sin(light.elevation) + 1
    length = np.hypot(planar, upright)
    lean = slope_x * np.cos(light.azimuth) + slope_y * np.sin(light.azimuth)
    result: Plane = (upright - planar * lean) / (slope * length)
    return result


def _flat_mirror(light: Light) -> float:
    """The mirror-like share on a level surface, so that only slopes add or remove light."""
    planar, upright = np.cos(light.elevation), np.sin(light.elevation) + 1
    return float(np.exp(-22 * (1 - upright / np.hypot(planar, upright))))


def _turning_marks(part: Part, grain: np.random.Generator) -> Plane:
    """Noise drawn out along circles: texture in polar coordinates, looked up for each pixel."""
    cv2 = import_cv2()
    turns, rings = 128, part.side  # smooth along the circle, so few samples do
    noise = grain.standard_normal((rings, turns), np.float32)
    wrapped = np.concatenate([noise, noise, noise], axis=1)
    fine = cv2.GaussianBlur(wrapped, (0, 0), sigmaX=4.5, sigmaY=0.5)[:, turns : 2 * turns]
    coarse = cv2.GaussianBlur(wrapped, (0, 0), sigmaX=15, sigmaY=2.5)[:, turns : 2 * turns]
    texture = fine / fine.std() + 0.8 * coarse / coarse.std()
    radius = np.hypot(part.x, part.y) * part.side * 1.6
    turn = (np.arctan2(part.y, part.x) / (2 * np.pi) % 1) * turns
    marks: Plane = cv2.remap(
        np.concatenate([texture, texture[:, :1]], axis=1),
        turn.astype(np.float32),
        radius.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return marks


def _mat(side: int, grain: np.random.Generator) -> Plane:
    """A rubber mat: fine grain and slow unevenness, (H, W, 3)."""
    cv2 = import_cv2()
    fine = cv2.GaussianBlur(grain.standard_normal((side, side), np.float32), (0, 0), 0.8)
    slow = cv2.GaussianBlur(grain.standard_normal((side, side), np.float32), (0, 0), side / 12)
    bright = 1 + 0.10 * fine / fine.std() + 0.05 * slow / slow.std()
    result: Plane = bright[..., None] * _MAT
    return result


def _shadow(part: Part, light: Light) -> Plane:
    """Soft shadow of the outline, cast away from the lamp, and darkness inside the bore and the holes."""
    cv2 = import_cv2()
    radius = np.hypot(part.x, part.y)
    outline = _edge(OUTER - radius, part.side)
    reach = 0.030 * part.side
    move = np.array(
        [[1, 0, -reach * np.cos(light.azimuth)], [0, 1, -reach * np.sin(light.azimuth)]], np.float32
    )
    cast = cv2.warpAffine(outline, move, (part.side, part.side), flags=cv2.INTER_LINEAR)
    cast = cv2.GaussianBlur(cast, (0, 0), 0.018 * part.side)
    result: Plane = (1 - 0.62 * cast) * np.where(radius < OUTER - 0.05, np.float32(0.8), np.float32(1))
    return result


def _edge(inside: Plane, side_px: int) -> Plane:
    """Coverage of a pixel whose centre lies `inside` the outline, over a width of one pixel."""
    return np.clip(inside * side_px + 0.5, 0, 1).astype(np.float32)


def _bevel(inside: Plane) -> Plane:
    """Depth lost on the rounded edge, 0 further in than the bevel."""
    rest = np.clip(1 - inside / _BEVEL, 0, 1)
    return (0.55 * _BEVEL * rest**2).astype(np.float32)


def _smoothstep(t: Plane) -> Plane:
    t = np.clip(t + 0.5, 0, 1)
    return t * t * (3 - 2 * t)
