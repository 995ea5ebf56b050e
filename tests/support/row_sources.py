"""What tests of sensor sources share: inputs of rows, pseudo-terminals, boards that measure, brokers."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import socket
import subprocess
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.build import build_firmware
from edge_ad.firmware_bridge.emulator import Emulator
from edge_ad.runtime.preprocess import quantize_spec
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.series.standardise import standardise_spec
from edge_ad.runtime.sources.base import Source


def series_input(*channels: str, length: int = 4, hop: int = 2, rate_hz: float | None = 10.0) -> InputSpec:
    """Windows of these channels."""
    names = list(channels) or ["a", "b"]
    return InputSpec(
        modality="series", shape=(1, len(names), length), dtype="float32",
        preprocess=standardise_spec([0] * len(names), [1] * len(names)),
        window=WindowSpec(length=length, hop=hop, rate_hz=rate_hz, channels=names),
    )  # fmt: skip


def vector_input(n: int) -> InputSpec:
    """Vectors of n numbers."""
    return InputSpec(modality="vector", shape=(1, n), dtype="int8", preprocess=quantize_spec((n,), 1.0, 0))


class Terminal:
    """A pseudo-terminal: `path` for who reads, `write` for the device."""

    def __init__(self) -> None:
        self.device, self._other = pty.openpty()
        tty.setraw(self._other)
        self.path = os.ttyname(self._other)

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.device, data) :]

    def unplug(self) -> None:
        os.close(self.device)
        self.device = -1

    def close(self) -> None:
        for end in (self.device, self._other):
            with contextlib.suppress(OSError):
                os.close(end)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


class Reading:
    """A source that a thread of its own reads to its end; what it gave and what ended it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.samples: list[Sample] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for sample in self.source:
                self.samples.append(sample)
        except Exception as error:
            self.error = error

    @property
    def names(self) -> list[str]:
        return [sample.name for sample in self.samples]

    def wait_for(self, n: int) -> Reading:
        """Until so many samples are there."""
        wait_until(lambda: len(self.samples) >= n or not self._thread.is_alive())
        assert len(self.samples) >= n, self.error
        return self

    def wait(self) -> Reading:
        """Until it has ended."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self

    def close(self) -> Reading:
        self.source.close()
        return self.wait()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def sensing_board(folder: Path, rows: np.ndarray, *options: str) -> Emulator:
    """The POSIX board, measuring these rows (n, channels), int16 or float32. options: of its --sensor."""
    for tool in ("make", "cc"):
        if shutil.which(tool) is None:
            pytest.skip(f"the POSIX board needs {tool} (scripts/setup.sh installs it)")
    board = find("posix")
    kind = {"<i2": "int16", "<f4": "float32"}[rows.dtype.str]
    (folder / "rows.bin").write_bytes(rows.tobytes())
    arguments = ["--sensor", str(folder / "rows.bin"), "--channels", str(rows.shape[1]), "--format", kind]
    start = folder / "board.sh"
    quoted = " ".join(f"'{argument}'" for argument in [*arguments, *options])
    start.write_text(f"#!/bin/sh\nexec '{build_firmware(board)}' \"$@\" {quoted}\n")
    start.chmod(0o755)
    return Emulator(board, state=folder / "state", firmware=start)


class Mosquitto:
    """A broker on a free port of this machine. lines: of its configuration, beside the listener."""

    def __init__(self, folder: Path, *lines: str) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            pytest.skip("mosquitto is not installed")
        self.port = free_port()
        config = folder / "mosquitto.conf"
        settings = lines or ("allow_anonymous true",)
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", "user root", *settings, ""]))
        self._command = [program, "-c", str(config)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "mosquitto ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
