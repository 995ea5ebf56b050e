"""From a .tflite file to events out of a board, by the commands of docs/microcontrollers.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board
from small_networks import dense

TARGETS = {"posix": "posix", "qemu:mps2-an386": "cortex-m4", "qemu:mps3-an547": "cortex-m55"}
N = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("boards")


@pytest.fixture(scope="module")
def pump(folder: Path, edge_ad) -> Path:
    """A bundle for three targets, with a threshold of normal rows."""
    (folder / "pump.tflite").write_bytes(dense((N, 8, N)))
    rng = np.random.default_rng(0)
    normals = rng.normal(0, 0.5, (200, N)).astype(np.float32)
    np.save(folder / "normals.npy", normals)
    strange = normals[20:30].copy()
    strange[[3, 7]] *= 12
    np.save(folder / "samples.npy", strange)
    done = edge_ad(
        "compile", folder / "pump.tflite", *(a for t in TARGETS.values() for a in ("--target", t)),
        "--data", folder / "normals.npy", "--max-false-alarms", "1%", "--out", folder / "pump.edgead", "--plan",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "equal LiteRT's reference kernels to the bit" in done.out
    assert "arena" in done.out and "budget  flash" in done.out
    return folder / "pump.edgead"


@pytest.fixture(params=TARGETS)
def board(request: pytest.FixtureRequest) -> str:
    return require_board(request.param)


def test_a_board_is_flashed_verified_and_watched(
    pump: Path, board: str, folder: Path, tmp_path: Path, edge_ad
) -> None:
    where = ("--board", board, "--state", tmp_path)
    early = edge_ad("run", pump, *where, "--source", folder / "samples.npy")
    assert early.code == 1 and "no model is live" in early.error and "edge-ad flash" in early.error

    done = edge_ad("flash", pump, *where, "--json")
    assert done.code == 0, done.err
    flashed = json.loads(done.out)
    assert flashed["slot"] == 0 and not flashed["already"]
    assert "was live already" in edge_ad("flash", pump, *where).out

    done = edge_ad("verify", pump, *where, "--json")
    assert done.code == 0, done.err
    verified = json.loads(done.out)
    assert verified["passed"] and verified["worst_error"] == 0 and verified["allowed"] == 0
    assert verified["engine"]["provider"] == board.removeprefix("qemu:")
    assert ("instructions" in verified["engine"]["details"]) == board.startswith("qemu:")

    events = tmp_path / "events.jsonl"
    done = edge_ad(
        "run",
        pump,
        *where,
        "--source",
        f"npy:{folder / 'samples.npy'}",
        "--sink",
        f"jsonl:{events}",
        "--json",
    )
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["frames"], summary["events"]) == (10, 2)
    new = [json.loads(line) for line in events.read_text().splitlines()]
    assert [event["sample"] for event in new if event["kind"] == "new"] == ["3", "7"]

    done = edge_ad(
        "infer", pump, *where, "--input", folder / "samples.npy", "--output", tmp_path / "y.npz", "--json"
    )
    assert done.code == 0, done.err
    results = np.load(tmp_path / "y.npz")
    assert results["output"].shape == (10, N) and results["output"].dtype == np.int8
    assert [n for n, s in enumerate(results["score"]) if s > json.loads(done.out)["threshold"]] == [3, 7]


def test_all_boards_give_the_same_bytes(pump: Path, folder: Path, tmp_path: Path, edge_ad) -> None:
    if missing := [
        t for t in ("make", "cc", "arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(t) is None
    ]:
        pytest.skip(f"needs {missing[0]} (scripts/setup.sh installs it)")
    got = set()
    for number, board in enumerate(TARGETS):
        where = ("--board", board, "--state", tmp_path)
        assert edge_ad("flash", pump, *where).code == 0
        out = tmp_path / f"{number}.npz"
        assert edge_ad("infer", pump, *where, "--input", folder / "samples.npy", "--output", out).code == 0
        got.add(out.read_bytes())
    assert len(got) == 1


def test_a_rollback_and_its_refusal(pump: Path, folder: Path, tmp_path: Path, edge_ad) -> None:
    where = ("--board", "posix", "--state", tmp_path)
    assert edge_ad("flash", pump, *where).code == 0
    nothing = edge_ad("flash", "--rollback", *where)
    assert nothing.code == 1 and "no earlier model to go back to" in nothing.error
    (folder / "other.tflite").write_bytes(dense((N, 4, N), seed=9))
    other = folder / "other.edgead"
    assert edge_ad("compile", folder / "other.tflite", "--target", "posix", "--out", other).code == 0
    assert edge_ad("flash", other, *where).code == 0
    assert "another model is live" in edge_ad("verify", pump, *where).error
    assert edge_ad("flash", "--rollback", *where).code == 0
    assert edge_ad("verify", pump, *where).code == 0
    without = edge_ad("run", other, *where, "--source", folder / "samples.npy")
    assert without.code == 1  # another is live


def test_a_bundle_without_normal_data_needs_a_threshold(
    folder: Path, pump: Path, tmp_path: Path, edge_ad
) -> None:
    bare = tmp_path / "bare.edgead"
    assert edge_ad("compile", folder / "pump.tflite", "--target", "posix", "--out", bare).code == 0
    assert "threshold none" in edge_ad("inspect", bare).out
    where = ("--board", "posix", "--state", tmp_path)
    assert edge_ad("flash", bare, *where).code == 0
    refused = edge_ad("run", bare, *where, "--source", folder / "samples.npy")
    assert refused.code == 2 and "has no threshold" in refused.error and "--threshold" in refused.error
    done = edge_ad("run", bare, *where, "--source", folder / "samples.npy", "--threshold", "1e9", "--json")
    assert done.code == 0 and json.loads(done.out)["events"] == 0


def test_what_cannot_be_is_one_line(pump: Path, folder: Path, tmp_path: Path, edge_ad) -> None:
    tflite = folder / "pump.tflite"
    cases = [
        (("flash", pump), 2, "say where to"),
        (("flash", pump, "--board", "qemu:nope"), 2, "unknown emulated board 'qemu:nope'"),
        (("flash", pump, "--board", "posix", "--port", "/dev/null"), 2, "say which board"),
        (("flash", pump, "--port", tmp_path / "ttyNOPE"), 1, "there is no such serial port"),
        (("verify", pump, "--target", "cortex-m4"), 2, "say which board"),
        (("compile", tflite, "--target", "posix"), 2, "say what to write"),
        (("compile", tflite, "--target", "openvino-cpu", "--out", tmp_path / "x.edgead"), 1, "does not take .tflite"),
        (("compile", tmp_path, "--target", "cortex-m4", "--out", tmp_path / "x.edgead"), 2, "needs --data"),
        (("compile", tmp_path, "--target", "openvino-cpu", "--emit-c", tmp_path), 2, "--emit-c writes for one board"),
        (("compile", tmp_path / "no.tflite", "--target", "posix", "--out", tmp_path / "x.edgead"), 1, "cannot be read"),
    ]  # fmt: skip
    for arguments, code, text in cases:
        done = edge_ad(*arguments)
        assert done.code == code and text in done.error, (arguments, done.err)
