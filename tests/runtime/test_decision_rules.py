"""Minimum duration, cool-down, gaps, another threshold in mid-stream, and going on in another process."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import Rejection
from edge_ad.errors import UsageError
from edge_ad.runtime.decision import Decision, DecisionConfig

BAND = Rejection(lower=0.8, upper=1.5, stability=0.9, expected_rate=0.1, n=99)
SCORES = st.lists(st.sampled_from([0.0, 0.5, 0.79, 0.9, 1.0, 1.1, 1.6, 2.0, 5.0]), max_size=80)
CONFIGS = st.builds(
    DecisionConfig,
    k=st.integers(1, 3),
    n=st.integers(3, 4),
    release=st.integers(1, 3),
    hysteresis=st.sampled_from([0.5, 1.0]),
    update_interval=st.integers(1, 5),
    min_frames=st.integers(1, 4),
    cooldown=st.integers(0, 5),
)


def told(decision: Decision, scores: list[float]) -> list[tuple[int, str, int]]:
    """(frame, kind, number) of what is reported."""
    return [(i, c.kind, c.number) for i, score in enumerate(scores) for c in decision.step(score)]


def test_what_does_not_last_is_not_told_and_what_does_is_told_late() -> None:
    decision = Decision(1.0, DecisionConfig(min_frames=3, release=1))
    assert told(decision, [0, 2, 2, 0, 2, 2, 2, 2, 0]) == [(6, "new", 1), (8, "end", 1)]
    assert decision.short == 1


def test_an_event_told_late_knows_its_highest_frame_from_its_beginning() -> None:
    decision = Decision(1.0, DecisionConfig(min_frames=3, release=1))
    peaks = []
    for score in [0, 2.0, 5.0, 3.0]:
        peaks.append(decision.is_new_peak(score))
        changes = decision.step(score)
    assert [change.kind for change in changes] == ["new"] and peaks == [False, True, True, False]


def test_in_a_cool_down_nothing_begins_and_its_frames_do_not_count_later() -> None:
    decision = Decision(1.0, DecisionConfig(k=2, n=2, release=1, cooldown=3))
    assert told(decision, [2, 2, 0, 2, 2, 2, 2, 0, 2, 2]) == [(1, "new", 1), (2, "end", 1), (9, "new", 2)]
    assert decision.suppressed == 2


@settings(max_examples=200, deadline=None)
@given(SCORES, CONFIGS)
def test_events_never_overlap_last_as_long_and_keep_their_distance(
    scores: list[float], config: DecisionConfig
) -> None:
    decision = Decision(1.0, config)
    changes = told(decision, scores)
    kinds = [kind for _, kind, _ in changes if kind != "update"]
    assert kinds == ["new", "end"] * (len(kinds) // 2) + ["new"] * (len(kinds) % 2)
    begins = [frame for frame, kind, _ in changes if kind == "new"]
    ends = [frame for frame, kind, _ in changes if kind == "end"]
    assert all(begin > end + config.cooldown for begin, end in zip(begins[1:], ends, strict=False))
    assert decision.open == (len(kinds) % 2 == 1)


def test_frames_before_a_gap_do_not_count_but_an_open_event_goes_on() -> None:
    decision = Decision(1.0, DecisionConfig(k=2, n=3, release=2))
    decision.step(2)
    decision.gap()
    assert decision.step(2) == ()
    assert [change.kind for change in decision.step(2)] == ["new"]
    decision.gap()
    assert decision.open and decision.step(0) == ()
    assert [change.kind for change in decision.step(0)] == ["end"]


@settings(max_examples=200, deadline=None)
@given(SCORES, CONFIGS, st.integers(0, 80), st.sampled_from([None, BAND]))
def test_a_machine_goes_on_in_another_process_as_if_nothing_had_happened(
    scores: list[float], config: DecisionConfig, cut: int, band: Rejection | None
) -> None:
    whole, first = Decision(1.0, config, band), Decision(1.0, config, band)
    expected = told(whole, scores)[len(told(first, scores[:cut])) :]
    second = Decision(1.0, config, band)
    assert second.restore(json.loads(json.dumps(first.snapshot())))
    assert [(i + len(scores[:cut]), kind, n) for i, kind, n in told(second, scores[cut:])] == expected
    assert second.snapshot() == whole.snapshot()


@pytest.mark.parametrize(
    "other", [Decision(1.1), Decision(1.0, DecisionConfig(release=2)), Decision(1.0, rejection=BAND)]
)
def test_a_snapshot_of_other_rules_is_refused_and_changes_nothing(other: Decision) -> None:
    before = other.snapshot()
    machine = Decision(1.0)
    machine.step(2)
    assert not other.restore(machine.snapshot()) and other.snapshot() == before


def test_another_threshold_counts_from_the_next_frame_and_leaves_the_band_until_the_first_one_is_back() -> (
    None
):
    decision = Decision(1.0, DecisionConfig(release=1), BAND)
    assert decision.verdict(0.9) == "uncertain"
    decision.step(2)
    decision.set_threshold(3.0)
    assert (decision.verdict(2), decision.verdict(3.1), decision.rejection) == ("normal", "anomalous", None)
    assert [change.kind for change in decision.step(2)] == ["end"]
    decision.set_threshold(1.0)
    assert decision.verdict(0.9) == "uncertain" and decision.rejection == BAND
    with pytest.raises(UsageError, match="finite"):
        decision.set_threshold(float("nan"))


@pytest.mark.parametrize("rule", [{"min_frames": 0}, {"cooldown": -1}, {"release": 0, "cooldown": 1}])
def test_rules_that_cannot_be_are_refused(rule: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        DecisionConfig(**rule)
