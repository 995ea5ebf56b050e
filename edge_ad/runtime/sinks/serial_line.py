"""Events on a serial line: JSON lines, or frames of the link."""

from __future__ import annotations

import termios
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

import serial
from pydantic import Field

from edge_ad.errors import PortError, SinkError
from edge_ad.firmware_bridge.frames import (
    DELIMITER,
    SEQ_MODULUS,
    Decoder,
    Frame,
    FrameType,
    acknowledged_seq,
    encode,
)
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD, open_port
from edge_ad.runtime.events import Event, Record
from edge_ad.runtime.sinks.base import PlainSink
from edge_ad.runtime.sinks.options import SinkOptions, read_options

Format = Literal["json", "link"]
_OURS = ("baud", "format", "ack", "ack_timeout_s", "write_timeout_s")


class SerialOptions(SinkOptions):
    """baud: of the line. format: JSON lines, or frames that survive a noisy line. ack: of frames, each event is
    confirmed by a frame of the other side, and sent again when that does not come within ack_timeout_s."""

    baud: Annotated[int, Field(gt=0)] = DEFAULT_BAUD
    format: Format = "json"
    ack: bool = False
    ack_timeout_s: Annotated[float, Field(gt=0)] = 5.0
    write_timeout_s: Annotated[float, Field(gt=0)] = 5.0


class SerialSink(PlainSink):
    """Events on a serial port, which is opened anew after a failure, e.g. when its plug was pulled.

    What may be left of an earlier sender's record is ended first: an empty line (json) or frame (link). Without `ack` a
    record is confirmed once the line has taken it, whoever listens.
    """

    def __init__(self, url: str, options: SerialOptions | None = None):
        """url: a device file or pyserial URL."""
        super().__init__(f"serial:{url}")
        self._url = url
        self._options = options or SerialOptions()
        if self._options.ack:
            self.window, self.confirm_timeout_s = 1, self._options.ack_timeout_s
        self._frame_seq = 0
        self._port: Any = None
        self._listener: threading.Thread | None = None
        self._guard = threading.Lock()
        self._acknowledged: list[int] = []
        self._lost: str | None = None

    def connect(self) -> None:
        """Open the port. Raises SinkError."""
        super().connect()
        self._give_up()
        try:
            self._port = open_port(
                self._url, self._options.baud, write_timeout_s=self._options.write_timeout_s
            )
        except PortError as error:
            raise SinkError(error.what, where=self.name, hint=error.hint) from error
        self._lost = None
        self._put(DELIMITER if self._options.format == "link" else b"\n")
        if self._options.ack:
            self._listener = threading.Thread(
                target=self._listen, args=(self._port,), name=self.name, daemon=True
            )
            self._listener.start()

    def send(self, record: Record) -> None:
        """Write it. Raises SinkError."""
        if not self._options.ack:
            super().send(record)
        elif isinstance(record, Event):
            self._write(record)

    def confirmed(self) -> list[int]:
        """What the line has taken, or with `ack` the other side has acknowledged. Raises SinkError."""
        if not self._options.ack:
            return super().confirmed()
        if self._lost is not None:
            raise SinkError(f"cannot be read ({self._lost})", where=self.name, hint="check the cable")
        with self._guard:
            done, self._acknowledged = self._acknowledged, []
            return done

    def close(self) -> None:
        """Give the port back."""
        port, self._port = self._port, None
        if port is not None:
            port.close()

    def _write(self, record: Record) -> None:
        """Write the record; scores are not carried. Raises SinkError; the port is opened anew by `connect`."""
        if isinstance(record, Event):
            self._put(self._encoded(record))

    def _encoded(self, event: Event) -> bytes:
        text = event.to_json().encode()
        if self._options.format == "json":
            return text + b"\n"
        self._frame_seq = (self._frame_seq + 1) % SEQ_MODULUS
        return encode(Frame(FrameType.EVENT, self._frame_seq, text))

    def _put(self, data: bytes) -> None:
        if self._port is None:
            raise SinkError("is not open", where=self.name)
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            self._give_up()
            raise SinkError(
                f"cannot be written ({error})", where=self.name, hint="check the cable"
            ) from error

    def _listen(self, port: Any) -> None:
        """Take acknowledgements until the port is closed."""
        decoder = Decoder()
        while port is self._port:
            try:
                port.timeout = 0.2
                data = port.read(max(1, port.in_waiting))
            except (serial.SerialException, OSError, TypeError, termios.error) as error:
                if port is self._port:
                    self._lost = str(error)
                    self.wake()
                return
            for frame in decoder.feed(data):
                seq = acknowledged_seq(frame)
                if seq is not None:
                    with self._guard:
                        self._acknowledged.append(seq)
                    self.wake()

    def _give_up(self) -> None:
        """Close a port that failed, without waiting for bytes that it does not take."""
        port, self._port = self._port, None
        if port is None:
            return
        with suppress(serial.SerialException, OSError, termios.error):  # termios.error is no OSError
            port.reset_output_buffer()
        port.close()


def open_serial(url: str, options: Mapping[str, Any] | None = None) -> SerialSink:
    """A sink for `serial:PORT[?option=value]`; options that are not ours are pyserial's. Raises SinkError."""
    port, _, query = url.partition(":")[2].partition("?")
    items = [item for item in query.split("&") if item]
    ours = "&".join(item for item in items if item.partition("=")[0] in _OURS)
    theirs = "&".join(item for item in items if item.partition("=")[0] not in _OURS)
    if theirs:
        port += f"?{theirs}"
    if not port:
        raise SinkError("names no port", where=url, hint="serial:/dev/ttyUSB0")
    found = read_options(SerialOptions, ours, options, where=f"serial:{port}")
    if found.ack and found.format != "link":
        raise SinkError("option 'ack' needs format=link", where=f"serial:{port}")
    return SerialSink(port, found)
