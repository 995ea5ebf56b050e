"""Emulated boards start, keep their flash, come back after a cut of power at any moment, and leave nothing behind."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board
from small_networks import dense

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.errors import EdgeAdError, FirmwareError, MissingDependencyError
from edge_ad.firmware_bridge import build as build_module
from edge_ad.firmware_bridge.boards import BOARDS, Board, emulated, find
from edge_ad.firmware_bridge.build import build_firmware
from edge_ad.firmware_bridge.client import BoardClient, open_client
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.emulator import Emulator, state_folder
from edge_ad.firmware_bridge.flasher import flash_image, is_live, read_header
from edge_ad.firmware_bridge.host_library import HostModel

SIZES = (200, 60, 200)
EMULATED = [b for b in BOARDS if b.machine or b.name == "posix"]


def require(board: Board) -> Board:
    require_board(board.address)
    return board


@pytest.fixture(params=EMULATED, ids=[b.name for b in EMULATED])
def board(request: pytest.FixtureRequest) -> Board:
    return require(request.param)


@pytest.fixture
def fast_board() -> Iterator[Board]:
    yield require(find("posix"))


def image(board: Board, seed: int) -> bytes:
    """A small network's image with one golden vector, by the engine on this machine."""
    graph = parse_tflite(dense(SIZES, seed))
    values = np.random.default_rng(seed).integers(-128, 128, SIZES[0]).astype(np.int8)
    outputs = HostModel(build_image(graph, "plain").content).infer([values])
    return build_image(graph, board.kernels, [([values.tobytes()], [o.tobytes() for o in outputs])]).content


def infer(client: BoardClient, values: np.ndarray) -> np.ndarray:
    client.set_input(0, values.tobytes())
    client.run()
    return np.frombuffer(client.output(0, SIZES[-1]), np.int8)


def test_a_board_says_what_the_table_says_and_computes_what_the_host_does(
    board: Board, tmp_path: Path
) -> None:
    with Connection(BoardAddress(board=board.address, state=tmp_path, count=True)) as line:
        hello, client = line.hello, line.client
        assert (hello.board, hello.kernels) == (board.name, board.kernels)
        assert line.board is board
        assert hello.live_slot is None
        assert hello.slot_bytes <= board.slot_bytes < hello.slot_bytes + 64 * 1024
        assert hello.arena_bytes == board.arena_bytes
        status = client.status()
        assert status.static_bytes + status.stack_bytes <= board.reserved_bytes
        flash_image(client, image(board, 1))
        model = HostModel(build_image(parse_tflite(dense(SIZES, 1)), "plain").content)
        rng = np.random.default_rng(5)
        for _ in range(3):
            values = rng.integers(-128, 128, SIZES[0]).astype(np.int8)
            np.testing.assert_array_equal(infer(client, values), model.infer([values])[0])
        counts = set()
        for _ in range(3):
            client.set_input(0, values.tobytes())
            counts.add(client.run().instructions)
        assert len(counts) == 1 and (board.machine is None or counts != {None})


def test_flash_outlives_a_restart_of_the_board_and_of_the_emulator(board: Board, tmp_path: Path) -> None:
    first, second = image(board, 1), image(board, 2)
    with Connection(BoardAddress(board=board.address, state=tmp_path)) as line:
        flash_image(line.client, first)
        flash_image(line.client, second)
        again = line.client.reboot()
        assert is_live(again, read_header(second)) and again.reset_cause == "request"
    with Connection(BoardAddress(board=board.address, state=tmp_path)) as line:
        assert is_live(line.hello, read_header(second))
        line.client.rollback()
        assert is_live(line.client.hello(), read_header(first))


@pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="needs qemu-system-arm")
def test_a_board_on_a_tcp_port(tmp_path: Path) -> None:
    board = require(find("mps2-an386"))
    with Emulator(board, state=tmp_path, tcp=True) as emulator, open_client(emulator.url) as client:
        assert emulator.url.startswith("socket://127.0.0.1:")
        assert client.hello(deadline_s=20).board == "mps2-an386"
        flash_image(client, image(board, 3))


def power_cut_while_flashing(board: Board, state: Path, seed: int, longest_s: float) -> None:
    """Flash the second image, cut the power at a random moment, and see what comes back."""
    first, second = image(board, 1), image(board, 2)
    with Emulator(board, state=state) as emulator:
        with open_client(emulator.url) as client:
            client.hello(deadline_s=20)
            flash_image(client, first)
            cut = threading.Event()

            def flash() -> None:
                try:
                    flash_image(client, second)
                except EdgeAdError:
                    assert cut.is_set()

            flashing = threading.Thread(target=flash)
            flashing.start()
            time.sleep(random.Random(seed).uniform(0, longest_s))
            cut.set()
            emulator.cut_power()
            flashing.join(200)
        emulator.restart()
        with open_client(emulator.url) as client:
            hello = client.hello(deadline_s=20)
            assert any(is_live(hello, read_header(i)) for i in (first, second))
            client.run()  # what came back runs
            assert is_live(flash_image(client, second).hello, read_header(second))


@pytest.mark.parametrize("seed", range(6))
def test_a_power_cut_at_a_random_moment_of_a_flash(fast_board: Board, tmp_path: Path, seed: int) -> None:
    power_cut_while_flashing(fast_board, tmp_path, seed, 0.15)


@pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="needs qemu-system-arm")
@pytest.mark.parametrize("seed", range(2))
def test_a_power_cut_on_an_emulated_microcontroller(tmp_path: Path, seed: int) -> None:
    power_cut_while_flashing(require(find("mps2-an386")), tmp_path, seed, 1.0)


def test_a_board_is_run_once_at_a_time(fast_board: Board, tmp_path: Path) -> None:
    with Emulator(fast_board, state=tmp_path), pytest.raises(FirmwareError, match="this board runs already"):
        Emulator(fast_board, state=tmp_path)
    Emulator(fast_board, state=tmp_path).stop()


def test_stopping_twice_and_after_a_crash_is_no_error(fast_board: Board, tmp_path: Path) -> None:
    with Emulator(fast_board, state=tmp_path) as emulator:
        emulator._process.kill()
        emulator.stop()
        emulator.stop()


def test_what_is_missing_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fast_board: Board
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        MissingDependencyError, match="needs qemu-system-arm; apt-get install qemu-system-arm"
    ):
        Emulator(find("mps2-an386"), state=tmp_path)
    with pytest.raises(MissingDependencyError, match="needs make; apt-get install make"):
        build_firmware(fast_board)


def test_firmware_that_does_not_build_says_the_compilers_first_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fast_board: Board
) -> None:
    copy = tmp_path / "firmware"
    shutil.copytree(build_module.FIRMWARE, copy)
    monkeypatch.setattr(build_module, "FIRMWARE", copy)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (copy / "engine" / "engine.c").write_text("int broken = ;\n")
    with pytest.raises(FirmwareError, match=r"'posix' does not build: .*error"):
        build_firmware(fast_board)
    assert not list((tmp_path / "cache" / "edge-ad" / "firmware").iterdir())


def test_firmware_is_built_once_for_the_same_sources(fast_board: Board) -> None:
    first = build_firmware(fast_board)
    stamp = first.stat().st_mtime_ns
    assert build_firmware(fast_board) == first and first.stat().st_mtime_ns == stamp


def test_addresses() -> None:
    assert emulated("qemu:mps3-an547").target == "cortex-m55"
    assert state_folder(find("posix"), Path("/x")) == Path("/x/posix")
    with pytest.raises(EdgeAdError, match=r"unknown emulated board 'qemu:x'; known: posix, qemu:mps2-an386"):
        emulated("qemu:x")
    with pytest.raises(EdgeAdError, match="unknown board 'mps2-an38'; did you mean mps2-an386"):
        find("mps2-an38")
    with pytest.raises(EdgeAdError, match="say which board"):
        BoardAddress()
