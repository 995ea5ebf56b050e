"""Live LiDAR: one thread receives packets as fast as they come, the newest whole revolution wins."""

from __future__ import annotations

import ipaddress
import logging
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone

from edge_ad.errors import DataError, SourceError
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.sources.lidar.revolutions import Assembly, Revolution, Sensor

log = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES = 8 << 20  # a second of the busiest sensors
_MAX_DATAGRAM = 65536
_ANCILLARY_BYTES = 256
# Linux, asm-generic/socket.h; Python names neither
_SO_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40
_TIMESPEC = struct.Struct("@ll")
_COUNT = struct.Struct("@I")


class LiveLidar:
    """A LiDAR that sends to a port of this device.

    The thread that receives also finds the revolutions; points are decoded only of those that are taken. `lost` counts
    packets of the sensor that never came.
    """

    live = True

    def __init__(
        self, name: str, sensor: Sensor, listener: socket.socket, *, min_share: float, stall_s: float
    ):
        """listener: bound; closed with the source. stall_s: longest wait for a scan."""
        self.name = name
        self.acquired = self.dropped = self.unreadable = self.lost = 0
        self._sensor = sensor
        self._socket = listener
        self._stall_s = stall_s
        self._assembly = Assembly(sensor, where=name, min_share=min_share)
        self._undecodable = 0
        self._latest: Revolution | None = None
        self._failure: Exception | None = None
        self._closing = False
        self._overflows = 0
        self._given_at = self._whole_at = time.monotonic()
        self._changed = threading.Condition()
        self._woken, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Sample]:
        """The newest scan each time, (N, 4) float32. Raises SourceError when none comes for `stall_s`."""
        while (revolution := self._take()) is not None:
            try:
                points = self._sensor.points(revolution)
            except DataError as error:
                self._skip(error)
                continue
            with self._changed:
                number, self.acquired = self.acquired, self.acquired + 1
            self._given_at = time.monotonic()
            ts = datetime.fromtimestamp(revolution.ts_ns / 1e9, timezone.utc)
            yield Sample(points, str(number), ts, gap=revolution.gap)

    def close(self) -> None:
        """Stop receiving; a revolution that nobody took counts as dropped."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        self._wake.send(b"x")
        self._thread.join()
        for end in (self._socket, self._woken, self._wake):
            end.close()
        with self._changed:
            self._drop_latest()

    def _take(self) -> Revolution | None:
        """The newest revolution not yet taken; None once closed."""
        with self._changed:
            left_s = self._whole_at + self._stall_s - time.monotonic()
            ready = self._changed.wait_for(
                lambda: self._latest is not None or self._failure is not None or self._closing,
                max(0.0, left_s),
            )
            if self._closing:
                return None
            if self._failure is not None:
                raise SourceError(
                    f"cannot be received from ({self._failure})", where=self.name
                ) from self._failure
            if not ready:
                raise self._stalled()
            taken, self._latest = self._latest, None
            return taken

    def _stalled(self) -> SourceError:
        assembly, silence = self._assembly, f"for {self._stall_s:g} s"
        if assembly.packets:
            part = f"{assembly.cut} revolutions were not whole" if assembly.cut else "no revolution ended"
            return SourceError(
                f"no whole scan {silence}, of {assembly.packets} packets: {part}", where=self.name,
                hint="check the network for loss, the sensor's speed, and its field of view (fov=START-END)",
            )  # fmt: skip
        if assembly.wrong:
            return SourceError(
                f"no packet of the {self._sensor.name} {silence}, but {assembly.wrong} others: {assembly.problem}",
                where=self.name, hint="check which sensor sends to this port",
            )  # fmt: skip
        return SourceError(
            f"no packet {silence}", where=self.name,
            hint="check the sensor's power and cable, and that it sends to this device and port",
        )  # fmt: skip

    def _skip(self, error: DataError) -> None:
        """Count a revolution that cannot be decoded. Raises SourceError when there is no other for too long."""
        with self._changed:
            self._undecodable += 1
            self.unreadable = self._assembly.unreadable + self._undecodable
        if self._undecodable == 1:
            log.warning("skipped: %s", error)
        if time.monotonic() - self._given_at > self._stall_s:
            what = f"no scan with points for {self._stall_s:g} s: {error.what}"
            raise SourceError(what, where=self.name, hint=error.hint) from error

    def _run(self) -> None:
        try:
            self._receive()
        except Exception as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _receive(self) -> None:
        poll = select.poll()
        for end in (self._socket, self._woken):
            poll.register(end, select.POLLIN)
        while not self._closing:
            poll.poll()
            while not self._closing:
                try:
                    packet, ancillary, _, _ = self._socket.recvmsg(
                        _MAX_DATAGRAM, _ANCILLARY_BYTES, socket.MSG_DONTWAIT
                    )
                except BlockingIOError:
                    break
                self._push(packet, self._arrival_ns(ancillary))

    def _push(self, packet: bytes, ts_ns: int) -> None:
        _, revolution = self._assembly.push(packet, ts_ns)
        unreadable = self._assembly.unreadable + self._undecodable
        if revolution is None and unreadable == self.unreadable:
            return
        with self._changed:
            self.unreadable = self._assembly.unreadable + self._undecodable
            self.lost = self._assembly.lost
            if revolution is not None:
                missing = self._drop_latest()
                self._latest = replace(revolution, gap=True) if missing else revolution
                self._whole_at = time.monotonic()
                self._changed.notify_all()

    def _drop_latest(self) -> bool:
        """Forget the revolution that waits; whether turns before it were missing, which the next one then says."""
        if self._latest is None:
            return False
        self.acquired += 1
        self.dropped += 1
        gap, self._latest = self._latest.gap, None
        return gap

    def _arrival_ns(self, ancillary: list[tuple[int, int, bytes]]) -> int:
        """When the kernel received the packet; says so once when it had no room for others before."""
        ts_ns = None
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(data)
                ts_ns = seconds * 1_000_000_000 + nanoseconds
            elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(data) == _COUNT.size:
                overflows = _COUNT.unpack(data)[0]
                if overflows and not self._overflows:
                    size = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
                    log.warning(
                        "%s: this device drops packets, its receive buffer of %d KiB is full; raise net.core.rmem_max "
                        "to %d, or give the device less to do", self.name, size // 1024, RECEIVE_BUFFER_BYTES,
                    )  # fmt: skip
                self._overflows = overflows
        return time.time_ns() if ts_ns is None else ts_ns


def listen(address: str, port: int, *, interface: str | None, where: str) -> socket.socket:
    """A socket that receives what is sent to `port` of an IPv4 address of this device, or of a multicast group.

    address: empty for all of this device's. interface: address of the one that joins the group. Raises SourceError.
    """
    try:
        host = ipaddress.IPv4Address(address or "0.0.0.0")
        joined = ipaddress.IPv4Address(interface or "0.0.0.0")
    except ValueError as error:
        raise SourceError(f"is no IPv4 address ({error})", where=where) from error
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        _set_buffers(listener)
        if host.is_multicast:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(host), port))
        if host.is_multicast:
            listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, host.packed + joined.packed)
    except OSError as error:
        listener.close()
        raise SourceError(
            f"cannot be listened to ({error.strerror})", where=where,
            hint="the address is one of this device or a multicast group, or left out; no other program holds the port",
        ) from error  # fmt: skip
    return listener


def _set_buffers(listener: socket.socket) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    for option in (_SO_TIMESTAMPNS, _SO_RXQ_OVFL):
        try:
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        except OSError:  # another kernel: times are taken when packets are read, losses stay unexplained
            log.debug("socket option %d is not known here", option)
