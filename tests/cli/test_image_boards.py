"""EfficientAD and FADeR on boards: fit, compile, flash, verify, run and infer, frames coming over the link."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board
from image_chains import first_layers

from edge_ad.data.samples import make_parts

TARGETS = {"posix": "posix", "qemu:mps2-an500": "cortex-m7", "qemu:mps3-an547": "cortex-m55"}
FLASH, MEMORY = 256 << 10, 128 << 10  # what EfficientAD `micro` may need in all


@dataclass(frozen=True)
class Case:
    detector: str
    data: Path
    model: Path
    bundle: Path
    report: dict


@pytest.fixture(scope="module", params=["efficientad", pytest.param("fader", marks=pytest.mark.slow)])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, edge_ad) -> Case:
    detector, folder = request.param, tmp_path_factory.mktemp(request.param)
    data, model = (
        make_parts(folder / "data", 5, size=96, n_train=40, n_test_good=3, n_defective=3),
        folder / "model",
    )
    done = edge_ad(
        "fit", detector, "--preset", "micro", "--data", data, "--out", model, "--steps", 40, "--threads", 1
    )
    assert done.code == 0, done.err
    done = edge_ad(
        "compile", model, *(a for t in TARGETS.values() for a in ("--target", t)), "--data", data,
        "--max-false-alarms", "0.2", "--out", folder / "part.edgead", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    return Case(detector, data, model, folder / "part.edgead", json.loads(done.out))


@pytest.fixture(params=["posix", "qemu:mps2-an500", pytest.param("qemu:mps3-an547", marks=pytest.mark.slow)])
def board(request: pytest.FixtureRequest) -> str:
    return require_board(request.param)


def test_the_payloads_are_small_and_near_the_float_detector(case: Case, edge_ad) -> None:
    manifest = json.loads(edge_ad("inspect", case.bundle, "--json").out)["manifest"]
    for payload, told in zip(manifest["payloads"], case.report["payloads"], strict=True):
        assert payload["options"]["input"] == {
            "shape": [1, 3, 64, 64],
            "dtype": "uint8",
            "scale": 1,
            "zero_point": 0,
        }
        assert payload["options"]["outputs"]["score"]["dtype"] == "int32"
        assert (payload["head"]["name"], payload["head"]["params"]["fitted"]["name"]) == ("value", "map-max")
        assert (payload["golden"]["atol"], payload["golden"]["rtol"]) == (0, 0)
        assert told["drift"]["rank_correlation"] > 0.6  # of ten images, after a few steps
        assert any("rows at a time" in decision["text"] for decision in told["decisions"])
        if case.detector == "efficientad" and payload["target"] != "posix":
            assert payload["budget"]["flash_bytes"] < FLASH and payload["budget"]["ram_bytes"] < MEMORY
    scores = {json.dumps(payload["thresholds"], sort_keys=True) for payload in manifest["payloads"]}
    assert len(scores) == 1  # the same integers on every board


def test_a_board_is_flashed_verified_and_watched(case: Case, board: str, tmp_path: Path, edge_ad) -> None:
    where = ("--board", board, "--state", tmp_path)
    assert edge_ad("flash", case.bundle, *where).code == 0
    done = edge_ad("verify", case.bundle, *where, "--json")
    assert done.code == 0, done.err
    verified = json.loads(done.out)
    assert verified["passed"] and verified["worst_error"] == verified["allowed"] == 0

    events, source = tmp_path / "events.jsonl", case.data / "test"
    done = edge_ad("run", case.bundle, *where, "--source", source, "--sink", f"jsonl:{events}", "--threshold",
                   "-1000", "--json")  # fmt: skip
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    test = case.report["payloads"][0]["test"]
    assert summary["frames"] == summary["anomalous"] == test["n_normal"] + test["n_anomalous"]
    assert summary["events"] > 0 and "score" in json.loads(events.read_text().splitlines()[0])
    done = edge_ad("infer", case.bundle, *where, "--input", source, "--output", tmp_path / "y.npz", "--json")
    assert done.code == 0, done.err
    with np.load(tmp_path / "y.npz") as held:
        outputs = {"score", "maps"} if case.detector == "efficientad" else {"score"}
        assert outputs <= set(held) and len(held["score"]) == summary["frames"]
        if case.detector == "efficientad":
            assert held["maps"].shape[1:] == (1, 8, 8) and held["maps"].dtype == np.int32


def test_stripes_can_be_switched_off(tmp_path: Path, edge_ad) -> None:
    """Also for any .tflite file; what they change is said."""
    network = tmp_path / "layers.tflite"
    network.write_bytes(first_layers())
    arenas = []
    for name, options in (("cut", ()), ("whole", ("--no-stripes",))):
        done = edge_ad(
            "compile", network, "--target", "cortex-m7", *options, "--out", tmp_path / f"{name}.edgead"
        )
        assert done.code == 0, done.err
        assert ("Activations are made a few rows at a time: an arena of" in done.out) == (name == "cut")
        manifest = json.loads(edge_ad("inspect", tmp_path / f"{name}.edgead", "--json").out)["manifest"]
        arenas.append(manifest["payloads"][0]["budget"]["parts"]["arena"])
    assert arenas[0] < 0.5 * arenas[1]
    done = edge_ad(
        "compile", network, "--target", "openvino-cpu", "--no-stripes", "--out", tmp_path / "x.edgead"
    )
    assert done.code == 2
    assert "--no-stripes is for microcontroller targets, openvino-cpu is none" in done.error
