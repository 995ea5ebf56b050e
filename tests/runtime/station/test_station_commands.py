"""A running station over MQTT: commands, what they leave behind, sources that come and go, drift."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fed_station import Running
from mosquitto import Mosquitto, Subscriber, wait_until
from series_bundle import make_series_bundle

pytest.importorskip("openvino")

BASE = "edge-ad/line3/pump"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    scores = [(rng.normal(0, 0.3, (8, 2)) ** 2).mean() for _ in range(200)]
    quantiles = np.quantile(scores, np.linspace(0, 1, 33)).tolist()
    thresholds = {"allowed": [0.5, 20.0], "reference": {"n": 200, "values": quantiles}}
    make_series_bundle(tmp_path / "b.edgead", hop=1, thresholds=thresholds)
    return tmp_path


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    (tmp_path / "broker").mkdir()
    broker = Mosquitto(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


def asker(subscriber: Subscriber) -> Callable[[str, Any], dict[str, Any]]:
    def ask(name: str, arguments: Any) -> dict[str, Any]:
        topic = f"{BASE}/cmd/{name}"
        before = len(subscriber.on(f"{topic}/ack"))
        subscriber.publish(topic, json.dumps(arguments))
        wait_until(lambda: len(subscriber.on(f"{topic}/ack")) > before)
        answer: dict[str, Any] = json.loads(subscriber.on(f"{topic}/ack")[-1])
        return answer

    return ask


def test_a_threshold_is_set_within_what_the_bundle_allows_and_stays_over_a_restart(
    folder: Path, broker: Mosquitto
) -> None:
    subscriber = Subscriber(broker.port)
    ask = asker(subscriber)
    running = Running(folder, broker.port)
    running.feed(*[0.1] * 20)
    wait_until(lambda: subscriber.on("edge-ad/line3/available") == ["online"])
    assert (
        not ask("threshold", {"value": 21})["ok"] and "0.5 to 20" in ask("threshold", {"value": 0.1})["error"]
    )
    assert not ask("threshold", {"value": "high"})["ok"]
    assert ask("threshold", {"value": 10})["threshold"] == 10
    running.feed(*[2.5] * 20)  # scores of 6: above the bundle's 1, below 10
    wait_until(lambda: ask("statistics", {})["frames"] == 33)
    assert ask("statistics", {})["anomalous"] == 0 and subscriber.on(f"{BASE}/event") == []
    running.stop()
    running = Running(folder, broker.port)
    running.feed(*[2.5] * 20, *[4.0] * 20)
    wait_until(lambda: subscriber.on(f"{BASE}/event"))
    event = json.loads(subscriber.on(f"{BASE}/event")[0])
    assert event["threshold"] == 10 and event["score"] > 10
    assert ask("threshold", {"value": None})["threshold"] == 1.0
    running.stop()
    assert running.summary is not None and running.summary.streams["pump"].events == 1
    subscriber.close()


def test_a_paused_stream_holds_its_pipe_and_goes_on(folder: Path, broker: Mosquitto) -> None:
    subscriber = Subscriber(broker.port)
    ask = asker(subscriber)
    running = Running(folder, broker.port)
    wait_until(lambda: subscriber.on("edge-ad/line3/available") == ["online"])
    running.feed(*[0.1] * 10)
    wait_until(lambda: ask("statistics", {})["frames"] == 3)
    assert ask("pause", {})["paused"] is True
    running.feed(*[0.1] * 5)
    assert ask("statistics", {})["paused"] is True and ask("statistics", {})["frames"] <= 4
    assert ask("resume", {})["paused"] is False
    wait_until(lambda: ask("statistics", {})["frames"] == 8)
    assert "unknown command" in ask("fly", {})["error"]
    running.stop()
    subscriber.close()


def test_scores_that_no_longer_look_like_the_calibration_are_said(
    folder: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    subscriber = Subscriber(broker.port)
    ask = asker(subscriber)
    running = Running(folder, broker.port)
    rng = np.random.default_rng(1)
    wait_until(lambda: subscriber.on("edge-ad/line3/available") == ["online"])
    running.feed(*rng.normal(0, 0.3, 600))
    wait_until(lambda: ask("statistics", {})["frames"] == 593)
    assert ask("statistics", {})["drifted"] is False
    running.feed(*rng.normal(0, 0.6, 1200))  # no alarm, and yet another stream
    wait_until(lambda: ask("statistics", {}).get("drifted"))
    assert "scores are higher than those of the calibration" in caplog.text
    running.stop()
    subscriber.close()
