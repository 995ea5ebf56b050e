"""Events on a serial line: JSON lines, or frames of the link."""

from __future__ import annotations

import termios
from contextlib import suppress
from typing import Any, Literal

import serial

from edge_ad.errors import PortError, SinkError
from edge_ad.firmware_bridge.frames import DELIMITER, SEQ_MODULUS, Frame, FrameType, encode
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD, open_port
from edge_ad.runtime.events import Event
from edge_ad.runtime.sinks.base import EventSink

Format = Literal["json", "link"]


class SerialSink(EventSink):
    """Events on a serial port, which is opened anew after a failure, e.g. when its plug was pulled.

    What may be left of an earlier sender's record is ended first: an empty line (json) or frame (link).
    """

    def __init__(
        self, url: str, *, baud: int = DEFAULT_BAUD, format: Format = "json", write_timeout_s: float = 5.0
    ):
        """url: a device file or pyserial URL. Raises SinkError when the port cannot be opened."""
        self.name = f"serial:{url}"
        self._url = url
        self._baud = baud
        self._format = format
        self._write_timeout_s = write_timeout_s
        self._frame_seq = 0
        self._port: Any = None
        self._open()

    def event(self, event: Event) -> None:
        """Write the event. Raises SinkError; the next call opens the port anew."""
        self._open()
        self._write(self._record(event))

    def close(self) -> None:
        """Give the port back."""
        if self._port is not None:
            self._port.close()

    def _record(self, event: Event) -> bytes:
        text = event.to_json().encode()
        if self._format == "json":
            return text + b"\n"
        self._frame_seq = (self._frame_seq + 1) % SEQ_MODULUS
        return encode(Frame(FrameType.EVENT, self._frame_seq, text))

    def _open(self) -> None:
        if self._port is not None:
            return
        try:
            self._port = open_port(self._url, self._baud, write_timeout_s=self._write_timeout_s)
        except PortError as error:
            raise SinkError(error.what, where=self.name, hint=error.hint) from error
        self._write(DELIMITER if self._format == "link" else b"\n")

    def _write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            self._give_up()
            raise SinkError(
                f"cannot be written ({error})", where=self.name, hint="check the cable"
            ) from error

    def _give_up(self) -> None:
        """Close a port that failed, without waiting for bytes that it does not take."""
        port, self._port = self._port, None
        with suppress(serial.SerialException, OSError, termios.error):  # termios.error is no OSError
            port.reset_output_buffer()
        port.close()
