"""`/health` and `/metrics` of a device, read-only, for whoever watches it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from edge_ad.errors import MissingDependencyError, UsageError
from edge_ad.runtime.operations.prometheus import CONTENT_TYPE, exposition
from edge_ad.runtime.operations.snapshot import Snapshot

log = logging.getLogger(__name__)

LOCAL = "127.0.0.1"
_REQUEST_S = 5.0  # a client that sends nothing is left


def parse_address(text: str) -> tuple[str, int]:
    """`PORT` (of this machine alone) or `HOST:PORT`; an empty host is every address. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise UsageError(f"'{text}' is no address", hint="9108, or 0.0.0.0:9108")
    return (host.strip("[]") if colon else LOCAL), int(port)


class MonitorServer:
    """Answers in threads of its own, until `close`."""

    def __init__(self, address: str, snapshot: Callable[[], Snapshot]):
        """address: as of `parse_address`; port 0: any free one. Raises UsageError when it cannot be used."""
        host, port = parse_address(address)
        handler = type("Handler", (_Handler,), {"snapshot": staticmethod(snapshot)})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            raise UsageError(f"cannot be listened to ({error.strerror})", where=f"http {address}") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        """That it listens to."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_S
    server_version = "edge-ad"
    sys_version = ""
    snapshot: Callable[[], Snapshot]

    def do_GET(self) -> None:
        """`/health` is 200 when all is well, else 503 with what is not; `/metrics` is for Prometheus."""
        path = self.path.partition("?")[0]
        if path == "/health":
            told = self.snapshot().as_dict()
            body = json.dumps(told, sort_keys=True, indent=1).encode() + b"\n"
            self._answer(200 if told["status"] == "ok" else 503, "application/json", body)
        elif path == "/metrics":
            try:
                self._answer(200, CONTENT_TYPE, exposition(self.snapshot()))
            except MissingDependencyError as error:
                self._answer(501, "text/plain", f"{error}\n".encode())
        else:
            self._answer(404, "text/plain", b"/health, /metrics\n")

    def _answer(self, code: int, content_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not a line for every question."""
        log.debug(format, *args)
