"""Events by HTTP, as a receiver sees them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import SinkError
from edge_ad.runtime.events import Event, parse_event
from edge_ad.runtime.sinks import open_sink

MakeEvent = Callable[..., Event]


class Receiver:
    """Answers as it is told, and keeps what it gets."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int | None] = []  # the next ones; None hangs up without any
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((dict(self.headers), body))
                status = receiver.answers.pop(0) if receiver.answers else 204
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.send_header("Location", "http://elsewhere/")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"webhook+http://127.0.0.1:{self.server.server_port}/events?line=3"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_each_event_is_a_request_of_its_own_with_a_key_by_which_it_is_known_again(
    receiver: Receiver, make_event: MakeEvent, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    sink = open_sink(receiver.url, node="n", options={"token_file": str(tmp_path / "token")})
    sink.connect()
    for seq in (1, 2):
        sink.send(make_event(seq))
    assert sink.confirmed() == [1, 2]
    sink.close()
    assert [parse_event(body).seq for _, body in receiver.requests] == [1, 2]
    headers = receiver.requests[0][0]
    assert headers["Idempotency-Key"] == "line3-00ff-1:1:1" and headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer s3cret" and "s3cret" not in sink.name


def test_several_events_go_in_one_request(receiver: Receiver, make_event: MakeEvent) -> None:
    sink = open_sink(f"{receiver.url}#batch=3", node="n")
    sink.connect()
    for seq in range(1, 5):
        sink.send(make_event(seq))
    assert sink.confirmed() == [1, 2, 3, 4]
    assert [[event["seq"] for event in json.loads(body)] for _, body in receiver.requests] == [[1, 2, 3], [4]]
    sink.close()


@pytest.mark.parametrize("answer", [500, 503, 429, 408, 302, None])
def test_what_may_work_later_is_an_error_and_works_later(
    receiver: Receiver, make_event: MakeEvent, answer: int | None
) -> None:
    receiver.answers = [answer]
    sink = open_sink(receiver.url, node="n")
    sink.connect()
    with pytest.raises(SinkError, match=str(answer) if answer else "cannot be reached"):
        sink.send(make_event(1))
    sink.connect()
    sink.send(make_event(1))
    assert sink.confirmed() == [1]
    sink.close()


def test_what_is_refused_for_good_is_said_and_does_not_hold_up_the_rest(
    receiver: Receiver, make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [422]
    sink = open_sink(receiver.url, node="n")
    sink.connect()
    sink.send(make_event(1))
    sink.send(make_event(2))
    assert sink.confirmed() == [1, 2] and "refuses 1 records for good (422" in caplog.text
    sink.close()


def test_nobody_there_is_an_error(make_event: MakeEvent) -> None:
    sink = open_sink("webhook+http://127.0.0.1:9/x", node="n")
    sink.connect()
    with pytest.raises(SinkError, match="cannot be reached"):
        sink.send(make_event(1))
    sink.close()
