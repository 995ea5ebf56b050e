"""Events by HTTP: one POST each, or several at once."""

from __future__ import annotations

import http.client
import logging
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from edge_ad.errors import SinkError
from edge_ad.runtime.events import Event, Record
from edge_ad.runtime.sinks.base import PlainSink
from edge_ad.runtime.sinks.options import SinkOptions, read_options

log = logging.getLogger(__name__)

_RETRIED = (408, 425, 429)  # and 5xx: the receiver may take it later
_FORM = "webhook+https://host/path"


class WebhookOptions(SinkOptions):
    """batch: records in one request, which then is a JSON array. ca: file of the authorities that are trusted. cert,
    key: the client's own certificate. token_file: holds what is sent as `Authorization: Bearer …`."""

    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    batch: Annotated[int, Field(ge=1, le=1000)] = 1
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token_file: Path | None = None


class WebhookSink(PlainSink):
    """POSTs records to a URL; one is confirmed by a 2xx answer.

    Each request carries `Idempotency-Key`, made of the records' event_id and seq: a receiver that has seen it may drop
    the request. What the receiver refuses for good (4xx but 408, 425 and 429) is logged and given up, as it would be
    refused for ever and hold up all that comes after it.
    """

    def __init__(self, url: str, options: WebhookOptions | None = None):
        """url: http:// or https://. Raises SinkError for a URL, certificate or token that cannot be used."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            where = re.sub(r"(?<=://)[^/@]*@", "", url)
            raise SinkError(
                "is no address for a webhook", where=where, hint=f"{_FORM}, a token by token_file=FILE"
            )
        super().__init__(f"webhook+{parts.scheme}://{parts.netloc}{parts.path}")
        self.refused = 0
        self._options = options or WebhookOptions()
        self._host, self._port = parts.hostname, parts.port
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = self._context() if parts.scheme == "https" else None
        self._token = self._read_token()
        self._connection: http.client.HTTPConnection | None = None
        self._batch: list[Record] = []

    def connect(self) -> None:
        """Begin with a new connection; it is made with the first record."""
        super().connect()
        self._batch.clear()
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _write(self, record: Record) -> None:
        self._batch.append(record)
        if len(self._batch) >= self._options.batch:
            self._flush()

    def _flush(self) -> None:
        if not self._batch:
            return
        records = self._batch
        self._post(records)
        self._batch = []

    def _post(self, records: list[Record]) -> None:
        lines = [record.to_json() for record in records]
        body = lines[0] if self._options.batch == 1 else "[" + ",".join(lines) + "]"
        first = records[0]
        key = first.event_id if isinstance(first, Event) else f"{first.stream}-score"
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"{key}:{first.seq}:{len(records)}"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection = self._connected()
            connection.request("POST", self._target, body.encode(), headers)
            answer = connection.getresponse()
            answer.read(1 << 16)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SinkError(
                f"cannot be reached ({error or type(error).__name__})", where=self.name
            ) from error
        if answer.will_close:
            self.close()
        self._judge(answer, len(records))

    def _judge(self, answer: http.client.HTTPResponse, n: int) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise SinkError(
                f"answers with a redirection ({status})", where=self.name, hint="give the final address"
            )
        if status in _RETRIED or status >= 500:
            later = answer.getheader("Retry-After")
            raise SinkError(
                f"answers {status}" + (f", retry after {later}" if later else ""), where=self.name
            )
        self.refused += n
        log.error("%s: refuses %d records for good (%d %s)", self.name, n, status, answer.reason)

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            timeout_s = self._options.timeout_s
            if self._tls is None:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
            else:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=timeout_s, context=self._tls
                )
        return self._connection

    def _context(self) -> ssl.SSLContext:
        options = self._options
        try:
            context = ssl.create_default_context(cafile=None if options.ca is None else str(options.ca))
            if options.cert is not None:
                context.load_cert_chain(str(options.cert), None if options.key is None else str(options.key))
        except (OSError, ValueError) as error:
            raise SinkError(f"the certificates cannot be loaded ({error})", where=self.name) from error
        return context

    def _read_token(self) -> str | None:
        if self._options.token_file is None:
            return None
        try:
            return self._options.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SinkError(f"the token cannot be read ({error})", where=self._options.token_file) from error


def open_webhook(url: str, options: Mapping[str, Any] | None = None) -> WebhookSink:
    """A sink for `webhook+https://host/path`; options as keys, and behind a `#` (a query is the receiver's).

    Raises SinkError.
    """
    address, _, ours = url.removeprefix("webhook+").partition("#")
    where = re.sub(r"(?<=://)[^/@]*@", "", address).partition("?")[0]
    return WebhookSink(address, read_options(WebhookOptions, ours, options, where=where))
