"""`compile --keep`, whole: layers by name on several targets, and the search, which no label reaches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Run

LAYER = "student.conv3"
COMMON = ("--max-false-alarms", "0.1")


def _json(edge_ad: Run, *args: Any) -> dict[str, Any]:
    done = edge_ad("compile", *args, *COMMON, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_a_named_layer_stays_on_every_target_and_the_bundle_proves_itself(
    edge_ad: Run, model: Path, parts: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "kept.edgead"
    report = _json(
        edge_ad, model, "--target", "openvino-cpu", "--target", "jetson-orin", "--data", parts, "--keep", LAYER,
        "--keep", "difference", "--out", bundle,
    )  # fmt: skip
    kept = {payload["target"]: [d["text"] for d in payload["decisions"] if d["text"].startswith("Kept in")]
            for payload in report["payloads"]}  # fmt: skip
    assert kept.pop("jetson-orin-fp16") == []  # nothing is INT8 there
    assert set(kept) == {"openvino-cpu", "jetson-orin"}
    for target, lines in kept.items():
        assert len(lines) == 1 and f"{LAYER}, difference; all other layers are INT8" in lines[0], target
    assert all(payload["precision_plan"] is None for payload in report["payloads"])
    timing = {one["target"]: one for one in report["measurement"]}["openvino-cpu"]
    assert timing["int8_us"] > 0 and timing["price"] > 0
    done = edge_ad("verify", bundle, "--target", "openvino-cpu")
    assert done.code == 0, done.err


@pytest.mark.slow
def test_the_search_is_told_and_no_label_reaches_it(
    edge_ad: Run, model: Path, parts: Path, tmp_path: Path
) -> None:
    """The same plan, bit for bit, where good and bad test images are swapped."""
    swapped = tmp_path / "swapped"
    shutil.copytree(parts, swapped)
    kind = next(folder for folder in sorted((swapped / "test").iterdir()) if folder.name != "good")
    kind.rename(swapped / "held")
    (swapped / "test" / "good").rename(kind)
    (swapped / "held").rename(swapped / "test" / "good")
    for other in (swapped / "test").iterdir():
        if other.name not in ("good", kind.name):
            shutil.rmtree(other)
    shutil.rmtree(swapped / "ground_truth", ignore_errors=True)
    plans = {}
    for name, data in (("straight", parts), ("swapped", swapped)):
        report = _json(
            edge_ad, model, "--target", "openvino-cpu", "--data", data, "--keep", "auto", "--max-score-drift", "0.01",
            "--out", tmp_path / f"{name}.edgead",
        )  # fmt: skip
        plans[name] = report["payloads"][0]["precision_plan"]
        labelled = report["payloads"][0]["test"]["auroc_float"]["value"]
        plans[f"auroc {name}"] = labelled
    assert plans["straight"] == plans["swapped"]
    assert plans["auroc straight"] != plans["auroc swapped"]  # the labels did change
    plan = plans["straight"]
    assert plan["kept"] and plan["after"]["drift"] <= 0.01 < plan["before"]["drift"]
    assert {layer["name"] for layer in plan["layers"] if layer["kept"]} == set(plan["kept"])
    html = (tmp_path / "straight.html").read_text()
    assert "Layers in higher precision" in html and plan["kept"][0] in html


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--keep", "student.conv9"), "the network has no layer student.conv9; did you mean student.conv"),
        (("--keep", "auto", "--keep", LAYER), "--keep auto chooses by itself"),
        (("--max-score-drift", "0.1"), "a tolerance is for --keep auto"),
        (("--keep", LAYER, "--precision", "fp32"), "--keep is for int8 forms"),
    ],
)
def test_what_cannot_be_kept_is_one_line(
    edge_ad: Run, model: Path, parts: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = edge_ad("compile", model, "--target", "openvino-cpu", "--data", parts, *COMMON, "--out",
                   tmp_path / "x.edgead", *options)  # fmt: skip
    assert done.code == 2
    assert said in done.err and "Traceback" not in done.err
    assert not list(tmp_path.iterdir())


def test_a_board_computes_a_kept_layer_in_16_bits_and_proves_it(
    edge_ad: Run, model: Path, parts: Path, tmp_path: Path
) -> None:
    bundle, board = tmp_path / "kept.edgead", ("--board", "posix", "--state", tmp_path / "state")
    report = _json(
        edge_ad, model, "--target", "posix", "--target", "cortex-m4", "--data", parts, "--keep", LAYER,
        "--keep", "difference", "--out", bundle,
    )  # fmt: skip
    for payload in report["payloads"]:
        told = [d["text"] for d in payload["decisions"]]
        assert f"Kept in 16 bits as asked: {LAYER}, difference; all other layers are INT8." in told
        assert any(line.startswith(f"{LAYER} takes and gives int16, with weights of") for line in told)
    done = edge_ad("flash", bundle, "--target", "posix", *board)
    assert done.code == 0 and "agree to the bit" in done.out + done.err, done.err
    done = edge_ad("verify", bundle, "--target", "posix", *board)
    assert done.code == 0 and "worst difference 0" in done.out, done.err


@pytest.mark.slow
def test_a_board_keeps_what_the_search_finds(edge_ad: Run, model: Path, parts: Path, tmp_path: Path) -> None:
    report = _json(
        edge_ad, model, "--target", "cortex-m7", "--data", parts, "--keep", "auto", "--max-score-drift", "0.012",
        "--out", tmp_path / "auto.edgead",
    )  # fmt: skip
    (payload,) = report["payloads"]
    plan = payload["precision_plan"]
    assert plan["kept"] and plan["after"]["drift"] <= 0.012 < plan["before"]["drift"]
    assert {layer["name"] for layer in plan["layers"]} >= {*plan["kept"], "teacher.conv1", "difference"}
    told = [d["text"] for d in payload["decisions"]]
    assert f"Kept in 16 bits as asked: {', '.join(plan['kept'])}; all other layers are INT8." in told
