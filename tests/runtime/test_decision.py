"""When events begin, are repeated and end, as functions of the scores alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import Rejection
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


def band(lower: float, upper: float) -> Rejection:
    return Rejection(lower=lower, upper=upper, stability=0.9, expected_rate=0.1, n=99)


BAND = band(0.8, 1.5)  # around the threshold 1.0


def verdicts(
    scores: list[float], config: DecisionConfig | None = None, rejection: Rejection = BAND
) -> list[tuple[int, str, str]]:
    """(frame, kind, verdict) of everything reported; frame -1 is the close."""
    decision = Decision(1.0, config, rejection)
    found = [(i, c.kind, c.verdict) for i, score in enumerate(scores) for c in decision.step(score)]
    return found + [(-1, c.kind, c.verdict) for c in decision.close()]


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


# With a rejection band: threshold 1.0, uncertain in (0.8, 1.5]


def test_a_frame_is_uncertain_above_the_lower_end_up_to_and_with_the_upper() -> None:
    decision = Decision(1.0, rejection=BAND)
    judged = [decision.verdict(score) for score in (0.8, 0.81, 1.0, 1.01, 1.5, 1.51)]
    assert judged == ["normal", "uncertain", "uncertain", "uncertain", "uncertain", "anomalous"]
    assert [Decision(1.0).verdict(score) for score in (1.0, 1.01)] == ["normal", "anomalous"]


@settings(max_examples=200, deadline=None)
@given(SCORES, CONFIGS, st.floats(-2, 2))
def test_an_empty_band_changes_nothing(scores: list[float], config: DecisionConfig, threshold: float) -> None:
    plain, banded = Decision(threshold, config), Decision(threshold, config, band(threshold, threshold))
    for score in scores:
        assert plain.is_new_peak(score) == banded.is_new_peak(score)
        assert plain.step(score) == banded.step(score)
        assert plain.open == banded.open
    assert plain.close() == banded.close()


@settings(max_examples=300, deadline=None)
@given(SCORES, CONFIGS)
def test_a_band_moves_where_events_begin_and_end_to_its_lower_end(
    scores: list[float], config: DecisionConfig
) -> None:
    """What is uncertain counts towards an event; only the records between, and their verdicts, are others."""
    decision = Decision(1.0, config, BAND)
    found = [(i, c.kind, c.number) for i, score in enumerate(scores) for c in decision.step(score)]
    assert [c for c in found if c[1] != "update"] == [
        c for c in changes(scores, config, threshold=0.8) if c[1] != "update" and c[0] >= 0
    ]


@settings(max_examples=300, deadline=None)
@given(SCORES, CONFIGS)
def test_an_event_is_anomalous_from_where_k_of_the_last_n_frames_are_and_says_so_at_once(
    scores: list[float], config: DecisionConfig
) -> None:
    since, expected = 0, "uncertain"
    decision = Decision(1.0, config, BAND)
    for i, score in enumerate(scores):
        was_open = decision.open
        told = decision.step(score)
        enough = sum(s > 1.5 for s in scores[max(since, i + 1 - config.n) : i + 1]) >= config.k
        if was_open and enough and expected == "uncertain":
            assert [c.kind for c in told] == ["update"]
        if enough:
            expected = "anomalous"
        assert all(change.verdict == expected for change in told)
        if told and not decision.open:
            since, expected = i + 1, "uncertain"
    assert all(change.verdict == expected for change in decision.close())


def test_an_uncertain_event_hardens_with_an_update_and_stays_anomalous_to_its_end() -> None:
    config = DecisionConfig(release=2, update_interval=99, rise=99)
    assert verdicts([1.2, 1.1, 1.6, 1.2, 0.5, 0.5], config) == [
        (0, "new", "uncertain"), (2, "update", "anomalous"), (5, "end", "anomalous"),
    ]  # fmt: skip


def test_an_event_that_never_hardens_ends_uncertain() -> None:
    assert verdicts([0.9, 0.9, 0.1]) == [(0, "new", "uncertain"), (2, "end", "uncertain")]
    assert verdicts([0.9]) == [(0, "new", "uncertain"), (-1, "end", "uncertain")]


def test_one_high_frame_does_not_harden_an_event_that_needs_two() -> None:
    config = DecisionConfig(k=2, n=3, release=3, update_interval=99, rise=99)
    assert verdicts([9, 0.9, 0.9, 0.9, 9, 0.9, 9], config) == [
        (1, "new", "uncertain"), (6, "update", "anomalous"), (-1, "end", "anomalous"),
    ]  # fmt: skip


def test_anomalous_frames_in_an_uncertain_event_do_not_begin_another() -> None:
    config = DecisionConfig(k=2, n=4, release=1, update_interval=99, rise=99)
    assert verdicts([0.9, 0.9, 9, 0.1, 9, 0.1], config) == [(1, "new", "uncertain"), (3, "end", "uncertain")]


def test_separate_parts_carry_their_own_verdicts() -> None:
    assert verdicts([0.9, 9, 0.1], SEPARATE_PARTS) == [
        (0, "new", "uncertain"), (0, "end", "uncertain"), (1, "new", "anomalous"), (1, "end", "anomalous"),
    ]  # fmt: skip


def test_uncertain_frames_keep_an_anomalous_event_open() -> None:
    config = DecisionConfig(release=2, update_interval=99)
    assert verdicts([2, 0.9, 0.9, 0.9, 0.8, 0.7], config) == [
        (0, "new", "anomalous"),
        (5, "end", "anomalous"),
    ]


def test_hysteresis_lies_below_the_bands_lower_end() -> None:
    config = DecisionConfig(hysteresis=0.5, update_interval=99)
    assert verdicts([0.9, 0.41, 0.4], config) == [(0, "new", "uncertain"), (2, "end", "uncertain")]


def test_a_steady_uncertain_score_below_the_threshold_is_no_news() -> None:
    """Its height is that above the band, which is positive where that above the threshold is not."""
    assert verdicts([0.9] * 20, DecisionConfig(update_interval=99)) == [
        (0, "new", "uncertain"), (-1, "end", "uncertain"),
    ]  # fmt: skip


@pytest.mark.parametrize("rejection", [band(1.1, 1.5), band(0.5, 0.9), band(1.5, 0.5)])
def test_a_band_that_does_not_hold_the_threshold_is_refused(rejection: Rejection) -> None:
    with pytest.raises(UsageError, match="the threshold 1 is not in its rejection band"):
        Decision(1.0, rejection=rejection)
