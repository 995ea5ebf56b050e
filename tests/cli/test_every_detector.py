"""Whoever has learnt one detector has learnt all: fit, compile, inspect, flash, run, infer and verify, on generated
images, scans and series."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_ad.data.sample_series import CHANNELS, make_series
from edge_ad.data.samples import make_parts
from edge_ad.data.scenes import make_scenes


@dataclass(frozen=True)
class Case:
    """A data set, the bundle made of it, and what `compile --json` printed."""

    detector: str
    data: Path
    model: Path
    bundle: Path
    report: dict


def _data(detector: str, folder: Path) -> Path:
    if detector == "fader":
        return make_parts(folder, 5, size=96, n_train=48, n_test_good=6, n_defective=6)
    if detector == "starnet":
        return make_scenes(
            folder, 3, n_train=32, n_test_good=6, per_corruption=6, kinds=["beam-missing", "crosstalk"],
            severities=["heavy"], sensor="32-beam",
        )  # fmt: skip
    return make_series(folder, 4, n_train=9000, n_test=1500)


@pytest.fixture(scope="module", params=["fader", "starnet", "tspulse"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, edge_ad) -> Case:
    detector = request.param
    folder = tmp_path_factory.mktemp(detector)
    data, model, bundle = _data(detector, folder / "data"), folder / "model", folder / "b.edgead"
    done = edge_ad(
        "fit", detector, "--preset", "micro", "--data", data, "--out", model, "--steps", 60, "--threads", 1
    )
    assert done.code == 0, done.err
    assert f"fitted {detector} micro on" in done.out and "set aside:" in done.out
    done = edge_ad(
        "compile", model, "--target", "openvino-cpu", "--data", data, "--max-false-alarms", "0.15", "--out", bundle,
        "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    return Case(detector, data, model, bundle, json.loads(done.out))


def test_the_report_has_the_figures_of_its_modality(case: Case) -> None:
    data, payload = case.report["data"], case.report["payloads"][0]
    assert data["noun"] == {"fader": "image", "starnet": "scan", "tspulse": "window"}[case.detector]
    assert payload["precision"] == "int8" and payload["parity"]["worst"] <= payload["parity"]["allowed"]
    assert payload["drift"]["n"] == data["threshold"] == payload["thresholds"]["compiled"]["n"]
    test = payload["test"]
    assert test["n_normal"] + test["n_anomalous"] == data["test_good"] + data["test_anomalous"]
    assert set(test["kinds"]) == set(data["test_kinds"]) and test["auroc_compiled"] is not None
    if case.detector == "fader":
        assert test["aupro_compiled"] is not None and test["series_compiled"] is None
    if case.detector == "tspulse":
        assert 0 < test["series_compiled"]["vus_pr"] <= 1 and 0 < test["series_float"]["pate"] <= 1
        assert test["series_compiled"]["n_series"] == 6 and test["aupro_compiled"] is None
    html = case.bundle.with_suffix(".html").read_text()
    assert f"held-back {'good' if case.detector == 'fader' else 'normal'} {data['noun']}s" in html


def test_inspect_names_what_a_bundle_takes(case: Case, edge_ad) -> None:
    done = edge_ad("inspect", case.bundle, "--json")
    manifest = json.loads(done.out)["manifest"]
    assert manifest["detector"]["name"] == case.detector
    given = manifest["input"]
    if case.detector == "starnet":
        assert given["modality"] == "scan" and given["preprocess"]["name"] == "scan/range-image"
        assert given["preprocess"]["params"]["rings"] == 32
        payload = manifest["payloads"][0]
        assert set(payload["parts"]) == {"decoder"} and payload["parts"]["decoder"] in payload["files"]
        assert payload["head"]["params"]["score"] in case.report["payloads"][0]["decisions"][-3][
            "text"
        ] or any(
            f"'{payload['head']['params']['score']}'" in d["text"]
            for d in case.report["payloads"][0]["decisions"]
        )
    if case.detector == "tspulse":
        assert given["window"] == {"channels": list(CHANNELS), "hop": 16, "length": 256, "rate_hz": 10.0}
    assert edge_ad("inspect", case.bundle).code == 0


def test_flash_run_infer_and_verify(case: Case, edge_ad, tmp_path: Path) -> None:
    live, log = f"dir:{tmp_path / 'live'}", tmp_path / "events.jsonl"
    assert edge_ad("flash", case.bundle, "--to", live).code == 0
    assert edge_ad("verify", live).code == 0
    source = case.data / "test"
    done = edge_ad(
        "run", live, "--source", source, "--sink", f"jsonl:{log}", "--threshold", "-1000", "--json"
    )
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    test = case.report["payloads"][0]["test"]
    assert summary["frames"] == summary["anomalous"] == test["n_normal"] + test["n_anomalous"]
    assert summary["unreadable"] == summary["dropped"] == 0
    where = json.loads(log.read_text().splitlines()[0])["where"]
    if case.detector == "fader":
        assert len(where["box"]) == 4
    elif case.detector == "starnet":
        low, high = where["azimuth_deg"]
        assert high - low == pytest.approx(360 / 32, abs=0.02) and len(where["elevation_deg"]) == 2
    else:
        assert where["channel"] in CHANNELS
    done = edge_ad("infer", live, "--input", source, "--output", tmp_path / "o.npz", "--json")
    assert done.code == 0, done.err
    scores = json.loads(done.out)["scores"]
    assert len(scores) == summary["frames"]
    with np.load(tmp_path / "o.npz") as arrays:
        np.testing.assert_allclose(arrays["score"], scores)
        if case.detector == "starnet":
            assert {"mahalanobis", "kl", "neg_elbo"} <= set(arrays)


def test_two_compiles_give_the_same_bundle(case: Case, edge_ad, tmp_path: Path) -> None:
    again = tmp_path / "b.edgead"
    done = edge_ad(
        "compile", case.model, "--target", "openvino-cpu", "--data", case.data, "--max-false-alarms", "0.15",
        "--out", again, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["bundle"]["digest"] == case.report["bundle"]["digest"]


@pytest.mark.parametrize("other", ["fader", "starnet", "tspulse"])
def test_data_of_another_modality_is_refused_by_name(case: Case, other: str, edge_ad, tmp_path: Path) -> None:
    if other == case.detector:
        pytest.skip("its own data")
    held = {"fader": "images", "starnet": "scans", "tspulse": "series"}[case.detector]
    done = edge_ad("fit", other, "--preset", "micro", "--data", case.data, "--out", tmp_path / "m")
    assert done.code == 1
    assert "train/good" in done.error and (held in done.error or "holds no" in done.error)
    assert not (tmp_path / "m" / "model.json").exists()


def test_verdicts_that_would_not_hold_are_uncertain(case: Case, edge_ad, tmp_path: Path) -> None:
    if case.detector != "tspulse":
        pytest.skip("one detector is enough: the band lies behind the score")
    bundle, log = tmp_path / "r.edgead", tmp_path / "events.jsonl"
    compile_ = ("compile", case.model, "--target", "openvino-cpu", "--data", case.data, "--out", bundle)
    done = edge_ad(*compile_, "--max-false-alarms", "0.02", "--reject", "0.99")
    assert done.code == 3 and "no score, however high, is anomalous" in done.error and not bundle.exists()
    assert edge_ad(*compile_, "--max-false-alarms", "0.15", "--reject", "0.9").code == 0
    done = edge_ad("inspect", bundle, "--json")
    thresholds = json.loads(done.out)["manifest"]["payloads"][0]["thresholds"]
    band = thresholds["rejection"]
    assert band["lower"] <= thresholds["compiled"]["value"] <= band["upper"] and band["stability"] == 0.9
    assert "uncertain above" in edge_ad("inspect", bundle).out
    done = edge_ad("run", bundle, "--source", case.data / "test", "--sink", f"jsonl:{log}", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["uncertain"] > 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {e["verdict"] for e in events} <= {"anomalous", "uncertain"}
    assert all(e["band"] == [band["lower"], band["upper"]] for e in events)
