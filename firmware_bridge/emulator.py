"""Boards without hardware: QEMU, or the firmware as a process of this machine. What they hold in flash is kept.

A board has a folder: `flash.bin` is its model slots, `lock` is held while it runs, `board.log` is what it printed,
`firmware.json` what its firmware holds, where that is not the one for all models.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from edge_ad.errors import FirmwareError, MissingDependencyError
from edge_ad.firmware_bridge.boards import POSIX, Board
from edge_ad.firmware_bridge.build import Dialect, build_firmware
from edge_ad.firmware_bridge.parts import Parts, keep_parts, kept_parts
from edge_ad.firmware_bridge.qemu import START_S, Qmp, write_memory

FLASH, PARTS = "flash.bin", "firmware.json"
_STOP_S = 5.0
_QEMU = "qemu-system-arm"


def state_folder(board: Board, state: Path | None = None) -> Path:
    """Where a board's flash is kept: below `state`, or in the user's data folder."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return (state or data / "edge-ad" / "boards") / board.name


class Emulator:
    """A running board without hardware; a context manager that stops it. url: its serial port, for `open_client`."""

    def __init__(
        self, board: Board, *, state: Path | None = None, count: bool = False, tcp: bool = False,
        firmware: Path | None = None, parts: Parts | None = None, dialect: Dialect = "link",
    ):  # fmt: skip
        """state: the folder that boards keep their flash in. count: exact instruction counts, several times slower
        (QEMU). tcp: a TCP port instead of a pseudo-terminal (QEMU). firmware: an ELF file instead of this package's.
        parts: what the firmware holds this time, in place of what `keep_parts` said. dialect: what this package's
        firmware speaks first (docs/mlperf.md).

        Raises MissingDependencyError when QEMU or a compiler is missing, FirmwareError when the board does not
        start or its folder is in use.
        """
        self.board = board
        if board.name != POSIX and shutil.which(_QEMU) is None:
            raise MissingDependencyError(
                f"the board '{board.name}' needs {_QEMU}",
                hint="apt-get install qemu-system-arm, or use --board posix",
            )
        self.folder = state_folder(board, state)
        self._parts = parts
        self._count, self._tcp = count, tcp
        with contextlib.ExitStack() as opened:
            self._lock = opened.enter_context(_locked(self.folder))
            held = parts or kept_parts(self.folder / PARTS)
            self._elf = firmware or build_firmware(board, held, dialect=dialect)
            self._sockets = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="edge-ad-")))
            self._process: subprocess.Popen[bytes] | None = None
            self._keep: int | None = None
            opened.callback(self._end)
            self.url = self._start()
            self._opened = opened.pop_all()

    def __enter__(self) -> Emulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def flash(self) -> Path:
        """The file that holds the model slots."""
        return self.folder / FLASH

    def keep_parts(self) -> None:
        """The firmware that it runs this time stays from now on."""
        if self._parts is not None:
            keep_parts(self._parts, self.folder / PARTS)

    def stop(self) -> None:
        """Stop the board and keep its flash. Nothing happens when it has stopped already."""
        self.cut_power()
        self._opened.close()

    def cut_power(self) -> None:
        """As when its power fails at this moment: flash stays as it is, nothing else does."""
        if self._process is not None and self._process.poll() is None and self.board.machine:
            partial = self.flash.with_suffix(".part")
            qmp = Qmp(self._sockets / "qmp")
            qmp.read_memory(*self.board.slots, partial)
            qmp.close()
            partial.replace(self.flash)
        self._end()

    def restart(self, *, count: bool | None = None) -> None:
        """Power on again after `cut_power`; `url` may be another. count: from now on, as at the beginning."""
        self._end()
        self._count = self._count if count is None else count
        self.url = self._start()

    def _start(self) -> str:
        command = self._qemu() if self.board.machine else [str(self._elf), str(self.flash)]
        if wrapper := shutil.which("setpriv"):  # so that no board outlives a program that is killed
            command = [wrapper, "--pdeathsig", "KILL", "--", *command]
        log = self.folder / "board.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self.board.machine:
            url = self._wait_for_qemu(log)
            if not self._tcp:  # QEMU looks once a second whether somebody is there: somebody is, all the time
                self._keep = os.open(url, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            content = self.flash.read_bytes() if self.flash.exists() else b""
            write_memory(self._sockets / "gdb", self.board.slots[0], content[: self.board.slots[1]])
            return url
        return self._wait_for(log, rb"(/dev/\S+)")

    def _qemu(self) -> list[str]:
        serial = "pty" if not self._tcp else f"unix:{self._sockets / 'serial'},server=on,wait=off"
        serial = "tcp:127.0.0.1:0,server=on,wait=off,nodelay=on" if self._tcp else serial
        return [
            _QEMU, "-M", str(self.board.machine), "-display", "none", "-monitor", "none", "-nodefaults", "-S",
            "-kernel", str(self._elf), "-serial", serial,
            "-qmp", f"unix:{self._sockets / 'qmp'},server=on,wait=off",
            "-gdb", f"unix:{self._sockets / 'gdb'},server=on,wait=off",
            *(["-icount", "shift=7,sleep=off"] if self._count else []),
        ]  # fmt: skip

    def _wait_for_qemu(self, log: Path) -> str:
        if not self._tcp:
            return self._wait_for(log, rb"redirected to (/dev/\S+)")
        self._wait_for_file(self._sockets / "qmp", log)
        qmp = Qmp(self._sockets / "qmp")
        names = [c["filename"] for c in qmp.execute("query-chardev") if c["label"] == "serial0"]
        qmp.close()
        port = re.search(r":(\d+)(?:,|$)", names[0]) if names else None
        if port is None:
            raise FirmwareError("QEMU names no TCP port", where=self.board.name)
        return f"socket://127.0.0.1:{port[1]}"

    def _wait_for(self, log: Path, pattern: bytes) -> str:
        """What the board printed that matches; it prints its serial port's name when it starts."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if match := re.search(pattern + rb"[\s)]", log.read_bytes()):
                return match[1].decode()
            self._require_alive(log)
            time.sleep(0.01)
        raise FirmwareError(f"the board does not start within {START_S:g} s", where=log)

    def _wait_for_file(self, path: Path, log: Path) -> None:
        deadline = time.monotonic() + START_S
        while not path.exists() and time.monotonic() < deadline:
            self._require_alive(log)
            time.sleep(0.01)

    def _require_alive(self, log: Path) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise FirmwareError(f"the board ended at once: {lines[-1] if lines else 'no message'}", where=log)

    def _end(self) -> None:
        """Kill the board's processes, all of them, and wait until they are gone."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_STOP_S)
        if self._keep is not None:
            os.close(self._keep)
            self._keep = None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """The board's folder, with nobody else running that board. Raises FirmwareError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise FirmwareError(
            f"cannot be used ({error.strerror})", where=folder, hint="name another with --state"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FirmwareError(
                "this board runs already", where=folder, hint="end the other edge-ad, or name another --state"
            ) from error
        yield folder
    finally:
        os.close(handle)
