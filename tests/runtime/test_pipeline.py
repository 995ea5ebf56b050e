"""The whole loop: what is reported of a stream, and that it ends in good order however it ends."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_sink import Kept

from edge_ad.bundle.manifest import HeadSpec, InputSpec, Rejection
from edge_ad.errors import DataError, EngineError, SourceError
from edge_ad.runtime.decision import SEPARATE_PARTS, Decision, DecisionConfig
from edge_ad.runtime.events import Record, State, parse_event
from edge_ad.runtime.images import import_cv2
from edge_ad.runtime.localise import locator
from edge_ad.runtime.notes import Note
from edge_ad.runtime.pipeline import Result, RunSummary, run_stream
from edge_ad.runtime.preprocess import resize_spec
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scorer import Scored
from edge_ad.runtime.sinks import open_sink
from edge_ad.runtime.sources import open_source

BUNDLE = "ab" * 32
IMAGES = InputSpec(modality="image", shape=(1, 3, 40, 80), dtype="uint8", preprocess=resize_spec(40, 80))
LOCATE = locator(IMAGES, HeadSpec(name="map-max", params={}))
TS = datetime(2025, 11, 23, tzinfo=timezone.utc)


class Scores:
    """A replay of frames whose brightness is their score, 0.1 s apart; it may end in an error."""

    name = "scores"
    live = False
    acquired = dropped = unreadable = 0

    def __init__(self, scores: Sequence[float], error: Exception | None = None) -> None:
        self.scores = scores
        self.error = error
        self.closed = False

    def __iter__(self) -> Iterator[Sample]:
        for i, score in enumerate(self.scores):
            yield Sample(np.full((8, 8), score), f"{i}.png", TS + i * timedelta(seconds=0.1))
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed = True


def brightness(sample: Sample) -> Scored:
    return Scored(float(sample.data.flat[0]), None, 1000)


def run(
    scores: Sequence[float], config: DecisionConfig | None = None, boot_id: str = "00ff"
) -> tuple[RunSummary, Kept]:
    sink = Kept()
    summary = run_stream(
        Scores(scores), brightness, Decision(1.0, config), [sink], stream="s", bundle=BUNDLE, boot_id=boot_id
    )
    return summary, sink


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 2), max_size=40),
    st.sampled_from([DecisionConfig(), DecisionConfig(2, 3, 2, 0.9, 4), SEPARATE_PARTS]),
)
def test_events_are_numbered_well_nested_ended_and_the_same_in_a_replay(
    scores: list[float], config: DecisionConfig
) -> None:
    summary, sink = run(scores, config)
    assert [e.seq for e in sink.events] == list(range(1, len(sink.events) + 1))
    open_id = None
    for event in sink.events:
        assert (event.kind == "new") == (open_id is None)
        assert open_id is None or event.event_id == open_id
        open_id = None if event.kind == "end" else event.event_id
    assert open_id is None
    assert (
        summary.events == sum(e.kind == "new" for e in sink.events) == len({e.event_id for e in sink.events})
    )
    assert summary.frames == len(scores) and summary.anomalous == sum(s > 1 for s in scores)
    again, replay = run(scores, config)
    assert [e.to_json() for e in replay.events] == [e.to_json() for e in sink.events]
    assert again.events == summary.events


BAND = Rejection(lower=0.8, upper=1.5, stability=0.9, expected_rate=0.1, n=99)  # around the threshold 1.0


def test_an_uncertain_event_tells_when_it_hardens_and_carries_its_band() -> None:
    sink = Kept()
    config = DecisionConfig(release=2, rise=99)
    summary = run_stream(
        Scores([0.5, 1.2, 0.9, 2.0, 0.1, 0.1, 1.1]), brightness, Decision(1.0, config, BAND), [sink],
        stream="s", bundle=BUNDLE,
    )  # fmt: skip
    assert [(e.kind, e.verdict, e.score, e.sample) for e in sink.events] == [
        ("new", "uncertain", 1.2, "1.png"), ("update", "anomalous", 2.0, "3.png"), ("end", "anomalous", 2.0, "3.png"),
        ("new", "uncertain", 1.1, "6.png"), ("end", "uncertain", 1.1, "6.png"),
    ]  # fmt: skip
    assert all(e.band == (0.8, 1.5) and e.threshold == 1.0 for e in sink.events)
    assert (summary.frames, summary.anomalous, summary.uncertain, summary.events) == (7, 1, 3, 2)
    assert "7 frames" in str(summary) and ": 1 anomalous, 3 uncertain, 2 events;" in str(summary)
    assert summary.as_dict()["uncertain"] == 3


def test_without_a_band_nothing_is_uncertain() -> None:
    summary, sink = run([0, 2, 0])
    assert {(e.verdict, e.band) for e in sink.events} == {("anomalous", None)}
    assert summary.uncertain is None and "uncertain" not in str(summary)
    assert [(s.anomalous, s.verdict, s.band) for s in sink.states][-1] == (False, "normal", None)


def test_an_uncertain_part_is_located_by_the_bands_lower_end_and_an_anomalous_one_by_the_threshold() -> None:
    def infer(sample: Sample) -> Scored:
        peak = float(sample.data.flat[0])
        map_ = np.array([[0.5, 0.9, peak, 0.9], [0.5, 0.5, 1.1, 0.5]], np.float32)
        return Scored(float(map_.max()), map_, 1)

    results: list[Result] = []
    run_stream(
        Scores([1.25, 2.0]), infer, Decision(1.0, SEPARATE_PARTS, BAND), [], stream="s", bundle=BUNDLE,
        on_result=results.append, locate=LOCATE,
    )  # fmt: skip
    assert [(r.verdict, r.anomalous) for r in results] == [("uncertain", False), ("anomalous", True)]
    boxes = [event.where.box for result in results for event in result.events if event.where is not None]
    assert boxes == [(2, 0, 6, 8)] * 2 + [(4, 0, 2, 8)] * 2  # frames of 8 x 8 pixels, cells of 2 x 4


def test_two_runs_never_share_an_event_id() -> None:
    ids = [
        run_stream(Scores([2]), brightness, Decision(1.0), [sink], stream="s", bundle=BUNDLE)
        and sink.events[0].event_id
        for sink in (Kept(), Kept())
    ]
    assert ids[0] != ids[1]


def test_every_record_sums_the_event_up_by_its_highest_frame() -> None:
    _, sink = run([0, 1.5, 3, 2, 0.5, 0.5], DecisionConfig(release=2))
    assert [(e.kind, e.score, e.sample) for e in sink.events] == [
        ("new", 1.5, "1.png"), ("update", 3, "2.png"), ("end", 3, "2.png"),
    ]  # fmt: skip
    assert [(e.ts - TS).total_seconds() for e in sink.events] == [0.1, 0.2, 0.5]
    assert all(e.threshold == 1.0 and e.stream == "s" and e.bundle == BUNDLE for e in sink.events)


def test_state_is_told_at_the_start_and_on_change_only() -> None:
    states: list[tuple[bool, str | None]] = []
    seen = threading.Semaphore(0)

    class Watching(Kept):
        def show(self, note: Note) -> None:
            if isinstance(note, State):
                states.append((note.anomalous, note.event_id))
                seen.release()

    changes_at = {0, 2, 4, 6}
    frame = -1

    def infer(sample: Sample) -> Scored:
        nonlocal frame
        if frame in changes_at:  # states are told newest only: wait for each, to see them all
            assert seen.acquire(timeout=30)
        frame += 1
        return brightness(sample)

    source = Scores([0, 0, 2, 2, 0, 0, 3])
    run_stream(source, infer, Decision(1.0), [Watching()], stream="s", bundle=BUNDLE, boot_id="b")
    assert states[:3] == [(False, None), (True, "s-b-1"), (False, None)]
    assert states[-1] == (False, None)  # the stream stopped: its event is over


def test_state_is_anomalous_only_from_when_the_event_is() -> None:
    states: list[tuple[bool, str, str | None]] = []
    seen = threading.Semaphore(0)

    class Watching(Kept):
        def show(self, note: Note) -> None:
            if isinstance(note, State):
                assert note.band == (0.8, 1.5)
                states.append((note.anomalous, note.verdict, note.event_id))
                seen.release()

    frame = -1

    def infer(sample: Sample) -> Scored:
        nonlocal frame
        if frame in {0, 1, 3, 5}:  # states are told newest only: wait for each, to see them all
            assert seen.acquire(timeout=30)
        frame += 1
        return brightness(sample)

    source = Scores([0, 1.2, 1.2, 2, 0.9, 0, 0])
    decision = Decision(1.0, rejection=BAND)
    run_stream(source, infer, decision, [Watching()], stream="s", bundle=BUNDLE, boot_id="b")
    assert states == [
        (False, "normal", None), (False, "uncertain", "s-b-1"), (True, "anomalous", "s-b-1"), (False, "normal", None),
    ]  # fmt: skip


def test_separate_parts_have_an_event_and_a_verdict_each(tmp_path: Path) -> None:
    cv2 = import_cv2()
    for name, bright in [("1.png", 0), ("2.png", 200), ("3.png", 220), ("4.png", 0)]:
        image = np.zeros((40, 80, 3), np.uint8)
        image[10:20, 40:60] = bright
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / "5.png").write_bytes(b"broken")

    def infer(sample: Sample) -> Scored:
        map_ = sample.data[..., 0].reshape(4, 10, 8, 10).mean((1, 3)).astype(np.float32)
        return Scored(float(map_.max()), map_, 500)

    results: list[Result] = []
    log_file = tmp_path / "events.jsonl"
    summary = run_stream(
        open_source(str(tmp_path)), infer, Decision(100.0, SEPARATE_PARTS), [open_sink(f"jsonl:{log_file}", node="n")],
        stream="parts", bundle=BUNDLE, on_result=results.append, locate=LOCATE,
    )  # fmt: skip
    events = [parse_event(line) for line in log_file.read_text().splitlines()]
    assert [(e.kind, e.sample, e.score) for e in events] == [
        ("new", "2.png", 200), ("end", "2.png", 200), ("new", "3.png", 220), ("end", "3.png", 220),
    ]  # fmt: skip
    assert events[0].where is not None
    assert events[0].where.box == (40, 10, 20, 10) and events[0].where.peak == (45, 15)
    assert [(r.sample.name, r.anomalous, len(r.events)) for r in results] == [
        ("1.png", False, 0), ("2.png", True, 2), ("3.png", True, 2), ("4.png", False, 0),
    ]  # fmt: skip
    assert (summary.frames, summary.anomalous, summary.events, summary.unreadable) == (4, 2, 2, 1)


def test_stop_ends_the_open_event_and_closes_everything() -> None:
    stop = threading.Event()
    source, sink = Scores([2.0] * 1000), Kept()

    def stop_after_five(result: Result) -> None:
        if result.sample.name == "4.png":
            stop.set()

    summary = run_stream(
        source,
        brightness,
        Decision(1.0),
        [sink],
        stream="s",
        bundle=BUNDLE,
        stop=stop,
        on_result=stop_after_five,
    )
    assert summary.frames == 5 and summary.error is None
    assert [e.kind for e in sink.events] == ["new", "end"]
    assert source.closed and sink.closed


def test_stop_wakes_a_run_that_waits_for_a_silent_camera() -> None:
    class Silent(Scores):
        live = True

        def __init__(self) -> None:
            super().__init__([2.0])
            self.woken = threading.Event()

        def __iter__(self) -> Iterator[Sample]:
            yield from super().__iter__()
            assert self.woken.wait(30)

        def close(self) -> None:
            self.woken.set()

    stop = threading.Event()
    sink = Kept()
    summary = run_stream(
        Silent(), brightness, Decision(1.0), [sink], stream="s", bundle=BUNDLE, stop=stop,
        on_result=lambda _: stop.set(),
    )  # fmt: skip
    assert summary.error is None and [e.kind for e in sink.events] == ["new", "end"]


def test_a_source_that_fails_ends_the_run_in_good_order_and_the_error_is_kept() -> None:
    sink = Kept()
    source = Scores([2], SourceError("no frame for 10 s", where="camera:0"))
    summary = run_stream(source, brightness, Decision(1.0), [sink], stream="s", bundle=BUNDLE)
    assert [e.kind for e in sink.events] == ["new", "end"] and sink.closed and source.closed
    assert summary.frames == 1
    with pytest.raises(SourceError, match="camera:0: no frame for 10 s"):
        summary.raise_for_error()


def test_an_engine_that_fails_ends_the_run_in_good_order() -> None:
    def infer(sample: Sample) -> Scored:
        if sample.name == "1.png":
            raise EngineError("lost the device")
        return brightness(sample)

    sink = Kept()
    summary = run_stream(Scores([2, 2]), infer, Decision(1.0), [sink], stream="s", bundle=BUNDLE)
    assert isinstance(summary.error, EngineError) and [e.kind for e in sink.events] == ["new", "end"]


def test_an_input_that_the_network_refuses_is_said_counted_and_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def infer(sample: Sample) -> Scored:
        if sample.name in ("0.png", "2.png"):
            raise DataError("has 4 channels")
        return brightness(sample)

    summary = run_stream(Scores([0, 0, 0, 2]), infer, Decision(1.0), [], stream="s", bundle=BUNDLE)
    assert (summary.frames, summary.unreadable, summary.events) == (2, 2, 1)
    assert caplog.messages == ["0.png: skipped: has 4 channels", "2.png: skipped: has 4 channels"]


def test_a_fault_in_the_program_is_raised_after_the_sinks_were_closed() -> None:
    def infer(sample: Sample) -> Scored:
        if sample.name == "1.png":
            raise ZeroDivisionError
        return brightness(sample)

    sink = Kept()
    with pytest.raises(ZeroDivisionError):
        run_stream(Scores([2, 2]), infer, Decision(1.0), [sink], stream="s", bundle=BUNDLE)
    assert [e.kind for e in sink.events] == ["new", "end"] and sink.closed


def test_the_summary_is_ready_for_people_and_programs() -> None:
    class Dead(Kept):
        def _write(self, record: Record) -> None:
            raise ConnectionError("gone")

    latencies = iter(range(1000, 101_000, 1000))
    summary = run_stream(
        Scores([0.0] * 99 + [2.0], SourceError("the stream ended")),
        lambda sample: Scored(float(sample.data.flat[0]), None, next(latencies)),
        Decision(1.0), [Kept(), Dead("dead")], stream="s", bundle=BUNDLE,
    )  # fmt: skip
    assert (summary.latency_median_us, summary.latency_p99_us) == (50_500, 99_010)
    data = json.loads(json.dumps(summary.as_dict()))
    assert data["frames"] == 100 and data["error"] == "the stream ended"
    assert [(s["name"], s["delivered"], s["lost"]) for s in data["sinks"]] == [
        ("kept", 2, 0),
        ("dead", 0, 2),
    ]
    text = str(summary)
    assert "100 frames" in text and "1 anomalous, 1 events" in text
    assert "latency 50.5 ms median, 99.0 ms at the 99th percentile" in text
    assert (
        "kept: 2 delivered\ndead: 0 delivered, 2 LOST (last failure: dead: ConnectionError('gone'))" in text
    )


def test_a_run_without_any_frame_has_no_latency_and_no_event() -> None:
    summary, sink = run([])
    assert summary.latency_median_us is None and sink.events == [] and "0 frames" in str(summary)


def test_a_sink_that_blocks_for_good_does_not_slow_the_run_or_the_other_sinks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = threading.Event()

    class Blocking(Kept):
        def _write(self, record: Record) -> None:
            release.wait()

    good = Kept()
    with caplog.at_level(logging.WARNING):
        summary = run_stream(
            Scores([0, 2] * 200), brightness, Decision(1.0), [Blocking("blocking"), good], stream="s", bundle=BUNDLE,
            drain_s=1.0, close_s=0.1,
        )  # fmt: skip
    release.set()
    assert summary.frames == 400 and len(good.events) == 400 and good.closed
    stuck, fine = summary.sinks
    assert stuck.stuck and stuck.lost == 400 and fine.delivered == 400
