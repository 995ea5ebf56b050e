"""Opening serial ports: a board is not reset, a port is not shared, and errors say what to do."""

from __future__ import annotations

import os
import pty
import socket
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial
from serial.rfc2217 import PortManager

from edge_ad.errors import PortError
from edge_ad.firmware_bridge.ports import open_port


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """A pseudo-terminal: the descriptor of our end, the path of the other."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_bytes_pass_unchanged_both_ways(line: tuple[int, str]) -> None:
    ours, path = line
    every = bytes(range(256))
    with open_port(path, 9600) as port:
        assert port.baudrate == 9600
        port.write(every)
        assert os.read(ours, 999) == every
        os.write(ours, every)
        assert port.read(256) == every


def test_dtr_and_rts_are_low_when_the_port_opens(
    line: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_open: list[tuple[bool, bool]] = []
    original = serial.Serial.open

    def spy(port: serial.Serial) -> None:
        at_open.append((port.dtr, port.rts))
        original(port)

    monkeypatch.setattr(serial.Serial, "open", spy)
    open_port(line[1]).close()
    assert at_open == [(False, False)]


def test_a_second_user_of_a_port_is_refused(line: tuple[int, str]) -> None:
    with open_port(line[1]), pytest.raises(PortError, match="in use by another program"):
        open_port(line[1])


def test_a_tcp_address_is_a_port_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        with open_port(url) as port:
            peer, _ = server.accept()
            port.write(b"hello")
            assert peer.recv(5) == b"hello"
            peer.close()
    with pytest.raises(PortError, match="check host and port"):
        open_port(url)


@pytest.mark.filterwarnings("ignore:set:DeprecationWarning")  # pyserial's own
def test_a_port_on_another_machine_is_a_port_too() -> None:
    """RFC 2217: the serial port of a rig, over Telnet."""
    remote = serial.serial_for_url("loop://", timeout=30)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve_rfc2217, args=(server, remote), daemon=True).start()
        with open_port(f"rfc2217://127.0.0.1:{server.getsockname()[1]}", 57600) as port:
            port.write(b"hello\xff\x00")
            assert remote.read(7) == b"hello\xff\x00"
            assert remote.baudrate == 57600 and not remote.dtr and not remote.rts


def _serve_rfc2217(server: socket.socket, remote: serial.Serial) -> None:
    connection, _ = server.accept()
    with connection:
        manager = PortManager(remote, SimpleNamespace(write=connection.sendall))
        while data := connection.recv(1024):
            remote.write(b"".join(manager.filter(data)))


def test_a_missing_port_names_those_that_exist() -> None:
    with pytest.raises(PortError, match=r"/dev/ttyNOPE9: there is no such serial port; serial ports here: "):
        open_port("/dev/ttyNOPE9")


@pytest.mark.parametrize("url", ["nope://x", "socket://127.0.0.1:notaport"])
def test_a_url_that_is_none_is_a_clear_error(url: str) -> None:
    with pytest.raises(PortError, match=url):
        open_port(url)


def test_a_plain_file_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(PortError, match="cannot be opened"):
        open_port(str(tmp_path / "f"))


def test_a_baud_rate_below_one_is_refused(line: tuple[int, str]) -> None:
    with pytest.raises(PortError, match="baud"):
        open_port(line[1], 0)
