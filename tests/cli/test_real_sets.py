"""What INT8 costs on real images, through the command line; docs/results.md has the figures of `small`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["magnetic_tile", "kolektor_sdd", "elpv_poly", "deep_pcb"])
def test_int8_keeps_the_order_of_scores_and_the_false_alarms_that_were_asked_for(
    name: str, image_sets: Path, edge_ad, tmp_path: Path
) -> None:
    data, model = image_sets / name, tmp_path / "model"
    fitted = edge_ad("fit", "efficientad", "--preset", "tiny", "--steps", 400, "--data", data, "--out", model)
    assert fitted.code == 0, fitted.err
    done = edge_ad(
        "compile", model, "--target", "openvino-cpu", "--data", data, "--max-false-alarms", "0.05",
        "--out", tmp_path / "part.edgead", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    payload = json.loads(done.out)["payloads"][0]
    test = payload["test"]
    assert test["auroc_change"]["value"] >= -0.01
    assert test["auroc_compiled"]["value"] > 0.6  # random scores of 100 images reach that once in fifty times
    assert payload["drift"]["rank_correlation"] > 0.95
    alarms = test["false_alarms"]
    low, high = alarms["predicted"]
    assert alarms["within"] == (low <= alarms["recalibrated"]["rate"] <= high)
