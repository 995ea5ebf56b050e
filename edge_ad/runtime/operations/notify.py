"""Telling systemd how we are: sd_notify(3), in the few lines that it takes."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping


class Notifier:
    """What goes to NOTIFY_SOCKET. Without one, all of it does nothing.

    The watchdog is fed by progress alone: once every stream has got on since it was fed last, and not from a timer. A
    program whose streams stand still is restarted, however alive it looks.
    """

    def __init__(
        self,
        address: str | None,
        *,
        watchdog_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """address: of the socket; `@name` is an abstract one. watchdog_s: WatchdogSec of the unit."""
        self.watchdog_s = watchdog_s
        self._clock = clock
        self._guard = threading.Lock()
        self._waiting: set[str] = set()  # streams that have not got on since the watchdog was fed
        self._streams: frozenset[str] = frozenset()
        self._never: set[str] = set()  # streams that have not got on at all
        self._fed_at = 0.0
        self._is_ready = False
        self._socket: socket.socket | None = None
        self._address = (
            None if address is None else ("\0" + address[1:] if address.startswith("@") else address)
        )
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """As systemd tells this process (NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID)."""
        watchdog_s = None
        if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            usec = environment.get("WATCHDOG_USEC", "")
            watchdog_s = int(usec) / 1e6 if usec.isdigit() and int(usec) > 0 else None
        return cls(environment.get("NOTIFY_SOCKET") or None, watchdog_s=watchdog_s)

    def watch(self, streams: Iterable[str]) -> None:
        """The streams whose progress counts."""
        with self._guard:
            self._streams = frozenset(streams)
            self._waiting, self._never = set(self._streams), set(self._streams)

    def progress(self, stream: str) -> None:
        """A stream got on: it judged a frame, or tried to reach a source that is away. Cheap."""
        if self._socket is None:
            return
        with self._guard:
            self._waiting.discard(stream)
            self._never.discard(stream)
            ready = not self._is_ready and not self._never
            self._is_ready = self._is_ready or ready
            feed = self._feeds()
        if ready:
            self._send("READY=1")
        if feed:
            self._send("WATCHDOG=1")

    def forget(self, stream: str) -> None:
        """A stream has come to its end: it need not get on any more."""
        with self._guard:
            self._streams -= {stream}
        self.progress(stream)

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        """The program is about to end."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _feeds(self) -> bool:
        """Whether it is time to, and everybody has got on."""
        if self.watchdog_s is None or self._waiting:
            return False
        now = self._clock()
        if now - self._fed_at < self.watchdog_s / 4:
            return False
        self._fed_at = now
        self._waiting = set(self._streams)
        return True

    def _send(self, message: str) -> None:
        if self._socket is not None and self._address is not None:
            try:
                self._socket.sendto(message.encode(), socket.MSG_NOSIGNAL, self._address)
            except OSError:  # whoever listened is gone: nobody is there to be told
                return
