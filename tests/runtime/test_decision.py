"""When events begin, are repeated and end, as functions of the scores alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import EngineError, UsageError
from edge_ad.runtime.decision import SEPARATE_PARTS, Change, Decision, DecisionConfig

SCORES = st.lists(st.floats(-3, 3, allow_nan=False), max_size=80)
CONFIGS = st.builds(
    lambda k, more, release, hysteresis, interval, rise: DecisionConfig(
        k, k + more, release, hysteresis, interval, rise
    ),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(1, 4),
    st.floats(0.1, 1.0),
    st.integers(1, 9),
    st.floats(0.0, 1.0),
) | st.just(SEPARATE_PARTS)


def changes(
    scores: list[float], config: DecisionConfig, threshold: float = 1.0
) -> list[tuple[int, str, int]]:
    """(frame, kind, event number) of everything reported; frame -1 is the close."""
    decision = Decision(threshold, config)
    found = [(i, c.kind, c.number) for i, score in enumerate(scores) for c in decision.step(score)]
    return found + [(-1, c.kind, c.number) for c in decision.close()]


@settings(max_examples=300, deadline=None)
@given(SCORES, CONFIGS, st.floats(-2, 2))
def test_events_are_well_nested_and_all_are_ended(
    scores: list[float], config: DecisionConfig, threshold: float
) -> None:
    current = 0
    is_open = False
    for _, kind, number in changes(scores, config, threshold):
        if kind == "new":
            assert not is_open and number == current + 1
            current, is_open = number, True
        else:
            assert is_open and number == current
            is_open = kind != "end"
    assert not is_open


@settings(max_examples=300, deadline=None)
@given(SCORES, CONFIGS, st.floats(-2, 2))
def test_an_event_begins_exactly_where_k_of_the_last_n_frames_are_anomalous(
    scores: list[float], config: DecisionConfig, threshold: float
) -> None:
    found = changes(scores, config, threshold)
    since = 0  # first frame that may count towards the next event
    begins = {frame for frame, kind, _ in found if kind == "new"}
    is_open = False
    for i in range(len(scores)):
        window = scores[max(since, i + 1 - config.n) : i + 1]
        due = not is_open and sum(score > threshold for score in window) >= config.k
        assert (i in begins) == due
        kinds = [kind for frame, kind, _ in found if frame == i]
        if kinds:
            is_open = kinds[-1] != "end"
        if kinds and not is_open:
            since = i + 1


@settings(max_examples=300, deadline=None)
@given(SCORES, CONFIGS.filter(lambda c: c.release > 0), st.floats(-2, 2))
def test_an_event_ends_only_after_so_many_quiet_frames_in_a_row(
    scores: list[float], config: DecisionConfig, threshold: float
) -> None:
    level = threshold - (1 - config.hysteresis) * abs(threshold)
    begun = 0
    for frame, kind, _ in changes(scores, config, threshold):
        if kind == "new":
            begun = frame
        elif kind == "end":
            after = scores[begun + 1 : frame + 1] if frame >= 0 else scores[begun + 1 :]
            quiet = [score <= level for score in after]
            runs = [
                all(quiet[max(0, i + 1 - config.release) : i + 1])
                for i in range(config.release - 1, len(quiet))
            ]
            assert runs[:-1] == [False] * len(runs[:-1])
            assert not runs or runs[-1] == (frame >= 0)


@settings(max_examples=100, deadline=None)
@given(SCORES, CONFIGS)
def test_a_replay_gives_the_same_changes(scores: list[float], config: DecisionConfig) -> None:
    assert changes(scores, config) == changes(scores, config)


def test_separate_parts_give_one_event_for_each_anomalous_frame() -> None:
    assert changes([2, 2, 0, 3], SEPARATE_PARTS) == [
        (0, "new", 1), (0, "end", 1), (1, "new", 2), (1, "end", 2), (3, "new", 3), (3, "end", 3),
    ]  # fmt: skip


def test_a_score_at_the_threshold_is_normal() -> None:
    assert changes([1.0], DecisionConfig()) == []


def test_a_score_between_release_level_and_threshold_keeps_an_event_open_but_begins_none() -> None:
    config = DecisionConfig(release=2, hysteresis=0.8, update_interval=99)
    assert changes([0.9, 0.9, 2, 0.7, 0.9, 0.7, 0.8], config) == [(2, "new", 1), (6, "end", 1)]


def test_hysteresis_lies_below_a_negative_threshold_too() -> None:
    config = DecisionConfig(hysteresis=0.5, update_interval=99)
    assert changes([-0.5, -1.2, -1.6], config, threshold=-1.0) == [(0, "new", 1), (2, "end", 1)]


def test_frames_of_an_ended_event_do_not_begin_the_next_one() -> None:
    config = DecisionConfig(k=2, n=4, release=1, update_interval=99)
    assert changes([2, 2, 0, 2, 0], config) == [(1, "new", 1), (2, "end", 1)]


def test_a_long_event_is_repeated_at_the_interval() -> None:
    found = changes([2.0] * 10, DecisionConfig(update_interval=3))
    assert [frame for frame, kind, _ in found if kind == "update"] == [3, 6, 9]


def test_a_rising_peak_is_reported_at_once_and_a_climb_only_as_often_as_it_is_news() -> None:
    config = DecisionConfig(update_interval=10_000, rise=0.1)
    assert changes([2, 2.05, 2.2, 1.5], config) == [(0, "new", 1), (2, "update", 1), (-1, "end", 1)]
    climb = changes([2 + i / 100 for i in range(1000)], config)
    assert 10 < sum(kind == "update" for _, kind, _ in climb) < 30


def test_the_peak_is_announced_before_the_step() -> None:
    decision = Decision(1.0)
    peaks = []
    for score in [0.5, 2, 1.5, 3, 0, 1.2]:
        peaks.append(decision.is_new_peak(score))
        decision.step(score)
    assert peaks == [False, True, False, True, False, True]


def test_close_is_silent_when_nothing_is_open_and_ends_only_once() -> None:
    decision = Decision(1.0)
    assert decision.close() == ()
    decision.step(2)
    assert decision.close() == (Change("end", 1),)
    assert decision.close() == ()


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_an_error_and_not_normal(score: float) -> None:
    with pytest.raises(EngineError, match="not finite"):
        Decision(1.0).step(score)


@pytest.mark.parametrize(
    "bad",
    [
        {"k": 0}, {"k": 3, "n": 2}, {"release": -1}, {"release": 0, "n": 2}, {"hysteresis": 0.0},
        {"hysteresis": 1.1}, {"update_interval": 0}, {"rise": -0.1}, {"rise": float("nan")},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_right_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        DecisionConfig(**bad)  # type: ignore[arg-type]


def test_a_threshold_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="finite"):
        Decision(float("nan"))
