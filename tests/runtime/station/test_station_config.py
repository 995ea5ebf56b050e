"""The station file: what is wrong in it is said by its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ad.errors import StationError
from edge_ad.runtime.station.config import read_station

STREAM = '[[stream]]\nname = "a"\nbundle = "b.edgead"\nsource = "camera:0"\n'


def read(tmp_path: Path, text: str) -> object:
    (tmp_path / "s.toml").write_text(text)
    return read_station(tmp_path / "s.toml")


def test_a_whole_file_with_everything_in_it(tmp_path: Path) -> None:
    config = read_station(_write(tmp_path, '''
        node = "line3"
        state = "/var/lib/edge-ad"
        health_s = 30
        [outbox]
        max_mb = 8
        commit_ms = 100
        [[stream]]
        name = "camera"
        bundle = "dir:/opt/line3"
        source = "camera:0"
        threshold = 0.5
        crops = true
        decision = { k = 2, n = 3, hysteresis = 0.9 }
        [[stream]]
        name = "pump"
        bundle = "pump.edgead"
        source = "link:/dev/ttyACM0"
        board = { port = "/dev/ttyACM1", baud = 921600 }
        [[sink]]
        url = "mqtts://broker/line3"
        ack = true
        ca = "ca.pem"
    '''))  # fmt: skip
    assert [stream.name for stream in config.stream] == ["camera", "pump"]
    assert config.stream[0].decision == {"k": 2, "n": 3, "hysteresis": 0.9} and config.stream[0].stall_s == 10
    assert config.stream[1].board is not None and config.stream[1].board.baud == 921600
    assert config.sink[0].options == {"ack": True, "ca": "ca.pem"} and config.outbox.max_mb == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "stream: is missing"),
        ("[[stream]]\nname = 'a'\nsource = 'x'\n", "stream[1].bundle: is missing"),
        (STREAM.replace("source", "sauce"), "stream[1].sauce: unknown key; did you mean 'source'?"),
        (STREAM + STREAM, "two streams are called 'a'"),
        (STREAM.replace('"a"', '"a/b"'), "stream[1].name: "),
        (STREAM + "threads = 0\n", "stream[1].threads: Input should be greater than 0, not 0"),
        (STREAM + "decision = { kk = 1 }\n", "decision.kk: unknown key; did you mean 'k'?"),
        (STREAM + "board = { baud = 1 }\n", "stream[1].board: give either 'address' or 'port'"),
        (STREAM + "[outbox]\nmax_mb = 'big'\n", "outbox.max_mb: "),
        (STREAM + "[outbox]\nmax = 1\n", "outbox.max: unknown key; did you mean 'max_mb'?"),
        (STREAM + "[[sink]]\nack = true\n", "sink[1].url: is missing"),
        (STREAM + "[[sink]]\nurl = 'stdout'\n[[sink]]\nurl = 'stdout'\n", "two sinks have the same url"),
        ("stram = 1\n" + STREAM, "stram: unknown key; did you mean 'stream'?"),
        ("node = \n", "is no TOML: Invalid value (at line 1, column 8)"),
    ],
)  # fmt: skip
def test_the_key_that_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StationError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value) and "s.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(StationError, match="there is no such file"):
        read_station(tmp_path / "none.toml")
    (tmp_path / "s.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(StationError, match="cannot be read"):
        read_station(tmp_path / "s.toml")


def _write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "s.toml").write_text(text)
    return tmp_path / "s.toml"
