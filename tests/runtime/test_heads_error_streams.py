"""The score head of error streams: its arithmetic, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.errors import SchemaError
from edge_ad.runtime.heads.error_streams import error_streams


def params(**changed: Any) -> dict[str, Any]:
    return {
        "output": "errors",
        "streams": ["time", "level"],
        "scale": [[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]],
        "top": 2,
        **changed,
    }


ERRORS = np.array([[[1.0, 2.0, 4.0], [3.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 7.0]]], np.float32)


def test_closed_form() -> None:
    result = error_streams(params(), {"errors": ERRORS})
    two, four, eight = math.log(2), math.log(4), math.log(8)
    assert result.channels is not None
    assert result.channels == pytest.approx(
        np.array([[(two + four) / 2, two / 2, two / 2], [0, 0, eight / 2]]), rel=1e-6
    )
    assert result.scores == pytest.approx([((two + four) / 2 + two / 2) / 2, eight / 4], rel=1e-6)
    assert result.also["time"] == pytest.approx([two, 0], abs=1e-6)
    assert result.also["level"] == pytest.approx([four / 2, eight / 2], rel=1e-6)
    assert result.scores.dtype == result.channels.dtype == np.float32


def test_fewer_channels_than_top_all_count() -> None:
    one = error_streams(params(top=50), {"errors": ERRORS})
    assert one.channels is not None
    assert one.scores == pytest.approx(one.channels.mean(1))


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 9))
def test_the_order_of_channels_does_not_matter_and_errors_only_raise_a_score(
    seed: int, n: int, top: int
) -> None:
    random = np.random.default_rng(seed)
    errors = random.exponential(size=(3, 2, n)).astype(np.float32)
    scale = random.uniform(0.5, 2, (2, n))
    order = random.permutation(n)
    one = error_streams(params(scale=scale.tolist(), top=top), {"errors": errors})
    other = error_streams(params(scale=scale[:, order].tolist(), top=top), {"errors": errors[:, :, order]})
    assert (one.scores == other.scores).all()
    more = error_streams(params(scale=scale.tolist(), top=top), {"errors": errors * np.float32(1.5)})
    assert (more.scores > one.scores).all()


def test_a_huge_error_in_one_stream_does_not_hide_the_other() -> None:
    base = np.array([[[1e12], [0.0]], [[1e12], [50.0]]], np.float32)
    quiet, loud = error_streams(params(scale=[[1.0], [1.0]]), {"errors": base}).scores
    assert loud > quiet + 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scale": [[1.0, 2.0], [1.0, 1.0, 1.0]]}, "lists of one length"),
        ({"scale": [[1.0, 2.0, 3.0]]}, "2 lists"),
        ({"scale": [[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]}, "scale.0.1"),
        ({"scale": [[1.0, math.nan, 1.0], [1.0, 1.0, 1.0]]}, "scale.0.1"),
        ({"scale": [[1.0], [1.0]]}, r"\(2, 2, 3\), not \(N, 2, 1\)"),
        ({"streams": ["time"], "scale": [[1.0, 1.0, 1.0]]}, "not"),
        ({"top": 0}, "top"),
        ({"top": 1.5}, "top"),
        ({"output": "other"}, "no output 'other'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        error_streams(params(**changed), {"errors": ERRORS})
