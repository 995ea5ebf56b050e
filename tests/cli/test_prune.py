"""edge-ad prune: a pruned model through the whole chain, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run


@pytest.fixture(scope="module")
def pruned(
    model: Path, parts: Path, edge_ad: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("prune") / "half"
    done = edge_ad(
        "prune", model, "--data", parts, "--macs", "50%", "--steps", 30, "--threads", 1, "--target", "posix",
        "--out", out, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    return out, json.loads(done.out)


def test_a_pruned_model_is_compiled_flashed_and_verified(
    pruned: tuple[Path, dict], parts: Path, edge_ad: Run, tmp_path: Path
) -> None:
    folder, told = pruned
    assert told["macs"][1] <= 0.51 * told["macs"][0]
    assert told["target"]["flash_bytes"][1] < told["target"]["flash_bytes"][0]
    bundle = tmp_path / "half.edgead"
    done = edge_ad(
        "compile", folder, "--target", "openvino-cpu", "--target", "posix", "--data", parts,
        "--max-false-alarms", "0.1", "--out", bundle, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    decisions = json.loads(done.out)["payloads"][0]["decisions"]
    assert any(
        d["stage"] == "prune" and f"{told['parameters'][1]:,} parameters" in d["text"] for d in decisions
    )
    manifest = json.loads(edge_ad("inspect", bundle, "--json").out)["manifest"]
    assert manifest["detector"]["fit"]["pruned"]["macs_after"] == told["macs"][1]
    assert len(manifest["detector"]["fit"]["pruned"]["from_sha256"]) == 64
    where = ("--board", "posix", "--state", tmp_path / "state")
    assert edge_ad("flash", bundle, *where).code == 0
    assert edge_ad("verify", bundle, *where).code == 0  # golden vectors, to the bit
    assert edge_ad("verify", bundle, "--target", "openvino-cpu").code == 0


def test_it_refuses_before_any_work(
    pruned: tuple[Path, dict], model: Path, parts: Path, edge_ad: Run
) -> None:
    done = edge_ad("prune", model, "--data", parts, "--macs", "0.5", "--out", pruned[0])
    assert (done.code, done.err.count("\n")) == (2, 1) and "holds a model already" in done.err
    done = edge_ad("prune", model, "--data", parts, "--macs", "0.5", "--out", model)
    assert done.code == 2 and "is the model itself" in done.err
    assert edge_ad("prune", model, "--data", parts, "--macs", "1.5", "--out", model).code == 2
