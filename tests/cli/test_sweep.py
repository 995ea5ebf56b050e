"""`edge-ad sweep`, and `compile` with a budget: whole commands on a small detector."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Done, run_here

from edge_ad import targets
from edge_ad.bundle.archive import open_bundle
from edge_ad.compile.report.model import Report
from edge_ad.compile.sensitivity.agreement import Tolerance
from edge_ad.compile.sweep import executors, ladder
from edge_ad.compile.sweep.form import Measured
from edge_ad.compile.sweep.journal import JOURNAL
from edge_ad.compile.sweep.measure import measure
from edge_ad.compile.sweep.report import SWEEP_HTML, SWEEP_JSON, Sweep
from edge_ad.compile.sweep.setting import Setting
from edge_ad.data.sample_series import make_series
from edge_ad.detectors import load_detector

STEPS = ("--recovery-steps", 40)


@pytest.fixture(scope="module", autouse=True)
def _own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Apart from other sweeps on this machine, whose timings these would wait for."""
    folder = str(tmp_path_factory.mktemp("locks"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_series(tmp_path_factory.mktemp("sweep") / "data", 4, n_train=2000, n_test=1200)


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "pump"
    done = run_here(
        "fit", "autoencoder", "--preset", "micro", "--window", 8, "--data", data, "--out", folder, "--steps", 300,
        "--threads", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder


def sweep(model: Path, data: Path, out: Path, *more: object) -> Done:
    return run_here("sweep", model, "--data", data, "--out", out, *STEPS, *more)


@pytest.fixture(scope="module", autouse=True)
def _here() -> Iterator[None]:
    """In this process, where libraries are loaded, and not in a pool's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executors, "processes", lambda jobs: executors.here())
        yield


@pytest.fixture(scope="module")
def swept(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sweep]:
    """A sweep over shares and precisions on a CPU."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    done = sweep(
        model, data, out, "--target", "openvino-cpu", "--prune", "0,0.5", "--max-auroc-drop", 0.5, "--json"
    )
    assert done.code == 0, done.err
    return out, Sweep.model_validate_json(done.out)


def test_what_a_process_is_given_can_be_sent_to_it(model: Path, data: Path, tmp_path: Path) -> None:
    given = (measure, Setting(model, data, tmp_path, targets.get, tolerance=Tolerance(auroc_drop=0.1)))
    assert pickle.loads(pickle.dumps(given)) == given


def test_every_form_is_measured(swept: tuple[Path, Sweep]) -> None:
    out, found = swept
    assert json.loads((out / SWEEP_JSON).read_text()) == json.loads(found.model_dump_json(by_alias=True))
    told = {(m.form.precision, m.form.prune) for m in found.measured}
    assert told == {("int8", 0.0), ("fp32", 0.0), ("int8", 0.5), ("fp32", 0.5)}
    assert (
        not found.failed and found.picked is not None and set(found.front) <= {m.key for m in found.measured}
    )


def test_figures_are_of_the_forms(swept: tuple[Path, Sweep]) -> None:
    _, found = swept

    def form(precision: str, share: float) -> Measured:
        return next(m for m in found.measured if (m.form.precision, m.form.prune) == (precision, share))

    same = form("fp32", 0.0)  # the reference itself
    assert same.drift is not None and same.drift.rank_correlation == 1 and same.altered.drop == 0
    plain, half = form("int8", 0.0), form("int8", 0.5)
    assert plain.latency_us is not None and plain.reference_us is not None and plain.speedup is not None
    assert plain.speedup == pytest.approx(plain.reference_us / plain.latency_us)
    assert half.pruning is not None and plain.pruning is None
    assert half.pruning.macs_after <= 0.51 * half.pruning.macs_before
    assert half.flash_bytes < plain.flash_bytes
    assert plain.labelled is not None and plain.labelled.form.n_anomalous > 0
    assert plain.altered.form.n_normal == plain.drift.n  # type: ignore[union-attr]
    assert plain.altered.form.n_anomalous >= plain.altered.form.n_normal


def test_the_report_shows_every_figure_and_needs_nothing_else(swept: tuple[Path, Sweep]) -> None:
    out, found = swept
    html = (out / SWEEP_HTML).read_text()
    assert html.lstrip().lower().startswith("<!doctype html>")
    assert "http://" not in html and "https://" not in html and "<script" not in html
    assert html.count('src="data:image/png;base64,') == 1
    text = re.sub(r"<[^>]*>", " ", html)
    for m in found.measured:
        assert f"{m.altered.drop:+.3f}" in text or abs(m.altered.drop) < 5e-4
        assert m.drift is not None and f"{m.drift.rank_correlation:.4f}" in text
    assert "meets what was asked" in text


def test_the_same_command_measures_nothing_again(swept: tuple[Path, Sweep], model: Path, data: Path) -> None:
    out, found = swept
    before = (out / JOURNAL).read_bytes()
    done = sweep(model, data, out, "--target", "openvino-cpu", "--prune", "0,0.5", "--json")
    assert done.code == 0, done.err
    assert Sweep.model_validate_json(done.out).outcomes == found.outcomes
    assert (out / JOURNAL).read_bytes() == before


def test_a_budget_that_no_form_meets_is_exit_3_with_the_nearest(
    swept: tuple[Path, Sweep], model: Path, data: Path
) -> None:
    out, _ = swept
    done = sweep(model, data, out, "--target", "openvino-cpu", "--prune", "0,0.5", "--flash-kb", 1)
    assert done.code == 3
    assert "no form meets what was asked; nearest is pump fp32, pruned 50 % on openvino-cpu" in done.error
    assert "KB of flash, asked 1" in done.error
    assert "pump" in done.out and (out / SWEEP_HTML).exists()  # the table is shown all the same
    assert "No form meets what was asked" in (out / SWEEP_HTML).read_text()


def test_a_form_that_cannot_be_is_told_and_the_rest_measured(
    swept: tuple[Path, Sweep], model: Path, data: Path
) -> None:
    out, _ = swept
    done = sweep(
        model, data, out, "--target", "openvino-cpu", "--precision", "int8", "--prune", "0,0.999", "--json"
    )
    assert done.code == 0, done.err
    found = Sweep.model_validate_json(done.out)
    assert [f.form.prune for f in found.failed] == [0.999] and len(found.measured) == 1
    assert "not measured: pump int8, pruned 99.9 % on openvino-cpu" in " ".join(done.err.split())
    assert "Not measured" in (out / SWEEP_HTML).read_text()


@pytest.mark.slow
def test_compile_finds_the_form_for_a_budget(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain form is over the budget, and pruning makes room: the first share that holds it is compiled."""
    monkeypatch.setattr(ladder, "LADDER", (0.8,))
    bundle = tmp_path / "pump.edgead"
    command = (
        "compile", model, "--target", "posix", "--data", data, "--max-false-alarms", "5%", "--out", bundle,
    )  # fmt: skip
    done = run_here(*command, "--flash-kb", 73, "--max-auroc-drop", 0.5)
    assert done.code == 0, done.err
    tried = [line for line in done.out.splitlines() if " KB flash, " in line]
    assert tried[0].startswith("pump int8 on posix: ") and "pruned" in tried[-1]
    flash = [float(line.split(" KB flash")[0].split()[-1]) for line in tried]
    assert flash[0] > 73 and flash[-1] <= 73
    with open_bundle(bundle) as opened:
        payload = opened.manifest.payload("posix")
        assert payload.budget.flash_bytes <= 73 * 1024
        assert round(payload.budget.flash_bytes / 1024, 1) == flash[-1]  # just what the search said
        assert "pruned" in opened.manifest.detector.fit
        report = Report.model_validate_json(opened.read("report/report.json"))
    searched = report.payloads[0].decisions[0]
    assert searched.stage == "search" and "at most 74,752 bytes of flash" in searched.text
    again = run_here(*command, "--flash-kb", 73, "--max-auroc-drop", 0.5)  # from the journal
    assert again.code == 0 and [line for line in again.out.splitlines() if " KB flash, " in line] == tried
    pruned = next((tmp_path / "pump.sweep" / "models").iterdir())
    assert load_detector(pruned).info().fit["pruned"]["macs_after"] > 0


def test_compile_without_a_form_that_meets_the_budget_writes_no_bundle(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """No share makes it so fast, so that none is tried."""
    bundle = tmp_path / "pump.edgead"
    done = run_here(
        "compile", model, "--target", "openvino-cpu", "--data", data, "--max-false-alarms", "5%", "--out", bundle,
        "--speedup", 10_000,
    )  # fmt: skip
    assert done.code == 3 and not bundle.exists()
    assert done.out.count(": passed over, at ") == len(ladder.LADDER)
    assert "no form meets what was asked; nearest is pump int8 on openvino-cpu" in done.error
    assert "times as fast, asked 10000" in done.error


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_from_its_journal(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "edge_ad", "sweep", model, "--data", data, "--target", "openvino-cpu", "--prune",
        "0,0.2,0.4,0.6", "--out", out, "--jobs", "1", *map(str, STEPS),
    ]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), start_new_session=True, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 200
    while not ((out / JOURNAL).exists() and (out / JOURNAL).read_bytes().count(b"\n") >= 2):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    first = (out / JOURNAL).read_bytes().splitlines()[:2]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    lines = (out / JOURNAL).read_bytes().splitlines()
    assert len(lines) == 8 and lines[:2] == first
    assert not list((out / "models").glob(".*")) and len(list((out / "models").iterdir())) == 3


@pytest.mark.slow
def test_a_dask_cluster_gives_what_this_machine_gives(
    swept: tuple[Path, Sweep], model: Path, data: Path, tmp_path: Path
) -> None:
    """The whole command over the workers of a local cluster, one of which is killed over its first form."""
    distributed = pytest.importorskip("distributed")
    _, here = swept
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
            local_directory=str(tmp_path / "dask"),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        victim = next(iter(client.run(os.getpid).values()))
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_ad", *map(str, (
                "sweep", model, "--data", data, "--target", "openvino-cpu", "--target", "posix", "--prune", "0,0.5",
                "--out", tmp_path / "out", "--scheduler", cluster.scheduler_address, "--json", *STEPS,
            ))],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        end = time.monotonic() + 200
        while not any(client.processing().values()):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.1)
        os.kill(victim, signal.SIGKILL)
        printed, _ = process.communicate(timeout=500)
    assert process.returncode == 0
    there = Sweep.model_validate_json(printed)
    scores = {m.key: (m.altered, m.drift, m.labelled, m.flash_bytes) for m in here.measured}
    cpu = there.of_target("openvino-cpu")
    assert {m.key: (m.altered, m.drift, m.labelled, m.flash_bytes) for m in cpu} == scores
    plain, half = there.of_target("posix")
    assert half.flash_bytes < plain.flash_bytes and half.latency_us is None
    assert half.instructions is None and "not counted" in half.notes[0]


def test_a_form_that_keeps_layers_is_measured_beside_the_one_that_keeps_none(
    model: Path, data: Path, tmp_path: Path
) -> None:
    targets_ = ("--target", "openvino-cpu", "--target", "posix")
    asked = (*targets_, "--precision", "int8", "--keep", "0", "--no-test")
    done = sweep(model, data, tmp_path / "out", *asked)
    assert done.code == 0, done.err
    assert "not measured" not in done.err, done.err
    found = Sweep.model_validate_json((tmp_path / "out" / SWEEP_JSON).read_text())
    told = {(m.form.target, tuple(m.kept)) for m in found.measured}
    assert told == {(target, kept) for target in ("openvino-cpu", "posix") for kept in ((), ("0",))}
    assert "int8, 1 kept" in done.out and "int8, 1 kept: 0" in (tmp_path / "out" / SWEEP_HTML).read_text()
