"""A stream that is killed and started again gives the records of one that was not: none lost, none made twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_sink import Kept

from edge_ad.runtime.decision import Decision, DecisionConfig
from edge_ad.runtime.events import Event, EventWriter, Record
from edge_ad.runtime.outbox.queue import Limits, Outbox
from edge_ad.runtime.reporting import Reporting
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.scorer import Scored
from edge_ad.runtime.sinks.base import DeviceInfo
from edge_ad.runtime.stream.judge import Judge
from edge_ad.runtime.stream.stream import OneStage, Stream

BUNDLE = "ab" * 32
TS = datetime(2025, 11, 23, tzinfo=timezone.utc)


class Scores:
    """A replay of frames whose brightness is their score; it can be wound forward."""

    name = "scores"
    live = False
    burst = 1000
    acquired = dropped = unreadable = 0

    def __init__(self, scores: Sequence[float], *, live: bool = False) -> None:
        self.scores = scores
        self.begin = 0
        self.live = live

    def resume(self, position: Position) -> None:
        self.begin = int(position["frame"])

    def __iter__(self) -> Iterator[Sample]:
        for i in range(self.begin, len(self.scores)):
            position: Position | None = None if self.live else {"frame": i + 1}
            yield Sample(np.full((1, 1), self.scores[i]), f"{i}", TS + timedelta(seconds=i), position)

    def close(self) -> None:
        pass


class KilledError(Exception):
    """The process ends here."""


def brightness(sample: Sample) -> Scored:
    return Scored(float(sample.data.flat[0]), None, 1)


class Device:
    """What outlives a run: the outbox's file and the receiver."""

    def __init__(self, folder: Path, config: DecisionConfig, origin: str = "bundle and source") -> None:
        self.path = folder / "o.db"
        self.config = config
        self.origin = origin
        self.received: list[Record] = []
        self.boots = 0

    def run(self, source: Scores, kill_at: int | None = None, threshold: float = 1.0) -> bool:
        """kill_at: frames of this run after which everything that is not committed is gone. Whether it was killed."""
        sink = Kept()
        outbox = Outbox(self.path, [sink.name], Limits(commit_delay_s=0.0, lazy_delay_s=0.0))
        reporting = Reporting(outbox, [sink], drain_s=5)
        self.boots += 1
        writer = EventWriter("s", threshold=threshold, bundle=BUNDLE, boot_id=f"boot{self.boots}")
        decision = Decision(threshold, self.config)
        judge = Judge(decision, writer, outbox, reporting.note, origin=self.origin, live=source.live)
        position = judge.restore(outbox.state("s"))
        if position is not None:
            source.resume(position)
        frames = 0

        def count(result: Any) -> None:
            nonlocal frames
            frames += 1
            if kill_at == frames:
                judge.end_open_event = lambda: None  # type: ignore[method-assign]  # what a killed process does not do
                raise KilledError

        reporting.start(DeviceInfo("n", "1", ()))
        stream = Stream("s", source, OneStage(brightness), judge, on_result=count)
        killed = False
        try:
            stream.run()
            judge.forget()
        except KilledError:
            killed = True
        reporting.close()
        outbox.close()
        self.received += sink.records
        return killed

    @property
    def story(self) -> list[tuple[str, str, float, str]]:
        """Of each record: kind, event (numbered as they came), score and sample."""
        events = [record for record in self.received if isinstance(record, Event)]
        ids = list(dict.fromkeys(event.event_id for event in events))
        return [(e.kind, str(ids.index(e.event_id)), e.score, e.sample) for e in events]


@settings(max_examples=25, deadline=None)
@given(
    scores=st.lists(st.sampled_from([0.0, 0.9, 1.1, 2.0, 3.0]), min_size=5, max_size=40),
    kills=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    config=st.sampled_from([DecisionConfig(), DecisionConfig(2, 3, 2, 0.9, 4), DecisionConfig(release=3)]),
)
def test_a_replay_cut_anywhere_tells_the_same_story(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float], kills: list[int], config: DecisionConfig
) -> None:
    whole = Device(tmp_path_factory.mktemp("whole"), config)
    whole.run(Scores(scores))
    cut = Device(tmp_path_factory.mktemp("cut"), config)
    for kill in kills:
        if not cut.run(Scores(scores), kill_at=kill):
            break
    else:
        cut.run(Scores(scores))
    assert cut.story == whole.story
    assert [record.seq for record in cut.received] == list(range(1, len(cut.received) + 1))


def test_an_event_of_a_live_stream_goes_on_over_a_restart_under_its_id(tmp_path: Path) -> None:
    device = Device(tmp_path, DecisionConfig(release=2))
    device.run(Scores([0, 2.0, 1.5], live=True), kill_at=3)
    device.run(Scores([3.0, 0, 0, 0], live=True))
    assert device.story == [
        ("new", "0", 2.0, "1"), ("update", "0", 3.0, "0"), ("end", "0", 3.0, "0"),
    ]  # fmt: skip
    assert {record.boot_id for record in device.received if isinstance(record, Event)} == {"boot1", "boot2"}


def test_an_event_that_another_bundle_left_open_is_ended(tmp_path: Path) -> None:
    device = Device(tmp_path, DecisionConfig(release=2))
    device.run(Scores([0, 2.0, 1.5], live=True), kill_at=3)
    device.origin = "another bundle"
    device.run(Scores([0, 5.0, 0, 0, 0], live=True))
    assert device.story == [
        ("new", "0", 2.0, "1"), ("end", "0", 2.0, "1"), ("new", "1", 5.0, "1"), ("end", "1", 5.0, "1"),
    ]  # fmt: skip


def test_frames_from_before_a_restart_do_not_count_towards_k_of_n(tmp_path: Path) -> None:
    device = Device(tmp_path, DecisionConfig(k=2, n=2))
    device.run(Scores([0, 2.0], live=True), kill_at=2)
    device.run(Scores([2.0, 0], live=True))
    assert device.story == []


def test_a_replay_that_came_to_its_end_begins_anew(tmp_path: Path) -> None:
    device = Device(tmp_path, DecisionConfig())
    device.run(Scores([0, 2.0, 0]))
    device.run(Scores([0, 2.0, 0]))
    assert [kind for kind, *_ in device.story] == ["new", "end"] * 2


def test_pausing_holds_a_replay_and_goes_on_where_it_was() -> None:
    sink = Kept()
    outbox = Outbox(None, [sink.name])
    reporting = Reporting(outbox, [sink])
    reporting.start(DeviceInfo("n", "1", ()))
    writer = EventWriter("s", threshold=1.0, bundle=BUNDLE)
    judge = Judge(Decision(1.0), writer, outbox, reporting.note, origin="", live=False)
    paused = threading.Event()

    def pause_at_2(result: Any) -> None:
        if result.sample.name == "2":
            stream.pause()
            paused.set()

    stream = Stream("s", Scores([0, 0, 0, 2.0, 0]), OneStage(brightness), judge, on_result=pause_at_2)
    thread = threading.Thread(target=stream.run)
    thread.start()
    assert paused.wait(30) and stream.paused
    thread.join(0.1)
    assert judge.counts.frames == 3
    stream.resume()
    thread.join(30)
    reporting.close()
    assert judge.counts.frames == 5 and [event.kind for event in sink.events] == ["new", "end"]
