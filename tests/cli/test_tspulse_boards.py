"""TSPulse on boards: fit, compile, flash, verify, infer and run, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board

from edge_ad.data.sample_series import make_series

TARGETS = {"posix": "posix", "qemu:mps2-an500": "cortex-m7", "qemu:mps3-an547": "cortex-m55"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, edge_ad) -> Path:
    """A fitted model, its bundle, and a series that begins with a sensor at rest and has a gap."""
    folder = tmp_path_factory.mktemp("tspulse")
    data = make_series(folder / "data", 4, n_train=3000, n_test=1200)
    _gapped(next((data / "test").glob("shift/*.csv")), folder / "short.csv")
    done = edge_ad(
        "fit", "tspulse", "--preset", "micro", "--data", data, "--out", folder / "model", "--steps", 60,
        "--threads", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    done = edge_ad(
        "compile", folder / "model", *(a for t in TARGETS.values() for a in ("--target", t)), "--data", data,
        "--max-false-alarms", "10%", "--out", folder / "pump.edgead", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    (folder / "report.json").write_text(done.out)
    return folder


def _gapped(series: Path, short: Path) -> None:
    """300 rows, 100 of them missing in the middle of 420, the first 40 all alike."""
    header, *rows = series.read_text().splitlines()
    still = [",".join([r.split(",")[0], *rows[40].split(",")[1:]]) for r in rows[:40]]
    short.write_text("\n".join([header, *still, *rows[40:320], *rows[420:700]]) + "\n")


@pytest.fixture(params=TARGETS)
def board(request: pytest.FixtureRequest) -> str:
    return require_board(request.param)


def test_the_bundle_says_what_the_board_takes(folder: Path, edge_ad) -> None:
    manifest = json.loads(edge_ad("inspect", folder / "pump.edgead", "--json").out)["manifest"]
    told = json.loads((folder / "report.json").read_text())["payloads"]
    for payload, report in zip(manifest["payloads"], told, strict=True):
        assert payload["options"]["input"] == {
            "shape": [1, 5, 256], "dtype": "int16", "scale": 2.0**-9, "zero_point": 0,
        }  # fmt: skip
        assert payload["outputs"] == ["errors", "score"]
        assert payload["head"]["params"]["fitted"]["name"] == "error-streams"
        assert payload["golden"]["atol"] == payload["golden"]["rtol"] == 0
        assert payload["budget"]["fits"] and payload["budget"]["parts"]["arena"] < 7000
        assert payload["budget"]["parts"]["image"] < 40_000
        assert report["drift"]["rank_correlation"] > 0.97 and abs(report["drift"]["mean_shift"]) < 0.1
        assert any("16 bits" in d["text"] or "int16" in d["text"] for d in report["decisions"])
        assert not any("that target litert runs" in d["text"] for d in report["decisions"])


def test_a_board_is_flashed_verified_and_watched(folder: Path, board: str, tmp_path: Path, edge_ad) -> None:
    bundle, where = folder / "pump.edgead", ("--board", board, "--state", tmp_path)
    done = edge_ad("flash", bundle, *where, "--json")
    assert done.code == 0, done.err
    done = edge_ad("verify", bundle, *where, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["passed"] and json.loads(done.out)["worst_error"] == 0
    series, events = folder / "short.csv", tmp_path / "events.jsonl"
    done = edge_ad("run", bundle, *where, "--source", series, "--sink", f"jsonl:{events}", "--json")
    assert done.code == 0, done.err
    there = json.loads(done.out)
    assert there["gaps"] == 1 and there["frames"] == 7  # windows that lie on one side of the gap
    done = edge_ad("infer", bundle, *where, "--input", series, "--output", tmp_path / "y.npz", "--json")
    assert done.code == 0, done.err
    threshold = json.loads(done.out)["threshold"]
    with np.load(tmp_path / "y.npz") as held:
        assert held["errors"].shape == (7, 3, 5) and held["errors"].dtype == np.int32
        assert int((held["score"] > threshold).sum()) == there["anomalous"]
