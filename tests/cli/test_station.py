"""`edge-ad run station.toml`, as a user types it: several streams, restarts, what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from series_bundle import make_series_bundle

from edge_ad.runtime.events import parse_event

pytest.importorskip("openvino")

STATION = """
node = "line3"
state = "keep"

[[stream]]
name = "one"
bundle = "b.edgead"
source = "series:quiet.npy"

[[stream]]
name = "two"
bundle = "b.edgead"
source = "series:loud.npy"
decision = { k = 2, n = 3 }
keep_scores = 10

[[sink]]
url = "jsonl:events.jsonl"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_series_bundle(tmp_path / "b.edgead")
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 0.3, (500, 2)).astype(np.float32)
    np.save(tmp_path / "quiet.npy", rows)
    rows[200:230] *= 9
    np.save(tmp_path / "loud.npy", rows)
    (tmp_path / "station.toml").write_text(STATION)
    return tmp_path


def edge_ad(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_ad", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_two_streams_of_one_bundle_share_a_file_an_outbox_and_one_sequence(folder: Path) -> None:
    done = edge_ad(folder, "run", "station.toml", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert {name: stream["events"] for name, stream in summary["streams"].items()} == {"one": 0, "two": 1}
    assert summary["sinks"][0]["waiting"] == 0
    written = records(folder)
    assert [record["seq"] for record in written] == list(range(1, len(written) + 1))
    events = [parse_event(json.dumps(r)) for r in written if r["schema"] == "edge-ad/event/1"]
    assert [(e.stream, e.kind) for e in events if e.kind != "update"] == [("two", "new"), ("two", "end")]
    scores = [r for r in written if r["schema"] == "edge-ad/score/1"]
    assert len(scores) == 49 and {r["stream"] for r in scores} == {"two"}


def test_the_sequence_goes_on_in_the_next_run(folder: Path) -> None:
    for _ in range(2):
        assert edge_ad(folder, "run", "station.toml").returncode == 0
    seqs = [record["seq"] for record in records(folder)]
    assert seqs == list(range(1, len(seqs) + 1)) and len(seqs) > 100


def test_check_tells_what_would_run_and_touches_nothing(folder: Path) -> None:
    done = edge_ad(folder, "run", "--check", "station.toml")
    assert done.returncode == 0, done.stderr
    assert "stream two: mean-of-squares" in done.stdout and "series:loud.npy" in done.stdout
    assert "state in keep" in done.stdout and "sink jsonl:events.jsonl" in done.stdout
    assert not (folder / "keep").exists()


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("source =", "sauce =", "stream[1].sauce: unknown key; did you mean 'source'?"),
        ('"b.edgead"', '"none.edgead"', "none.edgead"),
        ("series:quiet.npy", "series:none.npy", "none.npy"),
        ("series:quiet.npy", "camera:0", "gives images, this bundle takes series"),
        ("jsonl:events.jsonl", "jsonl:no/folder/events.jsonl", "mkdir -p"),
        ("jsonl:events.jsonl", "carrier-pigeon:7", "unknown kind of sink 'carrier-pigeon'"),
        ("k = 2, n = 3", "k = 4, n = 3", "k of n"),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, wrong: str, right: str, message: str) -> None:
    (folder / "station.toml").write_text(STATION.replace(wrong, right, 1))
    done = edge_ad(folder, "run", "station.toml")
    assert done.returncode in (1, 2) and message in done.stderr, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr


def test_of_channels_that_move_together_the_majority_has_to_agree(folder: Path) -> None:
    """Both channels loud, and later one of them alone; without the rule both are events."""
    (folder / "b.edgead").unlink()
    shutil.rmtree(folder / "b.files")
    make_series_bundle(folder / "b.edgead", length=64, hop=4, by_channel=True)
    rng = np.random.default_rng(1)
    rows = np.repeat(rng.normal(0, 0.5, (1200, 1)), 2, axis=1) + rng.normal(0, 0.05, (1200, 2))
    rows[400:410] *= 40
    rows[800:810, 1] *= 40
    np.save(folder / "x.npy", rows.astype(np.float32))
    for rule, expected in (("", 2), ("majority = { correlation = 0.6 }", 1)):
        station = f"""
            [[stream]]
            name = "one"
            bundle = "b.edgead"
            source = "series:x.npy"
            {rule}
        """
        (folder / "station.toml").write_text(station)
        done = edge_ad(folder, "run", "station.toml", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["streams"]["one"]["events"] == expected
    (folder / "station.toml").write_text(station.replace("0.6", "1.6"))
    done = edge_ad(folder, "run", "station.toml")
    assert done.returncode in (1, 2) and "stream[1].majority.correlation" in done.stderr


def test_options_beside_a_station_file_are_refused(folder: Path) -> None:
    done = edge_ad(folder, "run", "station.toml", "--source", "camera:0")
    assert done.returncode == 2 and "leave out --source" in done.stderr


def test_a_second_process_on_the_same_state_is_refused_and_sigterm_ends_the_first_in_good_order(
    folder: Path,
) -> None:
    """The first one waits for rows on a FIFO that nobody closes."""
    os.mkfifo(folder / "rows")
    text = STATION.replace("series:quiet.npy", "rows:rows?format=csv")
    (folder / "station.toml").write_text(text)
    log = (folder / "log").open("w")
    first = subprocess.Popen(
        [sys.executable, "-m", "edge_ad", "run", "station.toml"], cwd=folder, stderr=log, stdout=log
    )
    writer = os.open(folder / "rows", os.O_WRONLY)  # waits until the other side is open
    try:
        rows = "a,b\n" + "9,9\n" * 20
        os.write(writer, rows.encode())
        deadline = time.monotonic() + 60
        events = folder / "events.jsonl"
        while not (events.exists() and '"stream":"one"' in events.read_text()):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        second = edge_ad(folder, "run", "station.toml")
        assert second.returncode == 1 and "is in use by another edge-ad" in second.stderr
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0, (folder / "log").read_text()
    finally:
        first.kill()
        os.close(writer)
    kinds = [record["kind"] for record in records(folder) if record.get("stream") == "one"]
    assert kinds[0] == "new" and kinds[-1] == "end"


def test_flash_writes_a_unit_that_runs_the_station(folder: Path) -> None:
    units = folder / "units"
    units.mkdir()
    done = edge_ad(
        folder, "flash", "b.edgead", "--to", f"dir:{folder}/live", "--service", "station.toml",
        "--service-folder", "units",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "systemctl enable --now edge-ad-line3" in done.stderr
    text = (units / "edge-ad-line3.service").read_text()
    assert f'"run" "{folder}/station.toml"' in text and "Type=notify" in text
    (folder / "station.toml").write_text("nonsense")
    done = edge_ad(folder, "flash", "b.edgead", "--to", f"dir:{folder}/other", "--service", "station.toml")
    assert done.returncode == 2 and "is no TOML" in done.stderr
    assert not (folder / "other").exists()
