"""`/health` and `/metrics` of a running station, over HTTP."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fed_station import Running
from mosquitto import Mosquitto, wait_until
from series_bundle import make_series_bundle

from edge_ad.errors import UsageError
from edge_ad.runtime.operations.http import MonitorServer, parse_address


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    (tmp_path / "broker").mkdir()
    broker = Mosquitto(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def running(tmp_path: Path, broker: Mosquitto) -> Iterator[Running]:
    """Is given 500 rows of two channels, 15 of them loud: 493 windows."""
    pytest.importorskip("openvino")
    make_series_bundle(tmp_path / "b.edgead", hop=1)
    running = Running(tmp_path, broker.port, 'http = "0"')
    rows = np.random.default_rng(0).normal(0, 0.3, 500)
    rows[200:215] *= 9
    running.feed(*rows)
    yield running
    running.stop()


def port_of(running: Running) -> int:
    monitor = running.station._monitor
    assert monitor is not None
    return monitor.port


def test_health_is_200_while_all_is_well_and_503_with_what_is_not(
    running: Running, broker: Mosquitto
) -> None:
    def look() -> tuple[int, Any]:
        code, body = ask(port_of(running), "/health")
        return code, json.loads(body)

    wait_until(lambda: look()[0] == 200 and look()[1]["streams"]["pump"]["frames"] == 493)
    well = look()[1]
    assert well["status"] == "ok" and well["node"] == "line3" and well["streams"]["pump"]["events"] == 1
    broker.kill()
    wait_until(lambda: look()[0] == 503)
    (trouble,) = look()[1]["troubles"]
    assert trouble.startswith("sink mqtt://")
    assert ask(port_of(running), "/secret")[0] == 404


def test_metrics_are_read_by_prometheus_own_parser_and_say_what_happened(running: Running) -> None:
    pytest.importorskip("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    def samples() -> dict[tuple[str, ...], float]:
        code, page = ask(port_of(running), "/metrics")
        assert code == 200
        return {
            (one.name, *(value for key, value in sorted(one.labels.items()) if key != "bundle")): one.value
            for family in text_string_to_metric_families(page)
            for one in family.samples
        }

    wait_until(lambda: samples().get(("edge_ad_inference_seconds_count", "pump")) == 493)
    found = samples()
    anomalous = found["edge_ad_frames_total", "anomalous", "pump"]
    assert 15 <= anomalous <= 25 and found["edge_ad_frames_total", "normal", "pump"] == 493 - anomalous
    assert found["edge_ad_events_total", "pump"] == 1 and found["edge_ad_threshold", "pump"] == 1.0
    assert found["edge_ad_inference_seconds_bucket", "+Inf", "pump"] == 493
    assert 0 < found["edge_ad_inference_seconds_sum", "pump"] < 10
    assert found["edge_ad_stream_online", "pump"] == 1


def test_without_the_extra_metrics_say_what_to_install_and_health_works(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    code, text = ask(port_of(running), "/metrics")
    assert code == 501 and "edge-ad[metrics]" in text
    assert ask(port_of(running), "/health")[0] in (200, 503)


@pytest.mark.parametrize("wrong", ["", "http", "0.0.0.0:", "1:70000", ":-1"])
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        parse_address(wrong)


def test_an_address_that_is_taken_is_refused() -> None:
    server = MonitorServer("0", lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(UsageError, match="cannot be listened to"):
        MonitorServer(str(server.port), lambda: None)  # type: ignore[arg-type, return-value]
    server.close()
