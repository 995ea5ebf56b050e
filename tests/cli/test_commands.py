"""The commands of the README, each in a process of its own, from images to events."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_ad.bundle.archive import open_bundle
from edge_ad.compile.report.model import Report
from edge_ad.runtime.events import parse_event


def test_compile_prints_only_the_documented_report(compiled) -> None:
    _, done = compiled
    report = Report.model_validate_json(done.out)
    payload = report.payloads[0]
    assert (payload.target, payload.precision) == ("openvino-cpu", "int8")
    assert payload.parity is not None and payload.parity.worst <= payload.parity.allowed
    assert payload.thresholds.compiled.n == report.data.threshold == 16
    assert payload.test is not None and payload.test.n_normal == payload.test.n_anomalous == 6
    assert payload.test.aupro_compiled is not None
    assert report.measurement is not None and report.measurement[0].ratio > 0


def test_bundle_holds_a_self_contained_report_and_one_lies_beside_it(
    bundle: Path, edge_ad, tmp_path: Path
) -> None:
    written = tmp_path / "report.html"
    done = edge_ad("inspect", bundle, "--report", written)
    assert done.code == 0 and "compiled (in" in done.out and "golden" in done.out
    for html in (written.read_text(), bundle.with_suffix(".html").read_text()):
        assert html.lstrip().lower().startswith("<!doctype html>")
        assert "http://" not in html.replace("http://www.w3.org", "") and 'src="data:image/png' in html


def test_two_compiles_give_the_same_bytes(
    bundle: Path, model: Path, parts: Path, edge_ad, tmp_path: Path
) -> None:
    again = tmp_path / bundle.name
    done = edge_ad(
        "compile",
        model,
        "--target",
        "openvino-cpu",
        "--data",
        parts,
        "--max-false-alarms",
        "10%",
        "--out",
        again,
    )
    assert done.code == 0, done.err
    assert again.read_bytes() == bundle.read_bytes()


def test_inspect_json_is_the_manifest(bundle: Path, edge_ad) -> None:
    shown = json.loads(edge_ad("inspect", bundle, "--json").out)
    with open_bundle(bundle) as opened:
        assert shown["digest"] == opened.digest
        assert shown["manifest"] == opened.manifest.model_dump(mode="json", by_alias=True)
    payload = shown["manifest"]["payloads"][0]
    assert set(payload["thresholds"]) >= {"float", "compiled", "reference"}
    assert shown["manifest"]["detector"]["teacher"]["name"] == "random-dct"


def test_infer_gives_outputs_and_scores_of_raw_inputs_and_images(
    bundle: Path, parts: Path, edge_ad, tmp_path: Path
) -> None:
    image = next((parts / "test" / "good").iterdir())
    batch = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), np.uint8)
    np.save(tmp_path / "x.npy", batch)
    for source, n in ((tmp_path / "x.npy", 3), (image, 1)):
        done = edge_ad(
            "infer",
            bundle,
            "--target",
            "openvino-cpu",
            "--input",
            source,
            "--output",
            tmp_path / "y.npz",
            "--json",
        )
        assert done.code == 0, done.err
        with np.load(tmp_path / "y.npz") as arrays:
            assert arrays["maps"].shape == (n, 1, 8, 8) and arrays["score"].shape == (n,)
            assert json.loads(done.out)["scores"] == pytest.approx(arrays["score"].tolist())
    np.save(tmp_path / "bad.npy", batch.astype(np.float32))
    done = edge_ad("infer", bundle, "--input", tmp_path / "bad.npy", "--output", tmp_path / "z.npz")
    assert done.code == 1 and "float32" in done.error and not (tmp_path / "z.npz").exists()


def test_flash_run_rollback(bundle: Path, model: Path, parts: Path, edge_ad, tmp_path: Path) -> None:
    line = f"dir:{tmp_path / 'line'}"
    assert edge_ad("run", line, "--source", parts / "test").code == 1
    first = json.loads(edge_ad("flash", bundle, "--to", line, "--json").out)
    assert first["previous"] is None and first["golden"]["count"] == 5

    events = tmp_path / "events.jsonl"
    done = edge_ad("run", line, "--source", parts / "test", "--sink", f"jsonl:{events}", "--sink", "stdout",
                   "--threshold", "-1000", "--stream", "line3", "--json")  # fmt: skip
    assert done.code == 0, done.err
    kinds = [parse_event(text) for text in events.read_text().splitlines()]
    assert [e.kind for e in kinds] == ["new", "end"] * 12  # every frame lies above so low a threshold
    assert {e.bundle for e in kinds} == {first["digest"]} and {e.stream for e in kinds} == {"line3"}
    assert all(e.where is not None for e in kinds)
    assert [e.seq for e in kinds] == sorted(e.seq for e in kinds)

    second = tmp_path / "other.edgead"
    done = edge_ad("compile", model, "--target", "openvino-cpu", "--data", parts, "--max-false-alarms", "0.2",
                   "--precision", "fp32", "--out", second)  # fmt: skip
    assert done.code == 0, done.err
    flashed = json.loads(edge_ad("flash", second, "--to", line, "--json").out)
    assert flashed["previous"] == first["digest"] != flashed["digest"]
    back = json.loads(edge_ad("flash", "--rollback", "--to", line, "--json").out)
    assert (back["digest"], back["previous"]) == (first["digest"], flashed["digest"])
    assert edge_ad("verify", line).code == 0


def test_int8_agrees_to_the_bit_on_a_cpu_without_vnni(bundle: Path, edge_ad) -> None:
    """The overflow fix at work: the same integers with AVX2, whose 16-bit sums would saturate."""
    import os

    done = edge_ad("verify", bundle, "--json", env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"})
    result = json.loads(done.out)
    if "avx2" not in result["engine"]["details"]["kernels"]:
        pytest.skip("this build of OpenVINO does not let its instruction set be limited")
    assert done.code == 0 and result["worst_error"] == 0.0


def test_sigterm_ends_a_live_run_in_good_order(bundle: Path, tmp_path: Path) -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from edge_ad.runtime.images import import_cv2

    cv2 = import_cv2()
    jpeg = cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")
                    time.sleep(0.02)
            except OSError:
                return

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    events = tmp_path / "events.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_ad", "run", str(bundle), "--threshold", "-1000", "--json",
         "--source", f"http://127.0.0.1:{server.server_port}/", "--sink", f"jsonl:{events}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (events.exists() and events.read_text()) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    server.shutdown()
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["frames"] > 0 and summary["events"] == 1
    kinds = [json.loads(line)["kind"] for line in events.read_text().splitlines()]
    assert kinds[0] == "new" and kinds[-1] == "end" and kinds.count("end") == 1


def test_help_of_every_command_and_targets(edge_ad) -> None:
    top = edge_ad("--help")
    assert top.code == 0 and "4 parity" in " ".join(top.out.split())
    for name in ("fit", "compile", "inspect", "flash", "run", "infer", "verify", "targets", "demo"):
        assert name in top.out
        assert edge_ad(name, "--help").code == 0
    listed = json.loads(edge_ad("targets", "--json").out)
    assert {"openvino-cpu", "cortex-m4", "cortex-m55", "posix"} <= {t["name"] for t in listed}


def test_model_folder_is_left_alone_by_compile(model: Path, bundle: Path) -> None:
    assert sorted(p.name for p in model.iterdir()) == ["model.json", "weights.safetensors"]


def test_new_test_folder_changes_the_report_but_no_decision(
    model: Path, parts: Path, bundle: Path, edge_ad, tmp_path: Path
) -> None:
    """Thresholds, payload and golden vectors are the same without any test image."""
    bare = tmp_path / "parts"
    shutil.copytree(parts / "train", bare / "train")
    done = edge_ad("compile", model, "--target", "openvino-cpu", "--data", bare, "--max-false-alarms", "0.1",
                   "--out", tmp_path / "bare.edgead", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["payloads"][0]["test"] is None
    with open_bundle(bundle) as one, open_bundle(tmp_path / "bare.edgead") as other:
        assert one.manifest.payloads == other.manifest.payloads
        shared = [name for name in one.manifest.files if not name.startswith("report/")]
        assert all(one.read(name) == other.read(name) for name in shared)
