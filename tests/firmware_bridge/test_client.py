"""Whatever a line does to frames, each request is carried out once and its answer is the right one."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from fake_board import SIZE, FakeBoard, Flash, Wire, image
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import BoardError, EdgeAdError, LinkError, PortError, RestartError
from edge_ad.firmware_bridge.client import BoardClient, open_client, parse_hello
from edge_ad.firmware_bridge.flasher import flash_image
from edge_ad.firmware_bridge.frames import Frame, FrameType
from edge_ad.firmware_bridge.parts import Parts

FAULTS = {
    "clean": {},
    "loss": {"loss": 0.15},
    "damage": {"damage": 0.15},
    "twice": {"twice": 0.3},
    "late": {"late": 0.2},
    "all": {"loss": 0.08, "damage": 0.08, "twice": 0.1, "late": 0.1},
}


def client_of(board: FakeBoard, **options) -> BoardClient:
    return open_client(board.path, first_wait_s=0.03, **options)


def infer(client: BoardClient, values: bytes) -> bytes:
    client.set_input(0, values)
    client.run()
    return client.output(0, SIZE)


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_answers_are_right_on_any_line(faults: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    with FakeBoard(Wire(seed=7, **faults)) as board, client_of(board) as client:
        assert flash_image(client, image(b"GOOD", 2000)).hello.board == "fake"
        for _ in range(10):
            values = rng.integers(0, 256, SIZE, np.uint8)
            assert infer(client, values.tobytes()) == (values + 1).tobytes()
        # 10 inferences are 10, however often they had to be asked for.
        assert board.executed.count(0x08) == 10
        assert board.executed.count(0x05) == 1


def test_hello_says_who_is_there() -> None:
    with FakeBoard() as board, client_of(board) as client:
        hello = client.hello()
        assert (hello.board, hello.kernels, hello.abi) == ("fake", "plain", 1)
        assert (hello.live_slot, hello.live_crc, hello.reset_cause, hello.boots) == (None, 0, "power", 1)
        assert client.status().arena_used == 1000
        assert client.fault() is None
        assert client.reboot().boots == 2


def test_a_refusal_says_what_and_keeps_the_answer() -> None:
    with FakeBoard() as board, client_of(board) as client:
        client.hello()
        with pytest.raises(BoardError, match="has no live model") as caught:
            client.run()
        assert (caught.value.status, caught.value.request) == (3, 0x08)
        with pytest.raises(BoardError, match="cannot take these arguments"):
            client.set_input(3, b"x")
        with pytest.raises(BoardError, match="does not know this request"):
            client.tensor(0, 10)


def test_a_silent_board_is_named_with_what_to_check() -> None:
    with FakeBoard() as board, client_of(board) as client:
        board.silent = True
        with pytest.raises(LinkError, match=rf"{board.path}: the board does not answer .* check the cable"):
            client.hello(deadline_s=0.2)


def test_a_board_that_wakes_late_is_waited_for() -> None:
    with FakeBoard(Wire(loss=0.7, seed=3)) as board, client_of(board) as client:
        assert client.hello().board == "fake"


def test_what_comes_unasked_goes_to_the_callback() -> None:
    seen: list[Frame] = []
    with FakeBoard() as board, client_of(board, unasked=seen.append) as client:
        board.send(Frame(FrameType.EVENT, 1, b'{"kind":"new"}'))
        board.send(Frame(0x41, 2, b"started"))
        client.hello()
        assert [f.payload for f in seen] == [b'{"kind":"new"}', b"started"]


def test_a_restart_in_the_middle_is_told_from_silence() -> None:
    with FakeBoard(cut_after=2) as board, client_of(board) as client:
        client.hello()
        with pytest.raises(RestartError, match="the board restarted"):
            client.status()
        assert client.hello().boots == 2


def test_answers_to_an_earlier_program_do_not_pass_for_ours() -> None:
    with FakeBoard() as board:
        with client_of(board) as first:
            first.hello()
        for seq in range(0, 65536, 64):
            if seq % 4096 == 0:
                board.send(Frame(0x82, seq, b"\0" + bytes(28)))
        with client_of(board) as second:
            second.hello()
            assert second.status().arena_used == 1000


def test_a_port_is_held_alone() -> None:
    with FakeBoard() as board, client_of(board), pytest.raises(PortError, match="in use by another program"):
        client_of(board)


def test_a_line_that_is_cut_is_an_error_of_the_link() -> None:
    flash = Flash()
    board = FakeBoard(flash=flash)
    client = client_of(board)
    client.hello()
    board.close()
    with pytest.raises(LinkError, match=r"the line to the board was cut|does not answer"):
        client.hello(deadline_s=0.3)
    client.close()


def hello_of(name: bytes, tail: bytes) -> bytes:
    """A board's answer with this name, and this behind it."""
    told = struct.pack("<BHBHIIbIIIB8sB", 1, 2, 0, 256, 4096, 4096, -1, 0, 0, 1, 0, b"12345678", len(name))
    return told + name + tail


def test_a_board_tells_what_its_firmware_holds_and_an_older_one_does_not() -> None:
    assert parse_hello(hello_of(b"pump", b""), where="x").parts is None
    told = parse_hello(hello_of(b"pump", b"\x00\x08" + struct.pack("<Q", 1 << 2 | 1 << 63)), where="x")
    assert told.board == "pump" and told.parts == Parts(frozenset({"convolution"}), judges=False)
    for cut in (b"\x01", b"\x01\x08", b"\x01\x01\xff\xff"):
        with pytest.raises(LinkError, match="no protocol that this version knows"):
            parse_hello(hello_of(b"pump", cut), where="x")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.binary(max_size=80)
    | st.binary(min_size=40, max_size=80).map(lambda b: b"\x01" + b)
    | st.builds(hello_of, st.binary(max_size=20), st.binary(max_size=20))
)
def test_any_answer_to_hello_is_taken_or_refused(raw: bytes) -> None:
    try:
        hello = parse_hello(raw, where="x")
    except EdgeAdError as error:
        assert str(error).isprintable()
    else:
        assert hello.board.isprintable() and hello.max_payload <= 4096


def test_another_device_on_the_port_is_no_board() -> None:
    with FakeBoard() as board:
        board.silent = True
        with client_of(board) as client:
            os.write(board._ours, b"login: \r\n" * 50)
            with pytest.raises(LinkError, match="does not answer"):
                client.hello(deadline_s=0.2)
