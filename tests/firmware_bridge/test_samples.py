"""Boards send what they measure: every row once, in order, with its number; those without a sensor say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board
from hypothesis import given, settings
from hypothesis import strategies as st
from row_sources import sensing_board

from edge_ad.errors import BoardError, FirmwareError, LinkError, UsageError
from edge_ad.firmware_bridge.boards import BOARDS, Board, find
from edge_ad.firmware_bridge.build import build_firmware
from edge_ad.firmware_bridge.client import BoardClient, open_client
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.emulator import Emulator
from edge_ad.firmware_bridge.frames import Frame, FrameType
from edge_ad.firmware_bridge.samples import SampleFormat, SampleStream, encode_samples, parse_samples


class Listener:
    """A client that keeps the rows that come, with the number of each frame's first."""

    def __init__(self, url: str) -> None:
        self.frames: list[tuple[int, np.ndarray]] = []
        self.seqs: list[int] = []
        self.client: BoardClient = open_client(url, unasked=self._keep)

    def _keep(self, frame: Frame) -> None:
        if frame.type == FrameType.SAMPLES:
            self.frames.append(parse_samples(frame.payload))
            self.seqs.append(frame.seq)

    def rows(self, n: int) -> np.ndarray:
        """The first n rows; asks for the status meanwhile, which has to be answered all the same."""
        asked = 0
        while sum(len(rows) for _, rows in self.frames) < n:
            self.client.status()
            asked += 1
            assert asked < 100_000
        return np.concatenate([rows for _, rows in self.frames])[:n]


@pytest.mark.parametrize("kind", ["<i2", "<f4"])
@pytest.mark.parametrize("channels", [1, 3, 64])
def test_every_row_comes_once_and_in_order(tmp_path: Path, kind: str, channels: int) -> None:
    rows = np.random.default_rng(0).integers(-30000, 30000, (777, channels)).astype(kind)
    with sensing_board(tmp_path, rows, "--once") as board:
        listener = Listener(board.url)
        listener.client.hello()
        stream = listener.client.start_samples()
        form = SampleFormat.INT16 if kind == "<i2" else SampleFormat.FLOAT32
        assert stream == SampleStream(channels, form, None, 0)
        np.testing.assert_array_equal(listener.rows(777), rows.astype(np.float32))
        starts = [first for first, _ in listener.frames]
        assert starts == np.cumsum([0, *(len(r) for _, r in listener.frames[:-1])]).tolist()
        assert listener.seqs == list(range(listener.seqs[0], listener.seqs[0] + len(starts)))
        listener.client.close()


def test_a_rate_is_told_and_rows_wait_for_their_frame_to_fill(tmp_path: Path) -> None:
    rows = np.arange(10, dtype="<i2")[:, None]
    with sensing_board(tmp_path, rows, "--rate", "2000.5") as board:
        listener = Listener(board.url)
        listener.client.hello()
        assert listener.client.start_samples(50).rate_hz == 2000.5
        found = listener.rows(400)
        assert found[:, 0].tolist() == [i % 10 for i in range(400)]
        assert all(len(rows) >= 50 for _, rows in listener.frames)
        assert listener.client.start_samples(60_000).next_index == 0  # anew, as many as a frame holds
        listener.client.stop_samples()
        listener.frames.clear()
        for _ in range(20):
            listener.client.status()
        assert listener.frames == []
        listener.client.close()


def test_rows_that_nobody_took_in_time_are_told_by_their_numbers(tmp_path: Path) -> None:
    """The sensor is faster than any line: sooner or later the board's ring overflows."""
    rows = np.zeros((1000, 64), "<f4")
    rows[:, 0] = np.arange(1000)
    with sensing_board(tmp_path, rows, "--rate", "1000000") as board:
        listener = Listener(board.url)
        listener.client.hello()
        listener.client.start_samples()
        next_index = missing = 0
        while missing == 0:
            listener.client.status()
            frames, listener.frames = listener.frames, []
            for index, found in frames:
                missing += index - next_index
                next_index = index + len(found)
                assert found[:, 0].tolist() == [(index + i) % 1000 for i in range(len(found))]
        assert missing > 0
        listener.client.close()


WITHOUT = [b for b in BOARDS if b.machine or b.name == "posix"]


@pytest.mark.parametrize("board", WITHOUT, ids=[b.name for b in WITHOUT])
def test_a_board_without_a_sensor_says_so(board: Board, tmp_path: Path) -> None:
    require_board(board.address)
    with Connection(BoardAddress(board=board.address, state=tmp_path)) as line:
        for ask in (line.client.start_samples, line.client.stop_samples):
            with pytest.raises(
                BoardError, match="the board has no sensor; its port has to implement"
            ) as caught:
                ask()
            assert caught.value.status == 9
        assert line.client.status().requests >= 3  # and lives on


def test_a_sensor_that_cannot_be_is_refused_when_the_board_starts(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match="holds no row of 3 channels"):
        sensing_board(tmp_path, np.zeros((0, 3), "<f4"))
    program, flash = str(build_firmware(find("posix"))), tmp_path / "other"
    for options, message in (
        ("--sensor /nowhere --channels 2", "/nowhere"),
        ("--channels 2", "--sensor FILE --channels N"),
        ("--sensor /nowhere", "--sensor FILE --channels N"),
        ("--sensor /nowhere --channels 65", "'65' is no number from 1 to 64"),
        ("--sensor /nowhere --channels 2 --rate 0", "'0' is no number from 0.001 to 1e"),
    ):
        start = tmp_path / "board.sh"
        start.write_text(f'#!/bin/sh\nexec {program} "$@" {options}\n')
        start.chmod(0o755)
        with pytest.raises(FirmwareError, match=message):
            Emulator(find("posix"), state=flash, firmware=start)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 255), st.integers(0, 5), st.sampled_from([np.int16, np.float32]))
def test_what_is_written_is_read(first: int, channels: int, n: int, kind: type) -> None:
    rows = (np.arange(n * channels).reshape(n, channels) * 7 % 30000).astype(kind)
    index, found = parse_samples(encode_samples(first, rows))
    assert index == first % 2**32 and found.dtype == np.float32
    np.testing.assert_array_equal(found, rows.astype(np.float32))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_any_payload_is_rows_or_refused(payload: bytes) -> None:
    try:
        _, rows = parse_samples(payload, where="port")
    except LinkError as error:
        assert str(error).startswith("port: sends rows in no form")
    else:
        assert rows.ndim == 2 and rows.shape[1] >= 1


@pytest.mark.parametrize("rows", [np.zeros(3, np.float32), np.zeros((2, 2)), np.zeros((2, 0), np.int16)])
def test_rows_of_another_form_cannot_be_written(rows: np.ndarray) -> None:
    with pytest.raises(UsageError, match="rows \\(n, channels\\) of int16 or float32 are expected"):
        encode_samples(0, rows)
