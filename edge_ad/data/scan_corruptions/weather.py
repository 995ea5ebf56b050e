"""Fog and snow between the sensor and what it sees."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_ad.data.scan_corruptions.stored_form import NEAREST_M
from edge_ad.runtime.scans import Points

Float64 = npt.NDArray[np.float64]

LIGHT_M_PER_NS = 0.299792458
FOG_BACKSCATTER = (0.008, 0.05, 0.2)
FOG_ATTENUATION = (0.005, 0.01, 0.02, 0.03, 0.06)  # 1/m, one drawn for each scan
PULSE_NS = 20.0
REFLECTIVITY = 1e-6  # gamma; the reference backscatter is gamma / pi
FOG_JITTER_M = 10.0
SNOW_RATE_MM_H = (0.5, 1.0, 2.5)
DARKEST = 0.01  # intensities are stored in hundredths: zero is less than this, not nothing
DETECTION_PERCENT = 1.0
BEAM_RAD = 3e-3
SMALLEST_FLAKE_MM = 0.05
ICE = 1.3031  # refractive index
RANGE_NOISE_M = 0.09
_STEP_M = 0.5


def fog(points: Points, severity: int, rng: np.random.Generator) -> Points:
    """Hahner et al., Fog Simulation on Real LiDAR Point Clouds, ICCV 2021: per beam the echo of the object, weakened by
    exp(-2 alpha r), against the largest echo of the fog before it; the stronger one is the return."""
    alpha = float(rng.choice(FOG_ATTENUATION))
    xyz, distance, intensity = _parts(points)
    grid, place, peak = _soft_echo(alpha)
    nearest = np.interp(distance, grid, place)
    backscatter = FOG_BACKSCATTER[severity] / (REFLECTIVITY / np.pi)
    soft = np.interp(distance, grid, peak) * intensity * distance**2 * backscatter
    hard = intensity * np.exp(-2 * alpha * distance)
    is_fog = soft > hard
    # bounds that keep the echo between sensor and object: clipping would pile echoes up there
    lowest = np.maximum(distance - FOG_JITTER_M, nearest)
    highest = np.minimum(distance + FOG_JITTER_M, distance * nearest / NEAREST_M)
    divisor = rng.uniform(lowest, np.maximum(highest, lowest))
    moved = np.where(is_fog, nearest * distance / divisor, distance)
    return _rebuilt(xyz, distance, moved, np.where(is_fog, np.minimum(soft, 1.0), hard))


def snow(points: Points, severity: int, rng: np.random.Generator) -> Points:
    """Kilic et al., Lidar Light Scattering Augmentation (LISA), 2021, with the flake sizes of Gunn and Marshall: per
    beam the object's echo against those of the flakes in its cone; what is below the detection limit is lost."""
    rate = SNOW_RATE_MM_H[severity]
    xyz, distance, intensity = _parts(points)
    alpha = 0.01 * rate**0.6
    slope = 2.55 * rate**-0.48
    density = 7600 * rate**-0.87 * np.exp(-slope * SMALLEST_FLAKE_MM) / slope
    volume = np.pi / 3 * distance * (distance * np.tan(BEAM_RAD) / 2) ** 2
    n_flakes = rng.poisson(np.minimum(density * volume, 200.0))
    clean = np.maximum(intensity, DARKEST) / distance**2
    limit = float(np.percentile(clean, DETECTION_PERCENT))  # what the scan shows that its sensor detects
    of_object = clean * np.exp(-2 * alpha * distance)
    place, power = _strongest_flake(n_flakes, distance, alpha, slope, rng)
    lost = (of_object < limit) & (clean >= limit) & (power < limit)
    is_flake = power > of_object
    noise = rng.normal(0, RANGE_NOISE_M, len(distance)) / np.sqrt(2 * np.maximum(of_object / limit, 1.0))
    moved = np.where(is_flake, place, distance + noise)
    brightness = np.where(
        is_flake, np.minimum(power * place**2, 1.0), intensity * np.exp(-2 * alpha * distance)
    )
    return _rebuilt(xyz, distance, moved, brightness)[~lost]


def _strongest_flake(
    n_flakes: npt.NDArray[np.integer], distance: Float64, alpha: float, slope: float, rng: np.random.Generator
) -> tuple[Float64, Float64]:
    """Range and received power of the flake that each beam sees best, zero where it meets none."""
    beam = np.repeat(np.arange(len(distance)), n_flakes)
    nearest = NEAREST_M**3  # evenly over the volume of the cone beyond the nearest range
    where = (nearest + rng.random(len(beam)) * np.maximum(distance[beam] ** 3 - nearest, 0)) ** (1 / 3)
    size_mm = SMALLEST_FLAKE_MM + rng.exponential(1 / slope, len(beam))
    width_mm = 1000 * where * np.tan(BEAM_RAD)
    fresnel = ((ICE - 1) / (ICE + 1)) ** 2
    power = fresnel * np.exp(-2 * alpha * where) * np.minimum((size_mm / width_mm) ** 2, 1) / where**2
    order = np.lexsort((power, beam))
    last = np.flatnonzero(np.diff(beam[order], append=-1))
    place, best = np.zeros(len(distance)), np.zeros(len(distance))
    place[beam[order][last]], best[beam[order][last]] = where[order][last], power[order][last]
    return place, best


@lru_cache(maxsize=8)
def _soft_echo(alpha: float) -> tuple[Float64, Float64, Float64]:
    """Over object ranges 0..200 m: the range of fog's largest echo, and its power over that of the beam.

    The integral over the pulse of sin^2 times the attenuation and the overlap of sender and receiver, which grows from
    0 at 0.9 m to 1 at 1 m.
    """
    grid = np.arange(_STEP_M, 200, _STEP_M)
    times = np.linspace(0, 2 * PULSE_NS, 81)
    pulse = np.sin(np.pi * times / (2 * PULSE_NS)) ** 2 * (times[1] - times[0])
    listening = np.arange(0.1, 40, 0.1)  # fog is loudest near the sensor
    at = listening[:, None] - LIGHT_M_PER_NS * times[None] / 2
    overlap = np.clip((at - NEAREST_M) / 0.1, 0, 1)
    safe = np.maximum(at, 0.5)
    echo = pulse * np.exp(-2 * alpha * safe) / safe**2 * overlap
    place, peak = np.zeros(len(grid)), np.zeros(len(grid))
    for i, object_m in enumerate(grid):
        power = (echo * (at <= object_m)).sum(1)
        best = int(np.argmax(power))
        # nanoseconds to metres of the pulse, so that power does not depend on the unit of time
        place[i], peak[i] = min(listening[best], object_m), power[best] * 1e-9
    return grid, place, peak


def _parts(points: Points) -> tuple[Float64, Float64, Float64]:
    xyz = points[:, :3].astype(np.float64)
    return xyz, np.maximum(np.linalg.norm(xyz, axis=1), 1e-3), points[:, 3].astype(np.float64)


def _rebuilt(xyz: Float64, distance: Float64, moved: Float64, intensity: Float64) -> Points:
    return np.concatenate([xyz * (moved / distance)[:, None], intensity[:, None]], axis=1).astype(np.float32)
