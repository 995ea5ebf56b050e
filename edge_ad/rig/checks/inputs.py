"""Inputs that checks run on: golden ones, random ones, a user's recorded ones."""

from __future__ import annotations

import numpy as np

from edge_ad.firmware_bridge.port_spec import PortSpec


def random_inputs(spec: PortSpec, count: int, seed: int) -> list[bytes]:
    """The bytes of so many inputs that use the whole range of the port's integers, each with its own share of it: the
    first all of it, so that what saturates is reached."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(spec.dtype)
    found = []
    for number in range(count):
        width = 2.0 ** -(number % 6)
        low = int(np.clip(spec.zero_point + (limits.min - spec.zero_point) * width, limits.min, limits.max))
        high = int(np.clip(spec.zero_point + (limits.max - spec.zero_point) * width, limits.min, limits.max))
        values = rng.integers(low, high, spec.shape, endpoint=True).astype(spec.dtype)
        found.append(spec.raw(values))
    return found
