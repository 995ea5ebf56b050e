"""The firmware that speaks MLPerf Tiny's text, on the POSIX board and QEMU boards, driven by a host of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board
from small_networks import dense
from text_host import TextHost

from edge_ad.compile.integer.image import Image, build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.firmware_bridge import mlperf, qemu
from edge_ad.firmware_bridge.boards import Board, emulated
from edge_ad.firmware_bridge.build import build_firmware
from edge_ad.firmware_bridge.client import open_client
from edge_ad.firmware_bridge.emulator import Emulator
from edge_ad.firmware_bridge.flasher import flash_image
from edge_ad.firmware_bridge.frames import DELIMITER, Frame, encode
from edge_ad.firmware_bridge.host_library import HostModel

N, OUTPUTS = 80, 7
HELLO, REBOOT = 0x01, 0x0B
UARTS = {"mps2-an386": 0x40004000, "mps3-an547": 0x59303000}
UART_HZ = 25_000_000


@dataclass(frozen=True)
class Running:
    """A board with a model, which it had over frames; nothing has been said since it started anew."""

    board: Board
    baud: int
    emulator: Emulator
    image: Image

    def expected(self, values: np.ndarray) -> np.ndarray:
        """The network's integers, by the engine on this machine."""
        plain = build_image(parse_tflite(dense((N, 16, OUTPUTS))), "plain")
        return HostModel(plain.content, inputs=plain.inputs, outputs=plain.outputs).infer([values])[0].ravel()

    def integers(self, printed: tuple[str, ...] | tuple[float, ...]) -> np.ndarray:
        (port,) = self.image.outputs
        return np.rint(np.array(printed, float) / port.scale).astype(int) + port.zero_point


@pytest.fixture(
    params=[("posix", 115200), ("posix", 921600), ("qemu:mps2-an386", 115200), ("qemu:mps3-an547", 921600)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    address, baud = request.param
    board = emulated(require_board(address))
    image = build_image(parse_tflite(dense((N, 16, OUTPUTS))), board.kernels)
    firmware = build_firmware(board, dialect="mlperf", baud=baud)
    with Emulator(board, state=tmp_path, firmware=firmware) as emulator:
        with open_client(emulator.url, baud) as client:
            client.hello()
            flash_image(client, image.content)
        yield Running(board, baud, emulator, image)


def _restarted(running: Running) -> TextHost:
    """A host that has the board start anew, and hears it say so."""
    host = TextHost(running.emulator.url, running.baud)
    host.send(DELIMITER + encode(Frame(HELLO, 1, b"\x01")) + encode(Frame(REBOOT, 2, b"")))
    host.pass_over(b"m-timestamp")
    host.boot()
    return host


def _inputs(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(-128, 128, (count, 1, N)).astype(np.int8)


def test_a_runner_drives_it_in_both_modes(running: Running) -> None:
    with _restarted(running) as host:
        assert host.ask("name") == [f"m-name-dut-[edge-ad {running.board.name}]"]
        assert host.ask("profile") == ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", "m-model-[ad01]"]
        first, second = (int(host.ask("timestamp")[0].removeprefix("m-lap-us-")) for _ in range(2))
        assert first < second
        values = _inputs(4)
        host.load(values[0].tobytes())  # performance
        measured = host.infer(200, 10)
        assert measured.laps[0] < measured.laps[1]
        np.testing.assert_array_equal(running.integers(measured.results), running.expected(values[0]))
        for sample in values:  # accuracy
            host.load(sample.tobytes())
            results = host.infer(1, 0).results
            np.testing.assert_array_equal(running.integers(results), running.expected(sample))
            assert host.ask("results") == [f"m-results-[{','.join(results)}]"]


def test_what_is_wrong_is_said_and_the_next_command_heard(running: Running) -> None:
    with _restarted(running) as host:
        assert host.refused("nonsense 1") == "Unknown command: nonsense"
        assert host.refused("results").startswith("results: ")
        assert host.refused("infer 1 0").startswith("infer: ")
        assert "80 bytes" in host.refused("db load 81")
        assert "80 bytes" in host.refused("db load")
        assert host.refused("db 00").startswith("db: nothing to load")
        assert host.ask(f"db load {N}") == [f"m-[Expecting {N} bytes]"]
        assert host.refused("db 0") and host.refused("db 0g") and host.refused("db")
        assert host.refused("infer 1 0").startswith("infer: ")  # not all of it is there
        assert host.refused("x" * 81) == "a command has at most 80 characters"
        assert host.ask_anyway("") == []
        host.load(_inputs(1)[0].tobytes())
        assert host.refused("infer 0 0") and host.refused("infer 1 x") and host.refused("infer -1")
        assert len(host.infer(1, 0).results) == OUTPUTS


def test_the_client_drives_it_too(running: Running) -> None:
    _restarted(running).__exit__()
    with mlperf.open_text_board(running.emulator.url, running.baud) as board:
        told = board.identify()
        assert (told.vendor, told.model) == (f"edge-ad {running.board.name}", "ad01")
        values = _inputs(3)
        outputs = mlperf.compute(board, [sample.tobytes() for sample in values])
        for sample, printed in zip(values, outputs, strict=True):
            np.testing.assert_array_equal(running.integers(printed), running.expected(sample))
        found = mlperf.measure(board, values[0].tobytes(), windows=3, seconds=0.02)
        assert len(found.windows_us) == 3 and min(found.windows_us) <= found.median_us <= max(
            found.windows_us
        )
        assert found.median_us > 0


def test_frames_are_answered_at_any_time_and_then_nothing_else(running: Running) -> None:
    with _restarted(running) as host:
        host.ask("name")
    with open_client(running.emulator.url, running.baud) as client:
        assert client.hello().board == running.board.name
        values = _inputs(1)[0]
        client.set_input(0, values.tobytes())
        client.run()
        (port,) = running.image.outputs
        np.testing.assert_array_equal(
            port.read(client.output(0, port.nbytes)).ravel(), running.expected(values)
        )
    host = TextHost(running.emulator.url, running.baud, patience_s=0.3)
    with pytest.raises(AssertionError, match="no line"):
        host.ask("name")
    host.__exit__()


def test_the_uart_is_set_to_the_baud_rate(running: Running) -> None:
    if running.board.machine is None:
        pytest.skip("a pseudo-terminal has no baud rate")
    with qemu.connect(running.emulator._sockets / "gdb") as stub, stub.makefile("rb") as reader:
        qemu._packet(stub, f"m{UARTS[running.board.machine] + 0x10:x},4".encode())  # as the CPU sees it
        while len(told := qemu._reply(reader)) != 8 or told.startswith(
            b"T"
        ):  # first that the machine has stopped
            pass
        divider = int.from_bytes(bytes.fromhex(told.decode()), "little")
    assert divider >= 16 and abs(UART_HZ / divider / running.baud - 1) < 0.02
