"""A board that watches by itself: events instead of data on its line, a threshold that stays, nothing lost unsaid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board
from judged_images import HOP, IDENTITY, ROWS, frame_image, rows_of, stream_image

from edge_ad.errors import BoardError, UsageError
from edge_ad.firmware_bridge import watching
from edge_ad.firmware_bridge.boards import emulated
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.emulator import PARTS, state_folder
from edge_ad.firmware_bridge.flasher import flash_image
from edge_ad.firmware_bridge.frames import Frame, FrameType, event_ack_payload
from edge_ad.firmware_bridge.monitor import Monitor
from edge_ad.firmware_bridge.parts import Parts, keep_parts
from edge_ad.firmware_bridge.watching import Rules
from edge_ad.runtime.decision import Decision, DecisionConfig
from edge_ad.runtime.events import Event, parse_event

DIGEST = "5d" * 32
TS = '"ts":"2026-11-25T00:00:00Z",'
STREAM = Monitor(100, 100, 100, 50, 5000, 0.25, IDENTITY)
FRAMES = replace(STREAM, stream=None)


class Line:
    """A board, and what it has said unasked."""

    def __init__(self, board: str, state: Path):
        self.said: list[Frame] = []
        self.connection = Connection(BoardAddress(board=board, state=state), unasked=self.said.append)
        self.client = self.connection.client
        self.rows = 0

    def feed(self, scores: list[int]) -> None:
        rows = rows_of(scores, before=0 if self.rows else ROWS - HOP)
        watching.feed(self.client, self.rows, rows)
        self.rows += len(rows)

    def frame(self, score: int) -> None:
        self.client.set_input(0, np.array([score], "<i4").tobytes())
        self.client.run()

    def events(self, *, acknowledge: bool = True, wait_s: float = 0.3) -> list[Event]:
        """What it says within a while, each once, with a time that it does not have."""
        found: dict[int, Event] = {}
        while True:
            self.client.listen(wait_s)
            new = [f for f in self.said if f.type == FrameType.EVENT]
            self.said.clear()
            for frame in new:
                event = parse_event(frame.payload.decode().replace("{", "{" + TS, 1))
                assert json.loads(frame.payload) == {
                    k: v for k, v in json.loads(event.to_json()).items() if k != "ts"
                }
                found[event.seq] = event
                if acknowledge:
                    self.client.tell(Frame(FrameType.EVENT_ACK, 0, event_ack_payload(event.seq)))
            if not new:
                return [found[seq] for seq in sorted(found)]


@contextmanager
def line(board: str, state: Path) -> Iterator[Line]:
    opened = Line(board, state)
    try:
        yield opened
    finally:
        opened.connection.close()


def flashed(board: Line, monitor: Monitor) -> None:
    make = frame_image if monitor.stream is None else stream_image
    flash_image(board.client, make(emulated(str(board.connection.address)).kernels, monitor).content)


@pytest.mark.parametrize("lean", [False, True], ids=["full", "lean"])
@pytest.mark.parametrize("name", ["posix", "qemu:mps2-an386", "qemu:mps3-an547"])
def test_rows_in_events_out_as_the_runtime_would_tell_them(name: str, lean: bool, tmp_path: Path) -> None:
    if lean:
        folder = state_folder(emulated(name), tmp_path)
        folder.mkdir()
        keep_parts(Parts(frozenset({"copy"})), folder / PARTS)
    rules = DecisionConfig(k=2, n=3, release=2, hysteresis=0.5, update_interval=3, min_frames=2, cooldown=2)
    scores = [0, 101, 7, 300, 250, 99, 420, 8000, 0, 60, 51, 50, 49, 300, 300, 300, 1, 400, 500, 0, 0]
    with line(require_board(name), tmp_path) as board:
        flashed(board, STREAM)
        told = Rules(**{f: getattr(rules, f) for f in Rules.__dataclass_fields__})
        assert watching.start(board.client, told, stream="pump", digest=DIGEST) == 100
        board.feed(scores)
        events = board.events()
        own = Decision(100, rules)
        expected = [(i, change) for i, score in enumerate(scores) for change in own.step(score)]
        assert [(e.kind, e.verdict, e.event_id.rsplit("-", 1)[1]) for e in events] == [
            (c.kind, c.verdict, str(c.number)) for _, c in expected
        ]
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        assert {(e.stream, e.threshold, e.bundle) for e in events} == {("pump", 25.0, DIGEST)}
        assert (
            events[0].score == 75.0 and events[0].sample == f"row {ROWS - 1 + 3 * HOP}"
        )  # 300 units, the fourth frame
        assert max(e.score for e in events) == 2000.0
        counts = watching.statistics(board.client)
        assert (counts.frames, counts.anomalous, counts.last_score) == (
            len(scores), sum(score > 100 for score in scores), 0)  # fmt: skip
        assert counts.watching and not counts.open and counts.waiting == counts.lost == 0


def test_frames_over_the_link_are_judged_as_they_run(tmp_path: Path) -> None:
    with line(require_board("posix"), tmp_path) as board:
        flashed(board, FRAMES)
        watching.start(board.client, Rules(release=0), stream="press", digest=DIGEST)
        for score in (3, 200, 90, -5, 1000):
            board.frame(score)
        events = board.events()
        assert [(e.kind, e.score, e.sample) for e in events] == [
            ("new", 50.0, "frame 1"), ("end", 50.0, "frame 1"), ("new", 250.0, "frame 4"), ("end", 250.0, "frame 4"),
        ]  # fmt: skip
        with pytest.raises(BoardError, match="does not judge"):
            watching.feed(board.client, 0, rows_of([1]))


def test_a_band_is_carried_and_another_threshold_is_without_one(tmp_path: Path) -> None:
    with line(require_board("posix"), tmp_path) as board:
        flashed(board, replace(FRAMES, lower=80, upper=120))
        watching.start(board.client, Rules(release=1), stream="press", digest=DIGEST)
        for score in (90, 200, 0):
            board.frame(score)
        first = board.events()
        assert [(e.kind, e.verdict, e.band) for e in first] == [
            ("new", "uncertain", (20.0, 30.0)),
            ("update", "anomalous", (20.0, 30.0)),
            ("end", "anomalous", (20.0, 30.0)),
        ]  # fmt: skip
        assert watching.set_threshold(board.client, 85) == 85
        for score in (90, 0):
            board.frame(score)
        assert [(e.verdict, e.threshold, e.band) for e in board.events()] == [("anomalous", 21.25, None)] * 2


def test_a_threshold_is_held_to_its_range_and_stays_over_restart_and_power_cut(tmp_path: Path) -> None:
    with line(require_board("posix"), tmp_path) as board:
        flashed(board, FRAMES)
        watching.start(board.client, Rules(), stream="press", digest=DIGEST)
        with pytest.raises(UsageError, match="50 to 5000"):
            watching.set_threshold(board.client, 49)
        assert watching.set_threshold(board.client, 400) == 400
        board.client.reboot()
        assert watching.statistics(board.client).threshold == 400
    with line("posix", tmp_path) as board:  # the process was killed: a power cut
        board.frame(300)
        board.frame(401)
        events = board.events()
        assert [(e.score, e.threshold) for e in events] == [(100.25, 100.0)]
        assert watching.set_threshold(board.client, None) == 100
        board.client.reboot()
        assert watching.statistics(board.client).threshold == 100


def test_it_watches_on_after_a_restart_and_no_two_starts_have_the_same_events(tmp_path: Path) -> None:
    seen = set()
    with line(require_board("posix"), tmp_path) as board:
        flashed(board, FRAMES)
        watching.start(board.client, Rules(), stream="press", digest=DIGEST)
        for _ in range(3):
            board.frame(200)
            (event,) = board.events()
            assert event.event_id not in seen and event.boot_id not in seen
            seen |= {event.event_id, event.boot_id}
            board.client.reboot()
            assert watching.statistics(board.client).watching
        watching.stop(board.client)
        board.frame(200)
        assert board.events() == []
        board.client.reboot()
        assert not watching.statistics(board.client).watching
        with pytest.raises(BoardError, match="does not watch"):
            watching.stop(board.client)


def test_an_event_is_said_again_until_somebody_has_taken_it(tmp_path: Path) -> None:
    with line(require_board("posix"), tmp_path) as board:
        flashed(board, FRAMES)
        watching.start(board.client, Rules(release=0), stream="press", digest=DIGEST)
        board.frame(200)
        (unheard,) = board.events(acknowledge=False)
        assert unheard.kind == "new" and not unheard.historical
        board.client.listen(1.5)
        again = [json.loads(frame.payload) for frame in board.said]
        assert {(e["event_id"], e["seq"], e["historical"]) for e in again} == {
            (unheard.event_id, unheard.seq, True)
        }
        assert [e.kind for e in board.events()] == ["new", "end"]
        assert watching.statistics(board.client).waiting == 0


def test_when_nobody_listens_updates_go_first_and_what_was_lost_is_counted(tmp_path: Path) -> None:
    with line(require_board("posix"), tmp_path) as board:
        flashed(board, FRAMES)
        watching.start(board.client, Rules(release=1, update_interval=1), stream="press", digest=DIGEST)
        for _ in range(2):
            for score in (200, 200, 200, 200, 200, 200, 200, 200, 200, 0):
                board.frame(score)
        counts = watching.statistics(board.client)
        assert (counts.waiting, counts.lost) == (16, 4)
        events = board.events()
        assert [e.kind for e in events if e.kind != "update"] == ["new", "end", "new", "end"]
        assert len(events) == 16 and events[-1].seq == 20


def test_a_gap_begins_a_new_window_and_is_counted(tmp_path: Path) -> None:
    with line(require_board("posix"), tmp_path) as board:
        flashed(board, STREAM)
        watching.start(board.client, Rules(), stream="pump", digest=DIGEST)
        board.feed([1, 2])
        watching.feed(board.client, 100, rows_of([500], before=0))  # two rows: far from a window
        counts = watching.statistics(board.client)
        assert (counts.frames, counts.gaps, counts.missed) == (2, 1, 100 - 8)
        watching.feed(board.client, 102, rows_of([600, 700], before=0))
        assert watching.statistics(board.client).last_score == 700
        # Whatever is written where the window lies is a gap, too.
        board.client.set_input(0, bytes(2 * ROWS))
        assert watching.statistics(board.client).gaps == 2


def test_the_sensor_of_a_board_is_judged_there(tmp_path: Path) -> None:
    from edge_ad.firmware_bridge.build import build_firmware
    from edge_ad.firmware_bridge.client import open_client

    require_board("posix")
    scores = [0, 0, 300, 0, 0, 0, 0, 0]
    (tmp_path / "rows.bin").write_bytes(rows_of(scores).tobytes())
    import subprocess

    process = subprocess.Popen(
        [str(build_firmware(emulated("posix"))), str(tmp_path / "flash"), "--sensor", str(tmp_path / "rows.bin"),
         "--channels", "1", "--format", "int16", "--rate", "2000", "--once"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said: list[Frame] = []
        with open_client(process.stdout.readline().split()[-1], unasked=said.append) as client:
            client.hello()
            flash_image(client, stream_image("plain", STREAM).content)
            watching.start(client, Rules(), stream="pump", digest=DIGEST)
            client.listen(0.5)
            assert next(json.loads(f.payload)["kind"] for f in said if f.type == FrameType.EVENT) == "new"
            counts = watching.statistics(client)
            assert (counts.frames, counts.anomalous) == (len(scores), 1)
            with pytest.raises(BoardError, match="watches by its sensor"):
                client.start_samples()
    finally:
        process.kill()
        process.wait()


def test_settings_outlive_a_full_record_unit_and_the_live_model_does_too(tmp_path: Path) -> None:
    with line(require_board("posix"), tmp_path) as board:
        flashed(board, FRAMES)
        watching.start(board.client, Rules(), stream="press", digest=DIGEST)
        for value in range(100, 190):  # 32 fit into a slot's last unit
            watching.set_threshold(board.client, value)
        before = board.client.hello()
        after = board.client.reboot()
        assert (after.live_crc, after.live_slot) == (before.live_crc, before.live_slot)
        assert watching.statistics(board.client).threshold == 189


def test_a_model_that_does_not_judge_and_a_name_that_cannot_be(tmp_path: Path) -> None:
    from small_networks import dense

    from edge_ad.compile.integer.image import build_image
    from edge_ad.compile.integer.read import parse_tflite

    with line(require_board("posix"), tmp_path) as board:
        with pytest.raises(BoardError, match="no live model"):
            watching.statistics(board.client)
        flash_image(board.client, build_image(parse_tflite(dense((8, 4, 8), 1)), "plain").content)
        with pytest.raises(BoardError, match="does not judge by itself"):
            watching.start(board.client, Rules(), stream="press", digest=DIGEST)
        with pytest.raises(UsageError, match="no stream name"):
            watching.start(board.client, Rules(), stream="a/b", digest=DIGEST)
