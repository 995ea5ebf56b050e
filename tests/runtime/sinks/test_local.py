"""Events on standard output, in files and on serial lines; and the URLs that choose a sink."""

from __future__ import annotations

import errno
import gzip
import os
import pty
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_ad.errors import SinkError
from edge_ad.firmware_bridge.frames import Decoder, Frame, FrameType, encode
from edge_ad.runtime.events import Event, parse_event
from edge_ad.runtime.sinks import open_sink, open_sinks
from edge_ad.runtime.sinks.serial_line import SerialOptions, SerialSink

MakeEvent = Callable[..., Event]


def test_standard_output_gets_one_line_an_event(
    make_event: MakeEvent, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = open_sink("stdout", node="n")
    sink.send(make_event(1))
    sink.send(make_event(2))
    sink.close()
    assert [parse_event(line) for line in capsys.readouterr().out.splitlines()] == [
        make_event(1),
        make_event(2),
    ]


def test_a_reader_of_standard_output_that_goes_away_is_an_error_and_no_traceback() -> None:
    program = """
from edge_ad.errors import SinkError
from edge_ad.runtime.sinks.lines import StdoutSink
class Line:
    seq = 1
    def to_json(self): return "x" * 10_000
import sys, time
sys.stdin.read()
sink = StdoutSink()
for _ in range(2):
    try:
        sink.send(Line())
    except SinkError as error:
        print(error, file=sys.stderr)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None
    _, err = child.communicate(b"go", timeout=60)
    assert child.returncode == 0
    assert err.decode().splitlines() == ["stdout: nobody reads standard output any more"] * 2


def test_a_file_is_appended_to_and_every_line_is_there_at_once(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "events.jsonl"
    for seq in (1, 2):
        sink = open_sink(f"jsonl:{path}", node="n")
        sink.send(make_event(seq))
        assert len(path.read_text().splitlines()) == seq
        sink.close()
    assert [parse_event(line).seq for line in path.read_text().splitlines()] == [1, 2]


def test_a_line_torn_by_a_power_cut_spoils_no_other(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(make_event(1).to_json() + "\n" + make_event(2).to_json()[:50])
    sink = open_sink(f"jsonl:{path}", node="n")
    sink.send(make_event(3))
    sink.close()
    lines = path.read_text().splitlines()
    assert len(lines) == 3 and parse_event(lines[0]).seq == 1 and parse_event(lines[2]).seq == 3


def seqs(*paths: Path) -> list[int]:
    """Of the records in files, in the order in which those are given."""
    read = {".gz": lambda path: gzip.decompress(path.read_bytes()).decode()}
    texts = [read.get(path.suffix, lambda path: path.read_text())(path) for path in paths]
    return [parse_event(line).seq for text in texts for line in text.splitlines()]


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_is_rotated_before_it_grows_too_large_and_the_oldest_goes(
    tmp_path: Path, make_event: MakeEvent, compress: bool
) -> None:
    path = tmp_path / "e.jsonl"
    size = len(make_event(1).to_json()) + 1
    options = {"max_mb": 10.5 * size / (1 << 20), "keep": 2, "compress": compress}
    sink = open_sink(f"jsonl:{path}", node="n", options=options)
    for seq in range(10, 45):
        sink.send(make_event(seq, event_id="x", sample="10.png"))
        assert sink.confirmed() == [seq]
    sink.close()
    suffix = ".gz" if compress else ""
    older = [tmp_path / f"e.jsonl.{i}{suffix}" for i in (2, 1)]
    assert sorted(tmp_path.iterdir()) == sorted([path, *older])
    found = seqs(*older, path)
    assert found == list(range(45 - len(found), 45)) and 20 < len(found) < 35
    assert path.stat().st_size < 11 * size


def test_what_was_written_but_not_confirmed_is_not_written_twice(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    path = tmp_path / "e.jsonl"
    first = open_sink(f"jsonl:{path}", node="n")
    for seq in (1, 2, 3):
        first.send(make_event(seq))
    # here the process is killed; the next one is given what was not confirmed again
    second = open_sink(f"jsonl:{path}", node="n")
    second.connect()
    for seq in (2, 3, 4):
        second.send(make_event(seq, historical=True))
    assert second.confirmed() == [2, 3, 4]
    second.send(make_event(5))
    second.close()
    assert seqs(path) == [1, 2, 3, 4, 5]


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path, make_event: MakeEvent) -> None:
    path = tmp_path / "e.jsonl"
    sink = open_sink(f"jsonl:{path}", node="n")
    sink.send(make_event(1))
    path.rename(tmp_path / "moved")
    sink.send(make_event(2))
    sink.close()
    assert seqs(tmp_path / "moved") == [1] and seqs(path) == [2]


def test_a_full_disk_leaves_no_half_line(
    tmp_path: Path, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    sink = open_sink(f"jsonl:{path}", node="n")
    sink.send(make_event(1))
    write, free = os.write, 100

    def nearly_full(fd: int, data: bytes) -> int:
        nonlocal free
        if free == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = write(fd, data[:free])
        free -= taken
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", nearly_full)
        with pytest.raises(SinkError, match="No space left on device"):
            sink.send(make_event(2))
    sink.send(make_event(2))
    sink.close()
    assert [parse_event(line).seq for line in path.read_text().splitlines()] == [1, 2]


def test_a_file_in_a_missing_folder_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"cannot be opened .*; create the folder first: mkdir -p .*/no"):
        open_sink(f"jsonl:{tmp_path}/no/events.jsonl", node="n")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A serial line: the descriptor of its far end, and a device file that can be pointed at another one."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    device = tmp_path / "ttyUSB0"
    device.symlink_to(os.ttyname(theirs))
    yield ours, device
    for descriptor in (ours, theirs):
        with suppress(OSError):
            os.close(descriptor)


def received(far_end: int, end: bytes, records: int = 1) -> bytes:
    """What came along the line, up to the end of so many records; a terminal hands it over in pieces."""
    data = b""
    while len([piece for piece in data.split(end) if piece]) < records or not data.endswith(end):
        data += os.read(far_end, 65536)
    return data


def test_a_serial_line_carries_json_lines(line: tuple[int, Path], make_event: MakeEvent) -> None:
    far_end, device = line
    sink = open_sink(f"serial:{device}?baud=9600", node="n")
    sink.connect()
    sink.send(make_event(1))
    sink.send(make_event(2))
    records = [text for text in received(far_end, b"\n", 2).split(b"\n") if text]
    sink.close()
    assert [parse_event(text) for text in records] == [make_event(1), make_event(2)]


def test_link_frames_get_through_a_line_that_corrupts_and_loses_bytes(
    line: tuple[int, Path], make_event: MakeEvent
) -> None:
    far_end, device = line
    sink = open_sink(f"serial:{device}?format=link&baud=115200", node="n")
    sink.connect()
    came = bytearray(b"U-Boot 2021.04\r\n")  # what a receiver may have in its buffer already
    for seq in range(1, 9):
        sink.send(make_event(seq))
        data = bytearray(received(far_end, b"\x00"))
        if seq == 3:
            data[40] ^= 0x10
        if seq == 5:
            del data[60:75]
        if seq == 7:
            data[50:50] = b"\x00noise"
        came += data
    sink.close()
    decoder = Decoder()
    frames = [frame for i in range(0, len(came), 7) for frame in decoder.feed(came[i : i + 7])]
    assert [parse_event(frame.payload).seq for frame in frames] == [1, 2, 4, 6, 8]
    assert [frame.seq for frame in frames] == [1, 2, 4, 6, 8] and {f.type for f in frames} == {
        FrameType.EVENT
    }
    assert (
        sum(decoder.rejected.values()) == 1 + 1 + 1 + 2
    )  # the banner; bytes changed, lost; a frame cut in two


def test_a_serial_line_works_again_after_its_plug_was_out(
    line: tuple[int, Path], make_event: MakeEvent
) -> None:
    far_end, device = line
    sink = open_sink(f"serial:{device}", node="n")
    sink.connect()
    sink.send(make_event(1))
    os.close(far_end)
    with pytest.raises(SinkError, match="cannot be written"):
        sink.send(make_event(2))
    device.unlink()
    with pytest.raises(SinkError, match="there is no such serial port"):
        sink.connect()
    far_end, theirs = pty.openpty()
    tty.setraw(theirs)
    device.symlink_to(os.ttyname(theirs))
    sink.connect()
    sink.send(make_event(2))
    assert parse_event(received(far_end, b"\n").strip()) == make_event(2)
    sink.close()
    os.close(far_end)
    os.close(theirs)


def test_with_ack_an_event_is_confirmed_by_the_other_side(
    line: tuple[int, Path], make_event: MakeEvent
) -> None:
    far_end, device = line
    sink = open_sink(f"serial:{device}?format=link&ack=true", node="n")
    woken = threading.Event()
    sink.wake = woken.set
    sink.connect()
    sink.send(make_event(7))
    (frame,) = Decoder().feed(received(far_end, b"\x00"))
    assert parse_event(frame.payload).seq == 7 and sink.confirmed() == [] and sink.window == 1
    os.write(far_end, b"noise\x00" + encode(Frame(FrameType.EVENT_ACK, 1, (7).to_bytes(4, "little"))))
    assert woken.wait(30) and sink.confirmed() == [7]
    sink.close()


def test_a_receiver_that_does_not_read_is_an_error_and_no_endless_wait(
    line: tuple[int, Path], make_event: MakeEvent
) -> None:
    sink = SerialSink(str(line[1]), SerialOptions(write_timeout_s=0.3))
    sink.connect()
    with pytest.raises(SinkError, match="timeout"):
        for seq in range(1, 1000):
            sink.send(make_event(seq))
    sink.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("kafka://host", r"unknown kind of sink 'kafka'; try stdout, jsonl:PATH"),
        ("jsonl:", "names no file"),
        ("jsonl:x?max=1", "option 'max': unknown; known: max_mb, keep, compress"),
        ("serial:/dev/ttyS0?baud=fast", "option 'baud'"),
        ("serial:/dev/ttyS0?format=xml", "option 'format'"),
        ("serial:/dev/ttyS0?ack=true", "'ack' needs format=link"),
        ("webhook+ftp://host", "unknown kind of sink"),
        ("webhook+https://u:secret@host/x", "no address for a webhook"),
        ("mqtt://", "is no MQTT address"),
        ("mqtt://host:port", "is no MQTT address"),
        ("mqtt://host?qos=2", "option 'qos': unknown"),
        ("mqtt://host?ca=x", "certificates need mqtts"),
        ("mqtts://host?ca=/no/such/file", "certificates cannot be loaded"),
        ("mqtt://u@host?password_file=/no/such", "password cannot be read"),
        ("mqtt://u:secret@host/a/b", "mqtt://host/a/b: the node name 'a/b' does not fit"),
        ("mqtt://host/%23", "does not fit"),
    ],
)
def test_a_url_that_is_wrong_says_what_is_right(url: str, message: str) -> None:
    with pytest.raises(SinkError, match=message) as caught:
        open_sink(url, node="n")
    assert "secret" not in str(caught.value)


def test_sinks_are_opened_all_or_none(line: tuple[int, Path]) -> None:
    with pytest.raises(SinkError, match="nope"):
        open_sinks([f"serial:{line[1]}", "nope:x"], node="n")
    sinks = open_sinks([f"serial:{line[1]}", "stdout"], node="n")  # the port was given back
    assert [sink.name for sink in sinks] == [f"serial:{line[1]}", "stdout"]
    for sink in sinks:
        sink.close()
