"""Opening serial ports: one way, for everything that speaks to a board or a serial receiver."""

from __future__ import annotations

import errno
import termios
from pathlib import Path
from typing import Any

import serial
from serial.tools import list_ports

from edge_ad.errors import PortError

DEFAULT_BAUD = 115200


def open_port(
    url: str, baud: int = DEFAULT_BAUD, *, read_timeout_s: float = 1.0, write_timeout_s: float = 5.0
) -> Any:
    """Open a device file or a pyserial URL (`socket://host:port`, `rfc2217://host:port`, `loop://`, …).

    DTR and RTS are low before the port opens, since many boards reset on either, and the port is locked for
    this process. Returns a `serial.SerialBase`. Raises PortError.
    """
    if baud <= 0:
        raise PortError(f"a baud rate must be positive, not {baud}", where=url)
    try:
        port = serial.serial_for_url(
            url, do_not_open=True, baudrate=baud, timeout=read_timeout_s, exclusive=True
        )
        if not url.lower().startswith("rfc2217:"):  # whose class refuses a write time-out
            port.write_timeout = write_timeout_s
        port.dtr = False
        port.rts = False
        port.open()
    except (serial.SerialException, ValueError, OSError, termios.error) as error:
        raise PortError(_cause(error), where=url, hint=_hint(url, error)) from error
    return port


def _cause(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return "there is no such serial port"
    if number in (errno.EACCES, errno.EPERM):
        return "no permission to open the serial port"
    if number in (errno.EAGAIN, errno.EBUSY):
        return "the serial port is in use by another program"
    return f"the serial port cannot be opened ({error})"


def _hint(url: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        return "add your user to the group that owns it, often dialout or uucp, and log in again"
    if number in (errno.EAGAIN, errno.EBUSY):
        return "close the other program, e.g. a terminal or a second edge-ad"
    if "://" in url:
        return "check host and port, and that the other side listens"
    return f"serial ports here: {', '.join(_ports()) or 'none'}"


def _ports() -> list[str]:
    """Device files of ports that have hardware behind them, by their stable name where they have one."""
    by_id = {str(p.resolve()): str(p) for p in Path("/dev/serial/by-id").glob("*")}
    return sorted(by_id.get(port.device, port.device) for port in list_ports.comports())
