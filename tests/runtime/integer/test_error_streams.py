"""The score of error streams in integers: C equals NumPy to the bit, and both are near the float head."""

from __future__ import annotations

import math

import numpy as np
import pytest
from operator_images import operator_image, run

from edge_ad.compile.integer.records.series import ErrorStreams
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.errors import EngineError
from edge_ad.runtime.heads.error_streams import error_streams as float_head
from edge_ad.runtime.integer.error_streams import error_streams


def image(multipliers: np.ndarray, shifts: np.ndarray, top: int, changed: dict[str, int] | None = None):
    streams, channels = multipliers.shape
    fields = {"streams": streams, "channels": channels, "top": top} | (changed or {})

    def make(builder, source, results):
        scales = builder.constant(np.stack([multipliers, shifts]).astype(np.int32))
        return ErrorStreams(errors=source, output=results[0], scales=scales, **fields), []

    return operator_image(4 * multipliers.size, [4], make)


@pytest.mark.parametrize("seed", range(60))
def test_the_kernel_is_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers([1, 1], [5, 40]))
    errors = rng.integers(0, 2**31, shape) >> rng.integers(0, 31, shape)
    errors = np.where(rng.random(shape) < 0.1, rng.integers(-(2**31), 0, shape), errors)
    multipliers, shifts = rng.integers(0, 2**31, shape), rng.integers(-31, 31, shape)
    top = int(rng.integers(1, 17))
    (got,) = run(image(multipliers, shifts, top), errors.astype(np.int32), np.int32)
    assert got[0] == error_streams(errors, multipliers, shifts, top)


@pytest.mark.parametrize("channels", [1, 3, 4, 19, 64])
def test_near_the_float_head(channels: int) -> None:
    """Errors from none to huge: within 2^-13 of the natural logarithm's mean."""
    rng = np.random.default_rng(channels)
    scale = 10.0 ** rng.uniform(-2, 2, (3, channels))
    pairs = np.array([quantize_multiplier(1 / s) for s in scale.flat]).T.reshape(2, 3, channels)
    for _ in range(50):
        errors = np.rint(10.0 ** rng.uniform(-4, 4, (3, channels)) * 2**16).astype(np.int64)
        params = {"output": "errors", "streams": ["a", "b", "c"], "scale": scale.tolist(), "top": 4}
        exact = float_head(params, {"errors": (errors[None] / 2**16).astype(np.float32)}).scores[0]
        got = error_streams(errors, *pairs, 4) * math.log(2) / 2**16 / (3 * min(4, channels))
        assert got == pytest.approx(exact, abs=2**-13)


def test_no_error_is_no_score() -> None:
    assert (
        error_streams(np.zeros((3, 5), np.int64), np.full((3, 5), 2**30), np.zeros((3, 5), np.int64), 4) == 0
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"streams": 0},
        {"streams": 17},
        {"channels": 0},
        {"channels": 5000},
        {"channels": 60},
        {"top": 0},
        {"top": 17},
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, int]) -> None:
    made = image(np.ones((3, 4), np.int64), np.zeros((3, 4), np.int64), 2, changed=changed)
    with pytest.raises(EngineError, match="damaged"):
        run(made, np.zeros((3, 4), np.int32), np.int32)


@pytest.mark.parametrize(("multiplier", "shift"), [(-1, 0), (5, 31), (5, -32)])
def test_scales_that_cannot_be_are_refused(multiplier: int, shift: int) -> None:
    made = image(np.full((1, 2), multiplier), np.full((1, 2), shift), 1)
    with pytest.raises(EngineError, match="damaged"):
        run(made, np.zeros((1, 2), np.int32), np.int32)
