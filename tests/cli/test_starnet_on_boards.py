"""STARNet on boards, by the command line: fit on scans, compile with likelihood regret as the score, flash, verify,
infer and run; both boards and this machine agree to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board

from edge_ad.data.scenes import make_scenes

BOARDS = {"posix": "posix", "qemu:mps2-an500": "cortex-m7"}
FLASH_AIM, RAM_AIM, INSTRUCTIONS_AIM = 256 << 10, 64 << 10, 60_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, edge_ad) -> Path:
    folder = tmp_path_factory.mktemp("starnet")
    data = make_scenes(
        folder / "data", 3, n_train=24, n_test_good=3, per_corruption=3, kinds=["crosstalk"], severities=["heavy"],
        sensor="32-beam",
    )  # fmt: skip
    done = edge_ad(
        "fit", "starnet", "--preset", "micro", "--score", "regret", "--data", data, "--out", folder / "model",
        "--steps", 80, "--threads", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    done = edge_ad(
        "compile", folder / "model", *(a for t in BOARDS.values() for a in ("--target", t)), "--data", data,
        "--max-false-alarms", "20%", "--out", folder / "lidar.edgead", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    (folder / "report.json").write_text(done.out)
    return folder


@pytest.fixture(scope="module", params=BOARDS)
def board(request: pytest.FixtureRequest) -> str:
    return require_board(request.param)


def test_the_bundle_is_within_its_aim(folder: Path, edge_ad) -> None:
    manifest = json.loads(edge_ad("inspect", folder / "lidar.edgead", "--json").out)["manifest"]
    for payload in manifest["payloads"]:
        assert payload["outputs"] == ["neg_elbo", "kl", "regret", "mahalanobis", "score"]
        fitted = payload["head"]["params"]["fitted"]["params"]
        assert fitted["score"] == "regret" and fitted["stop_at"] > fitted["ranges"]["regret"][1]
        assert payload["options"]["input"]["shape"] == [1, 5, 16, 32]
        assert any("25 steps of four passes" in text for text in payload["decisions"])
    board = manifest["payloads"][1]
    assert board["budget"]["flash_bytes"] < FLASH_AIM and board["budget"]["ram_bytes"] < RAM_AIM
    assert board["budget"]["parameters"] > 30_000
    for told in json.loads((folder / "report.json").read_text())["payloads"]:
        assert told["drift"]["rank_correlation"] > 0.95
        float_, compiled = (told["thresholds"][key]["value"] for key in ("float", "compiled"))
        assert compiled == pytest.approx(float_, rel=0.05, abs=0.05)


def test_a_board_is_flashed_verified_and_judges_scans(
    folder: Path, board: str, tmp_path: Path, edge_ad
) -> None:
    bundle, where = folder / "lidar.edgead", ("--board", board, "--state", tmp_path)
    assert edge_ad("flash", bundle, *where).code == 0
    done = edge_ad("verify", bundle, *where, "--json")
    assert done.code == 0, done.err
    verified = json.loads(done.out)
    assert verified["passed"] and verified["worst_error"] == 0
    if board.startswith("qemu"):
        assert 0 < int(verified["engine"]["details"]["instructions"]) < INSTRUCTIONS_AIM
    scans = folder / "data" / "test"
    done = edge_ad("infer", bundle, *where, "--input", scans, "--output", tmp_path / "y.npz", "--json")
    assert done.code == 0, done.err
    with np.load(tmp_path / "y.npz") as held:
        figures = {name: held[name].ravel().tolist() for name in ("neg_elbo", "kl", "regret", "mahalanobis")}
        scores = held["score"].tolist()
    assert len(scores) == 6 and min(figures["regret"]) >= 0
    kept = folder / "figures.json"
    if kept.exists():
        assert json.loads(kept.read_text()) == {**figures, "score": scores}, "the boards differ"
    kept.write_text(json.dumps({**figures, "score": scores}))
    done = edge_ad("run", bundle, *where, "--source", scans, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    threshold = json.loads((folder / "report.json").read_text())["payloads"][0]["thresholds"]["compiled"][
        "value"
    ]
    assert summary["anomalous"] == sum(score > threshold for score in scores)
