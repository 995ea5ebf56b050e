"""RoLA's majority rule: what counts as moving together, and what an anomaly needs."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from row_sources import series_input

from edge_ad.errors import EngineError, UsageError
from edge_ad.runtime.majority import Majority, majority
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scorer import Scored

RNG = np.random.default_rng(0)


def window(n: int = 100) -> np.ndarray:
    """a, b, c move together (c the other way round); d is for itself; e does not move."""
    common, own = RNG.normal(size=n), RNG.normal(size=n)
    noise = 0.1 * RNG.normal(size=(n, 3))
    columns = [
        common + noise[:, 0],
        5 * common + noise[:, 1] + 70,
        -common + noise[:, 2],
        own,
        np.full(n, 3.0),
    ]
    return np.stack(columns, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("loud", "stands"),
    [
        ("", False), ("a", False), ("ab", True), ("bc", True), ("abc", True),
        ("d", True), ("e", True), ("ad", True),  # d and e move with nobody: they decide alone
    ],
)  # fmt: skip
def test_more_than_half_of_what_moves_together_has_to_agree(loud: str, stands: bool) -> None:
    channels = np.array([2.0 if name in loud else 0.5 for name in "abcde"], np.float32)
    assert Majority(0.8, 4).stands(window(), channels, 1.0) is stands


def test_of_two_that_move_together_both_have_to_agree() -> None:
    pair = window()[:, :2]
    assert not Majority(0.8, 4).stands(pair, np.array([2, 0], np.float32), 1.0)
    assert Majority(0.8, 4).stands(pair, np.array([2, 2], np.float32), 1.0)


def test_the_newest_rows_do_not_count_as_how_channels_move() -> None:
    """A fault that tears channels apart is what is to be found; it must not make them look unrelated."""
    torn = window()
    torn[-4:, 0] = 1e6
    assert not Majority(0.8, 4).stands(torn, np.array([2, 0, 0, 0, 0], np.float32), 1.0)


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(0, 1000), st.floats(0.1, 1.0), st.booleans())
def test_groups_are_those_of_scipys_rank_correlation(
    n_channels: int, seed: int, limit: float, ties: bool
) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(30, n_channels)) @ rng.normal(size=(n_channels, n_channels))
    rows = np.round(2 * rows) if ties else rows
    above = rng.random(n_channels) < 0.5
    close = np.array([[abs(stats.spearmanr(a, b).statistic) for a in rows[:-3].T] for b in rows[:-3].T])
    assume(not np.any(np.abs(close - limit) < 1e-6) and not np.isnan(close).any())
    groups = (close >= limit) | np.eye(n_channels, dtype=bool)
    expected = any(2 * above[groups[i]].sum() > groups[i].sum() for i in range(n_channels) if above[i])
    assert Majority(limit, 3).stands(rows, np.where(above, 2.0, 0.0).astype(np.float32), 1.0) == expected


def test_a_frame_that_does_not_stand_is_capped_and_any_other_is_left() -> None:
    sample = Sample(window(), "x", datetime.now(timezone.utc))
    rule = Majority(0.8, 4)

    def score(score: float, *loud: int) -> float:
        channels = np.full(5, 0.1, np.float32)
        channels[list(loud)] = 9
        return rule.cap(sample, Scored(score, None, 0, channels), 1.0)

    assert score(3.0, 0) == 1.0 and score(3.0, 0, 1) == 3.0 and score(0.7, 0) == 0.7
    with pytest.raises(EngineError, match="scores by channel"):
        rule.cap(sample, Scored(3.0, None, 0), 1.0)


def test_it_is_refused_where_there_is_nothing_to_agree() -> None:
    assert majority(0.9, series_input("a", "b", length=8, hop=2)).hop == 2
    with pytest.raises(UsageError, match="two channels"):
        majority(0.9, series_input("a", length=8, hop=2))
    with pytest.raises(UsageError, match="overlap"):
        majority(0.9, series_input("a", "b", length=8, hop=7))
