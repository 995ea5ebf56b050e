"""Mosquitto, started for a test, on a port that stays the same over restarts; and somebody who listens to it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion


def wait_until(condition: Callable[[], object], timeout_s: float = 30) -> None:
    """Until something holds; fails the test when it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Mosquitto:
    """A broker process. lines: of its configuration; listener: of its listener's part."""

    def __init__(self, folder: Path, *lines: str, listener: str = "", persistence: bool = False) -> None:
        found = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        if found is None:
            pytest.skip("mosquitto is not installed (apt-get install --no-install-recommends mosquitto)")
        self._program = found
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        kept = f"persistence true\npersistence_location {folder}/" if persistence else "persistence false"
        head = f"listener {self.port} 127.0.0.1\n{listener}\n{kept}\nuser root"
        self._config.write_text("\n".join([head, *(lines or ["allow_anonymous true"]), ""]))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(
            [self._program, "-c", str(self._config)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(self._answers)

    def freeze(self) -> None:
        """SIGSTOP: the connections stay, and nothing comes any more."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """SIGKILL: what it has not written is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """In good order."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(30)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            assert self.process is not None and self.process.poll() is None, "mosquitto did not start"
            return False
        return True


class Subscriber:
    """Keeps (topic, payload, retained) of all that is published."""

    def __init__(self, port: int, *, username: str | None = None, client_id: str = "subscriber") -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
        self.client.username_pw_set(username, "right" if username else None)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = self._keep
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(30)

    def _keep(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload), message.retain))

    def on(self, topic: str) -> list[str]:
        """The payloads that came on a topic, as text."""
        return [payload.decode() for where, payload, _ in self.messages if where == topic]

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(30)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
