"""What systemd is told: ready when all have begun, and the watchdog fed by progress alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_ad.runtime.operations.notify import Notifier


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def told(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@edge-ad-test-{os.getpid()}"


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    systemd = Systemd(address)
    yield systemd
    systemd.socket.close()


def test_ready_comes_once_every_stream_has_begun(systemd: Systemd, address: str) -> None:
    notifier = Notifier(address)
    notifier.watch(["a", "b"])
    notifier.progress("a")
    notifier.progress("a")
    assert systemd.told() == []
    notifier.progress("b")
    notifier.progress("b")
    assert systemd.told() == ["READY=1"]
    notifier.status("12 frames\n  3 events")
    notifier.stopping()
    assert systemd.told() == ["STATUS=12 frames 3 events", "STOPPING=1"]
    notifier.close()


def test_the_watchdog_is_fed_only_when_all_have_got_on_and_not_too_often(
    systemd: Systemd, address: str
) -> None:
    now = 100.0
    notifier = Notifier(address, watchdog_s=40, clock=lambda: now)
    notifier.watch(["a", "b"])
    for stream in "ab":
        notifier.progress(stream)
    assert systemd.told() == ["READY=1", "WATCHDOG=1"]
    for stream in "abab":
        notifier.progress(stream)
    assert systemd.told() == []  # a quarter of the interval has not passed
    now += 11
    notifier.progress("a")
    assert systemd.told() == ["WATCHDOG=1"]  # b got on, too, since it was fed
    now += 1000
    for _ in range(5):
        notifier.progress("a")
    assert systemd.told() == []  # b stands still
    notifier.forget("b")  # has come to its end
    assert systemd.told() == ["WATCHDOG=1"]
    notifier.close()


def test_the_environment_says_where_and_how_often(address: str) -> None:
    assert Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}).watchdog_s == 30
    other = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}
    assert Notifier.from_environment(other).watchdog_s is None


def test_without_systemd_and_when_it_is_gone_nothing_happens(address: str) -> None:
    for notifier in (Notifier.from_environment({}), Notifier(address, watchdog_s=1)):
        notifier.watch(["a"])
        notifier.progress("a")
        notifier.status("x")
        notifier.close()
        notifier.progress("a")
