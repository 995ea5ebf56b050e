"""Rows on a serial line: noise, half lines and damaged ones are counted, leave a gap, and are never a row."""

from __future__ import annotations

import os
import random
import socket
from functools import reduce
from operator import xor

import pytest
from row_sources import Reading, Terminal, series_input, terminal, wait_until

from edge_ad.errors import SourceError
from edge_ad.runtime.sources.rows import open_rows

__all__ = ["terminal"]

STALL_S = 30.0


def reading(terminal: Terminal, query: str = "", *, stall_s: float = STALL_S, **window: int) -> Reading:
    return Reading(open_rows(f"lines:{terminal.path}{query}", series_input(**window), stall_s=stall_s))


def text(numbers: range) -> bytes:
    return b"".join(b"%d,%d\n" % (i, -i) for i in numbers)


def firsts(reader: Reading) -> list[list[int]]:
    return [s.data[:, 0].astype(int).tolist() for s in reader.samples]


def checked(line: str) -> bytes:
    return f"{line}*{reduce(xor, line.encode(), 0):02X}\r\n".encode()


def test_rows_come_as_windows_from_the_second_line_on(terminal: Terminal) -> None:
    reader = reading(terminal)
    terminal.write(b"7,-7\n" + text(range(4)))  # nobody knows how the first line began
    reader.wait_for(1)
    terminal.write(text(range(4, 6)))
    reader.wait_for(2).close()
    assert reader.source.live and reader.error is None and reader.source.unreadable == 0
    assert firsts(reader) == [[0, 1, 2, 3], [2, 3, 4, 5]] and not any(s.gap for s in reader.samples)


def test_a_first_line_of_names_is_taken(terminal: Terminal) -> None:
    reader = reading(terminal)
    terminal.write(b"time,b,a\n" + b"".join(b"%g,%d,%d\n" % (50 + i / 10, -i, i) for i in range(4)))
    reader.wait_for(1).close()
    assert firsts(reader) == [[0, 1, 2, 3]]
    assert reader.samples[0].ts.timestamp() == pytest.approx(50.3)


def test_half_a_line_of_names_is_not(terminal: Terminal) -> None:
    reader = reading(terminal, length=2, hop=2)
    terminal.write(b"me,a,b\n" + text(range(2)))
    reader.wait_for(1).close()
    assert firsts(reader) == [[0, 1]] and reader.source.unreadable == 0


def test_json_objects_are_read_from_the_first_on(terminal: Terminal) -> None:
    reader = reading(terminal, "?format=ndjson&baud=9600")
    terminal.write(b'"b":9}\n' + b"".join(b'{"a":%d,"b":%d}\n' % (i, -i) for i in range(4)))
    reader.wait_for(1).close()
    assert firsts(reader) == [[0, 1, 2, 3]] and not reader.samples[0].gap


NOISE = [
    b"\x00\xff\xfe\x01", b"1,2,3", b"1", b"a,c", b"1,2x", b"1.0.2,3", b"boot ok", b'{"a":1', b"1_0,2", b"9" * 200_000,
]  # fmt: skip


@pytest.mark.parametrize("noise", NOISE, ids=range(len(NOISE)))
def test_noise_is_counted_and_leaves_a_gap(terminal: Terminal, noise: bytes) -> None:
    reader = reading(terminal)
    terminal.write(b"\n" + text(range(4)))
    reader.wait_for(1)
    terminal.write(noise + b"\n" + text(range(4, 8)))
    reader.wait_for(2).close()
    assert firsts(reader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [s.gap for s in reader.samples] == [False, True] and reader.source.unreadable == 1


def test_names_in_the_middle_are_a_device_that_started_anew(terminal: Terminal) -> None:
    reader = reading(terminal)
    terminal.write(
        b"a,b\n" + text(range(5)) + b"b,a\n" + b"".join(b"%d,%d\n" % (-i, i) for i in range(9, 13))
    )
    reader.wait_for(2).close()
    assert firsts(reader) == [[0, 1, 2, 3], [9, 10, 11, 12]] and reader.samples[1].gap


def test_a_checksum_is_held_where_there_is_one(terminal: Terminal) -> None:
    reader = reading(terminal)
    terminal.write(b"\n" + checked("0,0") + b"$" + checked("1,1") + b"2,2\n3,3*00\n" + text(range(4, 8)))
    reader.wait_for(1).close()
    assert firsts(reader) == [[4, 5, 6, 7]] and reader.source.unreadable == 1


def test_a_checksum_that_is_required_keeps_out_what_lacks_one(terminal: Terminal) -> None:
    reader = reading(terminal, "?checksum=nmea")
    lines = [checked(f"{i},{-i}") for i in range(4)]
    terminal.write(b"\n3,3\n4,4\n" + b"".join(lines))
    reader.wait_for(1).close()
    assert firsts(reader) == [[0, 1, 2, 3]] and reader.source.unreadable == 2


@pytest.mark.parametrize("seed", range(3))
def test_a_line_with_checksums_that_flips_a_bit_of_some_lines_gives_no_false_row(
    terminal: Terminal, seed: int
) -> None:
    rng, damaged = random.Random(seed), 0
    reader = reading(terminal, "?checksum=nmea", length=1, hop=1)
    sent = b"\n"
    for i in range(300):
        line = bytearray(checked(f"{i},{1000 + i}"))
        if rng.random() < 0.2:
            line[rng.randrange(len(line) - 2)] ^= 1 << rng.randrange(8)
            damaged += 1
        sent += line
    terminal.write(sent + checked("300,1300"))
    wait_until(lambda: reader.samples and reader.samples[-1].data[0, 0] == 300)
    reader.close()
    rows = [tuple(s.data[0].astype(int)) for s in reader.samples]
    assert all(b == 1000 + a for a, b in rows) and rows == sorted(rows)
    assert len(rows) >= 301 - 2 * damaged  # a flip may have made a line end, or have taken one away


def test_a_line_that_falls_silent_is_an_error(terminal: Terminal) -> None:
    reader = reading(terminal, stall_s=0.2).wait()
    assert isinstance(reader.error, SourceError)
    assert f"lines:{terminal.path}: no row for 0.2 s; check the device and its cable" in str(reader.error)


def test_noise_alone_is_no_life(terminal: Terminal) -> None:
    reader = reading(terminal, stall_s=0.5)
    terminal.write(b"\nx\ny\n")
    assert "no row for 0.5 s, 2 lines were none; check the baud rate" in str(reader.wait().error)


def test_pulling_the_plug_is_an_error(terminal: Terminal) -> None:
    reader = reading(terminal)
    terminal.write(b"\n" + text(range(4)))
    reader.wait_for(1)
    terminal.unplug()
    assert isinstance(reader.wait().error, SourceError) and "the line was cut" in str(reader.error)


def test_closing_ends_a_read_at_once_and_gives_the_port_back(terminal: Terminal) -> None:
    for _ in range(3):
        reader = reading(terminal).close()
        assert reader.error is None
    source = open_rows(f"lines:{terminal.path}", series_input(), stall_s=STALL_S)
    source.close()
    assert list(source) == []


def test_no_file_stays_open(terminal: Terminal) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        reading(terminal).close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_network_port_is_a_line_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"lines:socket://127.0.0.1:{server.getsockname()[1]}?format=csv"
        reader = Reading(open_rows(url, series_input(), stall_s=STALL_S))
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"\n" + text(range(6)))
            reader.wait_for(2)
        assert "the line was cut" in str(reader.wait().error) and firsts(reader) == [
            [0, 1, 2, 3],
            [2, 3, 4, 5],
        ]


def test_a_port_that_cannot_be_waited_for_ends_as_well() -> None:
    """As those of other machines (RFC 2217): there is no file to wait for."""
    url = "lines:loop://"
    assert Reading(open_rows(url, series_input(), stall_s=STALL_S)).close().error is None
    assert "no row for 0.2 s" in str(Reading(open_rows(url, series_input(), stall_s=0.2)).wait().error)
