"""A detector fitted here runs on boards: fit, compile for several of them and Linux, flash, verify, infer, run."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board

from edge_ad.data.sample_series import make_series
from edge_ad.firmware_bridge.port_spec import port_spec

TARGETS = {
    "posix": "posix", "qemu:mps2-an386": "cortex-m4", "qemu:mps2-an500": "cortex-m7", "qemu:mps3-an547": "cortex-m55",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, edge_ad) -> Path:
    """A fitted model and its bundle for all boards and for Linux."""
    folder = tmp_path_factory.mktemp("fitted")
    data = make_series(folder / "data", 4, n_train=3000, n_test=1200)
    _cut(next((data / "test").glob("shift/*.csv")), folder / "short.csv")
    done = edge_ad(
        "fit", "autoencoder", "--preset", "micro", "--window", 8, "--data", data, "--out", folder / "model", "--steps",
        300, "--threads", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "fitted autoencoder micro on" in done.out
    wanted = ("openvino-cpu", *TARGETS.values())
    done = edge_ad(
        "compile", folder / "model", *(a for t in wanted for a in ("--target", t)), "--data", data,
        "--max-false-alarms", "1%", "--out", folder / "pump.edgead", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    (folder / "report.json").write_text(done.out)
    return folder


def _cut(series: Path, short: Path) -> None:
    """The header, and the rows around the beginning of the first anomaly: boards are slow."""
    header, *rows = series.read_text().splitlines()
    labels = [row.split(",")[header.split(",").index("label")] for row in rows]
    first = labels.index("1")
    short.write_text("\n".join([header, *rows[first - 25 : first + 25]]) + "\n")


@pytest.fixture(params=TARGETS)
def board(request: pytest.FixtureRequest) -> str:
    return require_board(request.param)


def test_each_payload_has_its_own_threshold_drift_and_budget(folder: Path, edge_ad) -> None:
    report = json.loads((folder / "report.json").read_text())
    payloads = {p["target"]: p for p in report["payloads"]}
    assert list(payloads) == ["openvino-cpu", *TARGETS.values()]
    assert [m["target"] for m in report["measurement"]] == ["openvino-cpu"]  # no board was timed
    manifest = json.loads(edge_ad("inspect", folder / "pump.edgead", "--json").out)["manifest"]
    linux, *boards = manifest["payloads"]
    assert (linux["head"]["name"], linux["outputs"]) == ("mean-error", ["reconstruction", "errors"])
    for held in boards:
        told = payloads[held["target"]]
        assert (held["head"]["name"], held["head"]["params"]["output"]) == ("value", "score")
        assert held["head"]["params"]["fitted"]["name"] == "mean-error"
        assert held["outputs"] == ["reconstruction", "score"] == list(held["options"]["outputs"])
        assert held["options"]["input"]["shape"] == [1, 5, 8] and held["options"]["input"]["dtype"] == "int16"
        assert held["options"]["outputs"]["score"]["dtype"] == "int32"
        assert (held["golden"]["atol"], held["golden"]["rtol"]) == (0, 0)
        assert held["budget"]["fits"] and held["budget"]["parts"]["arena"] < 1000
        assert told["drift"]["rank_correlation"] > 0.98 and abs(told["drift"]["mean_shift"]) < 0.1
        float_, compiled = (held["thresholds"][key]["value"] for key in ("float", "compiled"))
        assert compiled == pytest.approx(float_, rel=0.1) and held["thresholds"] == boards[0]["thresholds"]
        assert told["test"]["auroc_compiled"]["value"] > told["test"]["auroc_float"]["value"] - 0.02
        assert any("definitions" in d["text"] for d in told["decisions"])
    assert {tuple(d for d in held["decisions"] if "kernel set" in d) for held in boards[1:3]} == {
        ("Weights packed for the kernel set 'dsp'; 8 operators.",)
    }


def test_a_board_is_flashed_verified_and_watched(folder: Path, board: str, tmp_path: Path, edge_ad) -> None:
    bundle, where = folder / "pump.edgead", ("--board", board, "--state", tmp_path)
    done = edge_ad("flash", bundle, *where, "--json")
    assert done.code == 0, done.err
    done = edge_ad("verify", bundle, *where, "--json")
    assert done.code == 0, done.err
    verified = json.loads(done.out)
    assert verified["passed"] and verified["worst_error"] == 0 and verified["allowed"] == 0

    series = folder / "short.csv"
    events = tmp_path / "events.jsonl"
    done = edge_ad("run", bundle, *where, "--source", series, "--sink", f"jsonl:{events}", "--json")
    assert done.code == 0, done.err
    there = json.loads(done.out)
    assert there["events"] > 0
    done = edge_ad("infer", bundle, *where, "--input", series, "--output", tmp_path / "y.npz", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    with np.load(tmp_path / "y.npz") as held:
        assert held["reconstruction"].shape == (there["frames"], 40)
        assert held["reconstruction"].dtype == np.int8
        assert int((held["score"] > told["threshold"]).sum()) == there["anomalous"]
        scores = held["score"]
    done = edge_ad(
        "infer",
        bundle,
        "--target",
        "openvino-cpu",
        "--input",
        series,
        "--output",
        tmp_path / "l.npz",
        "--json",
    )
    assert done.code == 0, done.err
    linux = np.array(json.loads(done.out)["scores"])
    assert np.corrcoef(np.argsort(np.argsort(scores)), np.argsort(np.argsort(linux)))[0, 1] > 0.98


def test_c_sources_for_own_firmware_decide_as_the_board_does(folder: Path, tmp_path: Path, edge_ad) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (apt-get install gcc)")
    sources = tmp_path / "lib"
    done = edge_ad(
        "compile", folder / "model", "--target", "posix", "--data", folder / "data", "--max-false-alarms", "1%",
        "--out", tmp_path / "own.edgead", "--emit-c", sources, "--plan",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert (
        "posix: plan of the arena" in done.out and "squared_error" in done.out and "budget  flash" in done.out
    )
    (tmp_path / "main.c").write_text(_MAIN)
    program, files = tmp_path / "program", sorted(map(str, sources.rglob("*.c")))
    command = [
        "cc",
        "-std=c11",
        "-Wall",
        "-Werror",
        f"-I{sources}",
        str(tmp_path / "main.c"),
        *files,
        "-o",
        program,
    ]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(
        folder / "pump.edgead"
    ) as bundle:  # the same model, and the same inputs to prove it by
        held = np.load(io.BytesIO(bundle.read("golden/posix.npz")))
        manifest = json.loads(bundle.read("manifest.json"))
    payload = next(p for p in manifest["payloads"] if p["target"] == "posix")
    port = payload["options"]["input"]
    integers = port_spec(port).quantize(held["input"])
    ran = subprocess.run([program], input=port_spec(port).raw(integers), capture_output=True, check=True)
    scores, verdicts = np.frombuffer(ran.stdout, np.int32).reshape(-1, 2).T
    np.testing.assert_array_equal(scores, held["output.score"].ravel())
    limit = payload["thresholds"]["compiled"]["value"]
    assert verdicts.tolist() == (held["score"] > limit).tolist() and 0 < verdicts.sum() < len(verdicts)


_MAIN = """
#include "model.h"
#include <stdio.h>
_Alignas(EDGE_ALIGNMENT) static uint8_t arena[MODEL_ARENA_BYTES];
int main(void)
{
    edge_model model;
    if (edge_load(&model, model_image, MODEL_IMAGE_BYTES, arena, MODEL_ARENA_BYTES) != EDGE_OK)
        return 2;
    while (fread(edge_input(&model, 0), 1, MODEL_INPUT_BYTES, stdin) == MODEL_INPUT_BYTES) {
        edge_invoke(&model);
        const int32_t score = *(const int32_t *)edge_output(&model, 1), told[2] = {score, score > MODEL_THRESHOLD};
        fwrite(told, sizeof told, 1, stdout);
    }
    return 0;
}
"""


def test_what_boards_do_not_take_is_one_line(folder: Path, tmp_path: Path, edge_ad) -> None:
    model, out = folder / "model", ("--out", tmp_path / "x.edgead")
    data = ("--data", folder / "data", "--max-false-alarms", "1%")
    cases = [
        (("compile", model, "--target", "posix", *data, *out, "--head", "mse"), 2, "--head is for .tflite files"),
        (("compile", model, "--target", "posix", *data, *out, "--precision", "fp16"), 1, "'posix' has no fp16"),
        (("compile", model, "--target", "posix", "--target", "cortex-m4", *data, *out, "--emit-c", tmp_path / "c"), 2,
         "--emit-c writes for one board"),
        (("compile", model, "--target", "litert", *data, *out, "--plan"), 2, "--plan is for boards"),
        (("fit", "autoencoder", "--window", 3000, *data[:2], "--out", tmp_path / "m"), 1, "for windows of 3000 rows"),
    ]  # fmt: skip
    for arguments, code, text in cases:
        done = edge_ad(*arguments)
        assert done.code == code and text in done.error, (arguments, done.err)


@pytest.mark.parametrize("board", ["posix", "qemu:mps2-an500"], indirect=True)
def test_a_board_judges_by_itself_and_sends_events_only(
    folder: Path, board: str, tmp_path: Path, edge_ad
) -> None:
    bundle, where = folder / "pump.edgead", ("--board", board, "--state", tmp_path)
    done = edge_ad("board", "watch", bundle, *where)
    assert done.code == 1 and "put this one on it first" in done.error
    assert edge_ad("flash", bundle, *where).code == 0
    done = edge_ad("board", "watch", bundle, *where, "--release", 2)
    assert done.code == 0, done.err
    assert "'pump' is watched" in done.out

    series = folder / "short.csv"
    fed = edge_ad("board", "feed", bundle, *where, "--source", series)
    assert fed.code == 0, fed.err
    there = [json.loads(line) for line in fed.out.splitlines()]
    events = tmp_path / "events.jsonl"
    done = edge_ad(
        "run", bundle, *where, "--source", series, "--sink", f"jsonl:{events}", "--release", 2, "--json"
    )
    here = [json.loads(line) for line in events.read_text().splitlines()]
    # Host and board standardise rows in another precision: a score may be off by a step.
    story = [
        (e["kind"], e["verdict"], e["event_id"].rsplit("-", 1)[1]) for e in here if e["kind"] != "update"
    ]
    assert [
        (e["kind"], e["verdict"], e["event_id"].rsplit("-", 1)[1]) for e in there if e["kind"] != "update"
    ][: len(story)] == story[: len(there)] and len(story) >= 1
    assert there[0]["score"] == pytest.approx(here[0]["score"], rel=0.05)
    assert {(e["stream"], e["bundle"]) for e in there} == {("pump", here[0]["bundle"])}
    assert there[0]["threshold"] == pytest.approx(here[0]["threshold"], rel=1e-6)


def test_the_threshold_of_a_board_is_set_within_what_the_bundle_allows_and_stays(
    folder: Path, tmp_path: Path, edge_ad
) -> None:
    bundle, where = folder / "pump.edgead", ("--board", "posix", "--state", tmp_path)
    assert edge_ad("flash", bundle, *where).code == 0
    assert edge_ad("board", "watch", bundle, *where, "--stream", "press-1", "--k", 2, "--n", 3).code == 0
    told = json.loads(edge_ad("board", "statistics", *where, "--json").out)
    assert told["watching"] and told["lowest"] < told["threshold"] < told["highest"]
    done = edge_ad("board", "threshold", 2 * told["highest"], *where)
    assert done.code == 2 and "the threshold may be" in done.error
    wanted = (told["threshold"] + told["highest"]) / 2
    assert edge_ad("board", "threshold", wanted, *where).code == 0
    now = json.loads(edge_ad("board", "statistics", *where, "--json").out)  # each command is a power cut
    assert now["threshold"] == pytest.approx(wanted, rel=1e-3) and now["epoch"] > told["epoch"]
    assert edge_ad("board", "threshold", "--own", *where).code == 0
    assert edge_ad("board", "stop", *where).code == 0
    assert not json.loads(edge_ad("board", "statistics", *where, "--json").out)["watching"]
    for arguments, text in (
        (("board", "threshold", *where), "either a threshold or --own"),
        (("board", "stop"), "say which board"),
        (("board", "watch", bundle, *where, "--stream", "a/b"), "no stream name"),
    ):
        done = edge_ad(*arguments)
        assert done.code == 2 and text in done.error, done.err
