"""Rows in frames of the link: whatever the line does, only rows that were sent come out, in order, gaps told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link_streams import frame, numbered_rows
from row_sources import Reading, Terminal, sensing_board, series_input, terminal, vector_input

from edge_ad.errors import SourceError
from edge_ad.firmware_bridge.client import open_client
from edge_ad.firmware_bridge.frames import Frame, FrameType, encode
from edge_ad.firmware_bridge.samples import encode_samples
from edge_ad.runtime.sources.rows import LiveRows, open_rows
from edge_ad.runtime.sources.rows.clock import BLOCK_S, RowClock
from edge_ad.runtime.sources.rows.link import LinkRows

__all__ = ["terminal"]

STALL_S = 30.0


def listening(terminal: Terminal, *, stall_s: float = STALL_S, **window: int) -> Reading:
    url = f"link:{terminal.path}?ask=false"
    return Reading(open_rows(url, series_input(**window), stall_s=stall_s))


def firsts(reader: Reading) -> list[list[int]]:
    return [s.data[:, 0].astype(int).tolist() for s in reader.samples]


def test_a_device_that_just_sends_is_listened_to(terminal: Terminal) -> None:
    reader = listening(terminal)
    terminal.write(b"half a frame\0" + frame(100, 4) + frame(104, 2))
    reader.wait_for(2).close()
    assert firsts(reader) == [[100, 101, 102, 103], [102, 103, 104, 105]]
    np.testing.assert_array_equal(reader.samples[0].data, numbered_rows(100, 4))
    assert not any(s.gap for s in reader.samples) and reader.source.unreadable == 0
    assert reader.names == ["row#3", "row#5"] and reader.source.live
    step = reader.samples[1].ts - reader.samples[0].ts
    assert step.total_seconds() == pytest.approx(0.2, abs=1e-3)  # two rows at 10 Hz, however they came


def test_integers_are_read_as_they_are(terminal: Terminal) -> None:
    reader = Reading(open_rows(f"link:{terminal.path}?ask=false", vector_input(3), stall_s=STALL_S))
    rows = np.array([[1, -2, 32767], [4, 5, -32768]], np.int16)
    terminal.write(encode(Frame(FrameType.SAMPLES, 0, encode_samples(0, rows))))
    reader.wait_for(2).close()
    assert [s.data.tolist() for s in reader.samples] == rows.tolist()


def test_rows_that_are_missing_leave_a_gap_and_repeated_ones_are_dropped(terminal: Terminal) -> None:
    reader = listening(terminal)
    terminal.write(frame(0, 3) + frame(0, 3) + frame(3, 3) + frame(3, 3) + frame(8, 4))
    reader.wait_for(3).close()
    assert firsts(reader) == [[0, 1, 2, 3], [2, 3, 4, 5], [8, 9, 10, 11]]
    assert [s.gap for s in reader.samples] == [False, False, True] and reader.source.unreadable == 1


def test_a_damaged_frame_leaves_a_gap(terminal: Terminal) -> None:
    reader = listening(terminal)
    damaged = bytearray(frame(4, 4))
    damaged[20] ^= 1
    terminal.write(frame(0, 4) + bytes(damaged) + frame(8, 4))
    reader.wait_for(2).close()
    assert firsts(reader) == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert reader.samples[1].gap and reader.source.unreadable == 1


def test_the_number_of_rows_wraps_around(terminal: Terminal) -> None:
    reader = listening(terminal)
    last = (1 << 32) - 3
    terminal.write(b"".join(frame(i, 2, offset=last) for i in (0, 2, 4, 6)))
    reader.wait_for(3).close()
    assert firsts(reader) == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]] and not reader.samples[2].gap


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (frame(50, 4) + frame(0, 4), "the number of its rows goes back from 54 to 0; the device started anew"),
        (frame(0, 4) + encode(Frame(0x42, 0, b"")), "the board restarted"),
        (encode(Frame(0x43, 0, encode_samples(0, np.zeros((1, 3), np.int16)))), "sends 3 channels, the bundle takes 2"),
        (encode(Frame(0x43, 0, b"abc")), "sends rows in no form that this version knows"),
        (encode(Frame(0x43, 0, bytes([0, 0, 0, 0, 2, 7, 1, 2]))), "sends rows in no form"),
        (encode(Frame(0x43, 0, bytes([0, 0, 0, 0, 2, 1, 1, 2]))), "sends rows in no form"),
    ],
)  # fmt: skip
def test_a_device_that_is_another_or_started_anew_ends_the_attempt(
    terminal: Terminal, sent: bytes, message: str
) -> None:
    reader = listening(terminal)
    terminal.write(sent)
    assert isinstance(reader.wait().error, SourceError) and message in str(reader.error)
    assert terminal.path in str(reader.error)


def test_silence_and_a_pulled_plug_are_errors(terminal: Terminal) -> None:
    reader = listening(terminal, stall_s=0.2).wait()
    assert "no rows for 0.2 s; check the device, its cable and the baud rate" in str(reader.error)
    reader = listening(terminal)
    terminal.unplug()
    assert "the line was cut" in str(reader.wait().error)


def test_noise_and_other_frames_are_no_life(terminal: Terminal) -> None:
    reader = listening(terminal, stall_s=0.5)
    terminal.write(b"noise\0" + encode(Frame(FrameType.EVENT, 1, b"{}")))
    assert "no rows for 0.5 s" in str(reader.wait().error)


def test_a_device_that_does_not_answer_is_named(terminal: Terminal) -> None:
    with pytest.raises(SourceError, match=r"does not answer within 0.5 s .*\?ask=false"):
        open_rows(f"link:{terminal.path}", series_input(), stall_s=0.5)
    Reading(open_rows(f"link:{terminal.path}?ask=false", series_input(), stall_s=STALL_S)).close()


class Script:
    """Bytes as a port would give them, in pieces."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.pieces: Iterator[bytes] = self._cut(data, sizes)

    @staticmethod
    def _cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
        for size in [*sizes, max(len(data), 1)]:
            if data[:size]:
                yield data[:size]
            data = data[size:]

    def read(self, timeout_s: float) -> bytes | None:
        return next(self.pieces, None)

    def close(self) -> None:
        pass


FAULT = st.tuples(
    st.sampled_from(["flip", "lose", "insert", "twice"]), st.integers(0, 4000), st.integers(0, 255)
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
    st.lists(FAULT, max_size=8),
    st.lists(st.integers(1, 99)),
)
def test_whatever_a_line_loses_and_flips_only_rows_that_were_sent_come_in_order(
    counts: list[int], faults: list[tuple[str, int, int]], sizes: list[int]
) -> None:
    frames, first = [], 0
    for n in counts:
        frames.append(frame(first, n))
        first += n
    for kind, at, _ in faults:
        if kind == "twice":
            at %= len(frames)
            frames[at] += frames[at].rpartition(b"\0")[0].rpartition(b"\0")[2] + b"\0"
    line = bytearray(b"".join(frames))
    for kind, at, value in faults:
        at %= len(line)
        if kind == "flip":
            line[at] ^= value
        elif kind == "lose":
            del line[at : at + 1 + value % 40]
        elif kind == "insert":
            line[at:at] = bytes([value])
        line = line or bytearray(b"\0")
    feed = LinkRows(Script(bytes(line), sizes), 2, None, where="x", stall_s=9)  # type: ignore[arg-type]
    source = LiveRows("x", feed, series_input(length=3, hop=1, rate_hz=None).window, live=True)
    samples = []
    try:
        samples += source
    except SourceError as error:
        assert "before it gave a window" in str(error)
    newest = -1
    for sample in samples:
        numbers = sample.data[:, 0].astype(int).tolist()
        assert numbers == list(range(numbers[0], numbers[0] + 3))
        np.testing.assert_array_equal(sample.data, numbered_rows(numbers[0], 3))
        assert numbers[-1] > newest
        assert sample.gap or newest == -1 or numbers[-1] == newest + 1
        newest = numbers[-1]
    assert all(s.data[0, 0] >= 0 and s.data[-1, 0] < first for s in samples)
    if not faults:
        assert len(samples) == max(0, first - 2)


# With the board


def test_a_board_is_asked_and_every_row_of_its_sensor_comes(tmp_path: Path) -> None:
    rows = numbered_rows(0, 500)
    with sensing_board(tmp_path, rows, "--once") as board:
        source = open_rows(f"link:{board.url}", series_input(length=4, hop=4), stall_s=STALL_S)
        reader = Reading(source).wait_for(125).close()
        assert reader.error is None and source.unreadable == 0
        np.testing.assert_array_equal(np.concatenate([s.data for s in reader.samples]), rows)
        assert not any(s.gap for s in reader.samples)
        gone = [b.ts - a.ts for a, b in zip(reader.samples, reader.samples[1:], strict=False)]
        assert [d.total_seconds() for d in gone] == pytest.approx([0.4] * 124, abs=1e-5)


def test_a_board_that_was_left_is_asked_again_and_begins_anew(tmp_path: Path) -> None:
    rows = numbered_rows(0, 40)
    with sensing_board(tmp_path, rows, "--rate", "200") as board:
        for _ in range(3):
            source = open_rows(f"link:{board.url}", series_input(rate_hz=200.0), stall_s=STALL_S)
            reader = Reading(source).wait_for(30).close()
            assert reader.error is None and firsts(reader)[0] == [0, 1, 2, 3]
            assert not any(s.gap for s in reader.samples)
            numbers = np.concatenate([s.data[-2:, 0] for s in reader.samples]).astype(int)
            assert ((numbers[1:] - numbers[:-1]) % 40 == 1).all()  # the file again and again


def test_a_board_that_is_left_is_told_to_stop(tmp_path: Path) -> None:
    seen: list[Frame] = []
    with sensing_board(tmp_path, numbered_rows(0, 40)) as board:  # as fast as it can
        Reading(open_rows(f"link:{board.url}", series_input(), stall_s=STALL_S)).wait_for(100).close()
        with open_client(board.url, unasked=seen.append) as client:
            client.hello()
            seen.clear()
            for _ in range(20):
                client.status()
            assert seen == []
            client.start_samples()
            client.status()
            assert {f.type for f in seen} == {FrameType.SAMPLES}


def test_a_board_that_restarts_ends_the_attempt(tmp_path: Path) -> None:
    with sensing_board(tmp_path, numbered_rows(0, 40), "--rate", "200") as board:
        source = open_rows(f"link:{board.url}", series_input(rate_hz=200.0), stall_s=STALL_S)
        reader = Reading(source).wait_for(1)
        board.restart()
        assert isinstance(reader.wait().error, SourceError)
        again = open_rows(f"link:{board.url}", series_input(rate_hz=200.0), stall_s=STALL_S)
        assert firsts(Reading(again).wait_for(1).close())[0] == [0, 1, 2, 3]


def test_a_board_with_other_sensors_or_another_rate_is_refused(tmp_path: Path) -> None:
    with sensing_board(tmp_path, numbered_rows(0, 40), "--rate", "50") as board:
        with pytest.raises(
            SourceError, match="measures 50 rows a second, the detector was fitted at 10; set"
        ):
            open_rows(f"link:{board.url}", series_input(rate_hz=10.0), stall_s=STALL_S)
        with pytest.raises(SourceError, match="sends 2 channels, the bundle takes 3"):
            open_rows(f"link:{board.url}", series_input("a", "b", "c", rate_hz=50.0), stall_s=STALL_S)
        source = open_rows(f"link:{board.url}", series_input(rate_hz=51.0), stall_s=STALL_S)
        Reading(source).wait_for(1).close()


def test_no_file_stays_open(tmp_path: Path) -> None:
    with sensing_board(tmp_path, numbered_rows(0, 40), "--rate", "500") as board:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(3):
            source = open_rows(f"link:{board.url}", series_input(rate_hz=500.0), stall_s=STALL_S)
            Reading(source).wait_for(1).close()
        with pytest.raises(SourceError):
            open_rows(f"link:{board.url}", series_input(rate_hz=1.0), stall_s=STALL_S)
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# The clock of rows without one


class Hours:
    """Rows at `rate`, a few at a time over simulated hours; `late(t)` is how late they come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, declared: float, **options: bool) -> None:
        self.now = 0.0
        self.clock = RowClock(declared, where="sensor", **options)
        monkeypatch.setattr("edge_ad.runtime.sources.rows.clock.time.monotonic", lambda: self.now)

    def run(
        self, seconds: float, rate: float, *, jump: float = 0.0, late: float = 0.0
    ) -> tuple[float, float]:
        """Largest distance of a stamp from when its row was measured, and largest relative error of an interval."""
        rng, off, uneven, last = np.random.default_rng(0), 0.0, 0.0, None
        end = self.now + seconds
        while self.now < end:
            self.now += 10 / rate
            arrival = 1e9 + self.now + jump + late * rng.random()
            stamps = self.clock.stamps(0, 10, arrival)
            off = max(off, abs(stamps[-1] - 1e9 - self.now - jump))
            steps = np.diff(stamps if last is None else np.concatenate([[last], stamps]))
            uneven = max(uneven, float(abs(steps * rate - 1).max()))
            last = stamps[-1]
        return off, uneven


def test_stamps_follow_a_device_whose_clock_is_a_little_off(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(monkeypatch, 100.0)
    off, uneven = hours.run(3 * 3600, 100.0 * (1 + 500e-6), late=0.05)
    assert off < 0.1 and uneven < 0.01  # 5 s without


def test_another_rate_is_refused_by_when_rows_come(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="sensor: sends 80 rows a second, the detector was fitted at 100"):
        Hours(monkeypatch, 100.0).run(4 * BLOCK_S, 80.0)
    Hours(monkeypatch, 100.0, paced=False).run(4 * BLOCK_S, 5000.0)


def test_a_machine_whose_clock_was_set_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(monkeypatch, 100.0)
    hours.run(60, 100.0)
    with pytest.raises(SourceError, match=r"its rows and the clock of this machine are 3.6e\+03 s apart"):
        hours.run(60, 100.0, jump=3600.0)
