"""A board's integer threshold and the host's float one give the same verdict for every score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.runtime.integer.threshold import LARGEST, LOWEST, integer_threshold


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, LARGEST), st.floats(-40, 10), st.sampled_from([0.0, 0.5, -0.5, 1e-3]),
    st.lists(st.integers(LOWEST, LARGEST), max_size=20),
)  # fmt: skip
def test_verdicts_agree(at: int, exponent: float, beside: float, scores: list[int]) -> None:
    scale = 2.0**exponent
    threshold = float(np.float32((at + beside) * scale))
    limit = integer_threshold(threshold, scale)
    near = [limit + d for d in range(-300, 300) if LOWEST <= limit + d <= LARGEST]
    for score in (*scores, *near):
        assert (score > limit) == bool(np.float32(score * scale) > threshold)


@pytest.mark.parametrize(("threshold", "expected"), [(1e30, LARGEST), (-1e30, LOWEST), (2.5, 2), (2.0, 2)])
def test_the_ends(threshold: float, expected: int) -> None:
    assert integer_threshold(threshold, 1.0) == expected
