"""QEMU from outside: its machine protocol (QMP) to read memory, its debug stub to write it before the start.

The debug stub and not `-device loader`: that copies its blob in again whenever the firmware restarts itself, over
whatever was written since.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from edge_ad.errors import FirmwareError

START_S = 20.0
_BLOCK = 1024  # bytes of one write; in hexadecimal well below the stub's longest packet of 4096


class Qmp:
    """A connection to QEMU's machine protocol on a UNIX socket. Raises FirmwareError for what QEMU refuses."""

    def __init__(self, path: Path):
        self._socket = connect(path)
        self._lines = self._socket.makefile("rb")
        self._lines.readline()  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Carry out one command and return what it gives."""
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while line := self._lines.readline():
                answer = json.loads(line)
                if "error" in answer:
                    raise FirmwareError(f"QEMU refuses {command} ({answer['error'].get('desc')})")
                if "return" in answer:
                    return answer["return"]
        except (OSError, ValueError) as error:
            raise FirmwareError(f"QEMU does not answer {command} ({error})") from error
        raise FirmwareError(f"QEMU ended during {command}")

    def read_memory(self, address: int, size: int, to: Path) -> None:
        """Stop the machine and write its memory to a file."""
        self.execute("stop")
        self.execute("pmemsave", val=address, size=size, filename=str(to))

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def write_memory(stub: Path, address: int, content: bytes) -> None:
    """Write memory of a machine that has not started (-S), through its debug stub, and let it start.

    Blocks of zeros are left out: that is what memory holds. Raises FirmwareError.
    """
    try:
        with connect(stub) as line:
            line.settimeout(START_S)
            reader = line.makefile("rb")
            for offset in range(0, len(content), _BLOCK):
                block = content[offset : offset + _BLOCK]
                if not any(block):
                    continue
                _packet(line, f"M{address + offset:x},{len(block):x}:{block.hex()}".encode())
                if _reply(reader) != b"OK":
                    raise FirmwareError(f"QEMU cannot write its memory at 0x{address + offset:x}")
            _packet(line, b"D")  # detach: the machine starts
            _reply(reader)
    except (OSError, ValueError) as error:
        raise FirmwareError(f"QEMU's debug stub does not answer ({error})") from error


def connect(path: Path) -> socket.socket:
    """A connection to a UNIX socket that QEMU is about to open. Raises FirmwareError."""
    deadline = time.monotonic() + START_S
    while True:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(path))
            return line
        except OSError as error:
            line.close()
            if time.monotonic() > deadline:
                raise FirmwareError(f"QEMU does not start ({error})") from error
            time.sleep(0.02)


def _packet(line: socket.socket, body: bytes) -> None:
    line.sendall(b"$" + body + b"#%02x" % (sum(body) % 256))


def _reply(reader: Any) -> bytes:
    """The next packet's body; acknowledged by nobody, since the line loses nothing."""
    body = bytearray()
    while (byte := reader.read(1)) != b"$":
        if not byte:
            raise FirmwareError("QEMU ended")
    while (byte := reader.read(1)) != b"#":
        if not byte:
            raise FirmwareError("QEMU ended")
        body += byte
    reader.read(2)
    return bytes(body)
