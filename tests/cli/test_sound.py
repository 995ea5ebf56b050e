"""From recordings to alarms: generate, fit, compile for boards and Linux, verify, run on raw samples."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board

from edge_ad.data.sample_sounds import make_sounds, wav

TARGETS = {"posix": "posix", "qemu:mps2-an386": "cortex-m4"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, edge_ad) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    data = make_sounds(folder / "motor", 1, n_train=12, n_test=1, seconds=1.2)
    done = edge_ad(
        "fit", "autoencoder", "--preset", "micro", "--features", "log-mel", "--rate-hz", 16000, "--data", data, "--out",
        folder / "model", "--steps", 400, "--threads", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    wanted = (*TARGETS.values(), "openvino-cpu")
    done = edge_ad(
        "compile", folder / "model", *(a for t in wanted for a in ("--target", t)), "--data", data,
        "--max-false-alarms", "2%", "--out", folder / "motor.edgead", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    (folder / "report.json").write_text(done.out)
    return folder


@pytest.fixture(params=TARGETS)
def board(request: pytest.FixtureRequest) -> str:
    return require_board(request.param)


def test_boards_take_samples_and_linux_features_of_them(folder: Path, edge_ad) -> None:
    report = json.loads((folder / "report.json").read_text())
    done = edge_ad("inspect", folder / "motor.edgead", "--json")
    manifest = json.loads(done.out)["manifest"]
    assert (
        manifest["input"]["shape"] == [1, 40, 5]
        and manifest["input"]["preprocess"]["name"] == "series/log-mel"
    )
    assert manifest["input"]["window"] == {"length": 1536, "hop": 256, "rate_hz": 16000, "channels": ["c0"]}
    *boards, linux = manifest["payloads"]
    assert "input" not in linux
    for payload in boards:
        assert payload["input"]["shape"] == [1, 1536]
        assert payload["options"]["input"] == {
            "shape": [1, 1536],
            "dtype": "int16",
            "scale": 2**-15,
            "zero_point": 0,
        }
        assert payload["budget"]["fits"]
    for payload in report["payloads"]:
        assert payload["drift"]["rank_correlation"] > 0.98 and abs(payload["drift"]["mean_shift"]) < 0.1
        assert (
            payload["test"]["auroc_compiled"]["value"] > payload["test"]["auroc_float"]["value"] - 0.01 > 0.85
        )
    assert "takes (1, 1536), series/samples" in edge_ad("inspect", folder / "motor.edgead").out


def test_a_board_hears_what_linux_hears(folder: Path, board: str, tmp_path: Path, edge_ad) -> None:
    bundle, where = folder / "motor.edgead", ("--board", board, "--state", tmp_path)
    done = edge_ad("flash", bundle, *where)
    assert done.code == 0, done.err
    done = edge_ad("verify", bundle, *where, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["worst_error"] == 0
    short = tmp_path / "short.wav"
    _first_samples(folder / "motor" / "test" / "squeal" / "000.wav", short, 4600)
    scores = {}
    for name, options in ((board, where), ("linux", ("--target", "openvino-cpu"))):
        done = edge_ad("infer", bundle, *options, "--input", short, "--output", tmp_path / "y.npz", "--json")
        assert done.code == 0, done.err
        scores[name] = np.array(json.loads(done.out)["scores"])
    assert len(scores["linux"]) == (4600 - 1536) // 256 + 1
    np.testing.assert_allclose(scores[board], scores["linux"], rtol=0.05)
    events = tmp_path / "events.jsonl"
    done = edge_ad("run", bundle, *where, "--source", short, "--sink", f"jsonl:{events}", "--json")
    assert done.code == 0, done.err
    there = json.loads(done.out)
    assert there["frames"] == len(scores[board]) and there["events"] > 0
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert told[0]["kind"] == "new" and told[0]["score"] == pytest.approx(scores[board].max(), rel=0.5)


def _first_samples(source: Path, out: Path, n: int) -> None:
    """Boards are slow: the first samples of a recording."""
    with wave.open(str(source)) as held, wave.open(str(out), "wb") as short:
        short.setparams(held.getparams())
        short.writeframes(held.readframes(n))


def test_a_folder_of_recordings_is_watched_on_linux(folder: Path, tmp_path: Path, edge_ad) -> None:
    done = edge_ad(
        "flash", folder / "motor.edgead", "--target", "openvino-cpu", "--to", f"dir:{tmp_path / 'box'}"
    )
    assert done.code == 0, done.err
    counts = {}
    for kind in ("good", "squeal", "slip"):
        events = tmp_path / f"{kind}.jsonl"
        done = edge_ad(
            "run", f"dir:{tmp_path / 'box'}", "--source", folder / "motor" / "test" / kind, "--sink", f"jsonl:{events}",
            "--json",
        )  # fmt: skip
        assert done.code == 0, done.err
        told = json.loads(done.out)
        counts[kind] = told["anomalous"] / told["frames"]
    assert counts["good"] < 0.2 < 0.8 < counts["squeal"] and counts["slip"] > 0.8


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--bands", 20], 2, "--bands is of log-mel features; give --features log-mel too"),
        (["--features", "log-mel", "--window", 3], 2, "--window is of vectors; leave it out"),
        (["--features", "log-mel", "--frame", 1000], 2, "1000 samples: there are 64, 128"),
        ([], 1, "one channel"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(
    folder: Path, options: list[object], code: int, message: str, tmp_path: Path, edge_ad
) -> None:
    done = edge_ad("fit", "autoencoder", *options, "--data", folder / "motor", "--out", tmp_path / "m")
    assert done.code == code and message in done.error


def test_a_recording_at_another_rate_is_refused(folder: Path, tmp_path: Path, edge_ad) -> None:
    (tmp_path / "x.wav").write_bytes(wav(np.zeros(9000, np.int16), 44100))
    done = edge_ad("run", folder / "motor.edgead", "--target", "openvino-cpu", "--source", tmp_path / "x.wav")
    assert (
        done.code == 1
        and "44100 samples a second, the detector was fitted at 16000; resample it" in done.error
    )
