"""A spinning LiDAR in a generated street: rays cast at boxes, cylinders and ground; noise, intensity, lost echoes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.data.street import Box, Cylinder, Street
from edge_ad.runtime.scans import Points

Float64 = npt.NDArray[np.float64]

_ASPHALT, _MARK, _PANE = 0.18, 0.6, 0.03
_FLOOR_M, _PANE_M = 3.0, 2.4  # of a facade: a pane's share of both is 45 %
_BEND = np.radians(3)  # how far sway may turn a ray's azimuth, with a margin
_LEAF_M = 0.5  # mean depth at which a beam into a crown ends


@dataclass(frozen=True)
class Sensor:
    """elevations_deg: of the beams, the highest first. columns: pulses a turn. noise_m: of a range."""

    elevations_deg: tuple[float, ...]
    columns: int
    max_range_m: float = 80.0
    height_m: float = 1.73
    noise_m: float = 0.02
    lost: float = 0.01


SENSORS = {
    "64-beam": Sensor((*(2 - k / 3 for k in range(32)), *(-8.83 - k / 2 for k in range(32))), 2083),
    "32-beam": Sensor(tuple(10 - 4 * k / 3 for k in range(32)), 360),
}


@dataclass(frozen=True)
class Pose:
    """Where the sensor stands in the street, and how it is turned: yaw, and pitch and roll as the car sways."""

    x: float
    y: float
    yaw: float
    pitch: float
    roll: float


@dataclass
class _Hits:
    """For each ray (beams, columns): distance, infinite where nothing is met; albedo and cosine of incidence."""

    distance: Float64
    albedo: Float64
    cosine: Float64

    def take(self, where: npt.NDArray[np.intp], distance: Float64, albedo: Float64, cosine: Float64) -> None:
        """Of the columns `where`, what is nearer than what they have met so far."""
        nearer = distance < self.distance[:, where]
        for own, new in ((self.distance, distance), (self.albedo, albedo), (self.cosine, cosine)):
            own[:, where] = np.where(nearer, new, own[:, where])


def scan_street(street: Street, pose: Pose, sensor: Sensor, rng: np.random.Generator) -> Points:
    """One scan (N, 4) float32 in the sensor's frame: x ahead, y left, z up, metres; intensity in 0..0.99.

    Points stand ring by ring, the highest first, each from straight ahead counter-clockwise, as in KITTI; coordinates
    lie on the millimetre, intensities on the hundredth.
    """
    steps = np.arange(sensor.columns, dtype=np.float64) + rng.random()
    azimuth = np.asarray(steps * (2 * np.pi / sensor.columns), np.float64)
    rays = _directions(np.radians(np.array(sensor.elevations_deg, np.float64)), azimuth)
    world = rays @ _rotation(pose).T
    origin = np.array([pose.x, pose.y, street.ground(pose.x, pose.y) + sensor.height_m])
    shape = world.shape[:2]
    hits = _Hits(np.full(shape, np.inf), np.zeros(shape), np.ones(shape))
    _meet_ground(hits, world, origin, street, rng)
    things: list[Box | Cylinder] = [*street.boxes, *street.cylinders]
    for thing in things:
        columns = _columns(thing, origin, azimuth + pose.yaw, sensor)
        if len(columns) == 0:
            continue
        if isinstance(thing, Box):
            _meet_box(hits, columns, world[:, columns], origin, thing)
        else:
            _meet_cylinder(hits, columns, world[:, columns], origin, thing, rng)
    return _received(hits, rays, sensor, rng)


def _directions(elevation: Float64, azimuth: Float64) -> Float64:
    """Unit vectors (beams, columns, 3)."""
    level = np.cos(elevation)[:, None]
    up = np.broadcast_to(np.sin(elevation)[:, None], (len(elevation), len(azimuth)))
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), up], axis=2)


def _rotation(pose: Pose) -> Float64:
    """From the sensor's frame to the street's."""
    (cy, cp, cr), (sy, sp, sr) = (
        np.cos([pose.yaw, pose.pitch, pose.roll]),
        np.sin([pose.yaw, pose.pitch, pose.roll]),
    )
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return np.asarray(yaw @ pitch @ roll, np.float64)


def _columns(
    thing: Box | Cylinder, origin: Float64, azimuth: Float64, sensor: Sensor
) -> npt.NDArray[np.intp]:
    """Columns whose rays may meet a thing: those within the angle that its outline spans."""
    reach = float(np.hypot(*thing.half)) if isinstance(thing, Box) else thing.radius
    dx, dy = thing.x - origin[0], thing.y - origin[1]
    away = float(np.hypot(dx, dy))
    if away - reach > sensor.max_range_m:
        return np.zeros(0, np.intp)
    if isinstance(thing, Box):
        corners = _corners(thing) - origin[:2]
        inside = np.abs(_turned(-origin[:2] + (thing.x, thing.y), -thing.yaw)) < thing.half
        if inside.all():
            return np.arange(len(azimuth))
        off = _wrapped(np.arctan2(corners[:, 1], corners[:, 0]) - np.arctan2(dy, dx))
        # seen from outside, a convex outline spans less than half a turn; beside it, its centre may be far off axis
        low, high = off.min() - _BEND, off.max() + _BEND
    else:
        high = np.arcsin(min(1.0, reach / max(away, 1e-9))) + _BEND
        low = -high
    bearing = _wrapped(azimuth - np.arctan2(dy, dx))
    return np.flatnonzero((bearing >= low) & (bearing <= high))


def _corners(box: Box) -> Float64:
    signs = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)]) * box.half
    corners: Float64 = np.stack([_turned(corner, box.yaw) for corner in signs])
    return corners + np.array([box.x, box.y])


def _turned(vector: Float64, angle: float) -> Float64:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]])


def _wrapped(angle: Float64) -> Float64:
    wrapped: Float64 = (angle + np.pi) % (2 * np.pi) - np.pi
    return wrapped


def _meet_ground(
    hits: _Hits, rays: Float64, origin: Float64, street: Street, rng: np.random.Generator
) -> None:
    normal = np.array([-street.grade[0], -street.grade[1], 1.0])
    normal /= np.linalg.norm(normal)
    down = -(rays @ normal)
    height = float((origin - (0, 0, street.ground(0, 0))) @ normal)
    rough = height + rng.normal(0, street.roughness_m, down.shape)
    with np.errstate(divide="ignore"):
        distance = np.where(down > 1e-4, rough / down, np.inf)
    x, y = (origin[i] + np.where(np.isinf(distance), 0, distance) * rays[..., i] for i in (0, 1))
    mark = (np.abs(y) < 0.08) & (x % 9 < 4)
    hits.take(np.arange(rays.shape[1]), distance, np.where(mark, _MARK, _ASPHALT), np.clip(down, 0.01, 1))


def _meet_box(hits: _Hits, columns: npt.NDArray[np.intp], rays: Float64, origin: Float64, box: Box) -> None:
    """Slab method: the ray is inside the box where it is inside all three pairs of planes."""
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    from_x, from_y = _turned(origin[:2] - (box.x, box.y), -box.yaw)
    starts = (from_x, from_y, origin[2])
    along = (c * rays[..., 0] + s * rays[..., 1], -s * rays[..., 0] + c * rays[..., 1], rays[..., 2])
    limits = ((-box.half[0], box.half[0]), (-box.half[1], box.half[1]), (box.bottom, box.top))
    enter, leave = np.full(rays.shape[:2], -np.inf), np.full(rays.shape[:2], np.inf)
    cosine = np.ones(rays.shape[:2])
    for start, step, (low, high) in zip(starts, along, limits, strict=True):
        safe = np.where(np.abs(step) < 1e-12, 1e-12, step)
        one, other = (low - start) / safe, (high - start) / safe
        first = np.minimum(one, other)
        cosine = np.where(first > enter, np.abs(step), cosine)
        enter, leave = np.maximum(enter, first), np.minimum(leave, np.maximum(one, other))
    distance = np.where((enter < leave) & (enter > 0), enter, np.inf)
    albedo = np.full(distance.shape, box.albedo)
    if box.panes:
        met = np.where(np.isinf(distance), 0, distance)
        x, z = starts[0] + met * along[0], starts[2] + met * along[2] - box.bottom
        albedo[(x % _PANE_M < 0.65 * _PANE_M) & (z % _FLOOR_M > 0.3 * _FLOOR_M)] = _PANE
    hits.take(columns, distance, albedo, cosine)


def _meet_cylinder(
    hits: _Hits, columns: npt.NDArray[np.intp], rays: Float64, origin: Float64, thing: Cylinder,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """The mantle's nearer side; a crown of leaves lets some beams pass and stops the others at a random depth."""
    dx, dy = origin[0] - thing.x, origin[1] - thing.y
    a = rays[..., 0] ** 2 + rays[..., 1] ** 2
    b = dx * rays[..., 0] + dy * rays[..., 1]
    inside = b**2 - a * (dx**2 + dy**2 - thing.radius**2)
    met = np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    cosine = np.sqrt(np.maximum(inside, 0)) / (np.sqrt(a) * thing.radius)  # of the level angle
    if thing.porosity > 0:
        met = met + rng.exponential(_LEAF_M, met.shape)
        met[rng.random(met.shape) < thing.porosity] = np.inf
        cosine = rng.uniform(0.3, 1.0, met.shape)
    z = origin[2] + np.where(np.isinf(met), 0, met) * rays[..., 2]
    met = np.where((met > 0) & (z > thing.bottom) & (z < thing.top), met, np.inf)
    hits.take(columns, met, np.full(met.shape, thing.albedo), np.clip(cosine, 0.01, 1))


def _received(hits: _Hits, rays: Float64, sensor: Sensor, rng: np.random.Generator) -> Points:
    """What the sensor makes of the echoes: Lambert's law, weakening with range, noise, echoes too weak to be seen."""
    distance = hits.distance + rng.normal(0, sensor.noise_m, hits.distance.shape)
    reflected = hits.albedo * hits.cosine
    with np.errstate(over="ignore"):
        echo = reflected * (sensor.max_range_m / np.maximum(distance, 1.0)) ** 2
    seen = rng.random(distance.shape) < (1 - np.exp(-8 * echo)) * (1 - sensor.lost)
    seen &= np.isfinite(hits.distance) & (distance > 1.0) & (distance < sensor.max_range_m)
    # sensors even out most of the fall with range, in what they give as intensity
    given = reflected**0.7 * np.exp(-np.where(seen, distance, 0) / 120) * rng.normal(1, 0.12, distance.shape)
    points = np.empty((int(seen.sum()), 4), np.float32)
    points[:, :3] = np.rint(rays[seen] * distance[seen, None] * 1000) / 1000
    points[:, 3] = np.clip(np.rint(given[seen] * 100) / 100, 0, 0.99)
    return points
