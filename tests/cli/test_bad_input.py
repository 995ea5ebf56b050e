"""Bad input through the command line: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_ad.runtime.images import import_cv2

FIT = ("fit", "efficientad", "--preset", "micro", "--teacher", "random-dct", "--steps", 5, "--threads", 1)


def _compile(
    model: Path, data: Path, out: Path, rate: str = "0.1", target: str = "openvino-cpu"
) -> tuple[object, ...]:
    return ("compile", model, "--target", target, "--data", data, "--max-false-alarms", rate, "--out", out)


def test_empty_or_missing_train_good(edge_ad, tmp_path: Path) -> None:
    done = edge_ad(*FIT, "--data", tmp_path / "none", "--out", tmp_path / "m")
    assert done.code == 1 and "train/good" in done.error
    (tmp_path / "d" / "train" / "good").mkdir(parents=True)
    done = edge_ad(*FIT, "--data", tmp_path / "d", "--out", tmp_path / "m")
    assert done.code == 1 and "holds no image" in done.error
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("kind", ["truncated", "rubbish", "16-bit"])
def test_an_unusable_training_image_is_named(kind: str, parts: Path, edge_ad, tmp_path: Path) -> None:
    cv2 = import_cv2()
    data = tmp_path / "parts"
    shutil.copytree(parts / "train", data / "train")
    for victim in sorted((data / "train" / "good").iterdir()):  # all, since any split may hold it
        if kind == "truncated":
            victim.write_bytes(victim.read_bytes()[:-200])
        elif kind == "rubbish":
            victim.write_bytes(b"no image" + victim.name.encode())
        else:
            cv2.imwrite(str(victim), cv2.imread(str(victim)).astype(np.uint16) * 200)
    done = edge_ad(*FIT, "--data", data, "--out", tmp_path / "m")
    assert done.code == 1 and "train/good/" in done.error
    assert {"truncated": "truncated", "rubbish": "no image", "16-bit": "16 bits"}[kind] in done.error
    assert not (tmp_path / "m" / "model.json").exists()


def test_grey_rgba_and_mixed_sizes_are_taken(parts: Path, edge_ad, tmp_path: Path) -> None:
    cv2 = import_cv2()
    data = tmp_path / "parts"
    shutil.copytree(parts / "train", data / "train")
    for index, path in enumerate(sorted((data / "train" / "good").iterdir())):
        image = cv2.imread(str(path))
        image = cv2.resize(image, (70 + index, 110 - index))
        if index % 3 == 0:
            image = image[..., 0]
        elif index % 3 == 1:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
        cv2.imwrite(str(path), image)
    assert edge_ad(*FIT, "--data", data, "--out", tmp_path / "m").code == 0


def test_a_rate_that_the_images_cannot_support(model: Path, parts: Path, edge_ad, tmp_path: Path) -> None:
    done = edge_ad(*_compile(model, parts, tmp_path / "p.edgead", rate="0.001"))
    assert done.code == 3 and "16 held-back" in done.error and "0.05883" in done.error
    assert not list(tmp_path.iterdir())
    assert edge_ad(*_compile(model, parts, tmp_path / "p.edgead", rate="0.05883")).code == 0


def test_unknown_target_and_other_usage(
    model: Path, parts: Path, bundle: Path, edge_ad, tmp_path: Path
) -> None:
    done = edge_ad(*_compile(model, parts, tmp_path / "p.edgead", target="openvino-gpu"))
    assert done.code == 1 and "did you mean openvino-cpu" in done.error
    assert edge_ad(*_compile(model, parts, tmp_path / "p.zip")).code == 2
    assert edge_ad(*_compile(model, parts, tmp_path / "p.edgead", rate="2")).code == 2
    assert edge_ad(*_compile(model, parts, tmp_path / "none" / "p.edgead")).code == 2
    assert edge_ad("flash", bundle, "--to", "line3").code == 2
    assert edge_ad("flash", "--to", f"dir:{tmp_path}/line").code == 2
    assert edge_ad("compil").code == 2
    done = edge_ad("infer", bundle, "--target", "cortex-m4", "--input", "x.npy", "--output", "y.npz")
    assert done.code == 1 and "openvino-cpu" in done.error


def test_a_model_folder_from_another_version(model: Path, parts: Path, edge_ad, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": "edge-ad/model/7"}))
    done = edge_ad(*_compile(tmp_path / "m", parts, tmp_path / "p.edgead"))
    assert done.code == 1 and "another version" in done.error and "edge-ad/model/7" in done.error


def test_a_broken_export_stops_the_compile_before_quantization(
    model: Path,
    parts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from edge_ad.cli import main
    from edge_ad.compile import openvino_ir
    from edge_ad.detectors.efficientad.simplify import SimplifiedNetwork

    forward = SimplifiedNetwork.forward
    monkeypatch.setattr(SimplifiedNetwork, "forward", lambda self, pixels: forward(self, pixels) * 1.01)
    monkeypatch.setattr(openvino_ir, "quantize", lambda *args: pytest.fail("quantized"))
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in _compile(model, parts, tmp_path / "p.edgead")])
    assert stop.value.code == 4
    assert "exported float network differs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["truncated", "tampered", "empty", "missing"])
def test_damaged_bundles(damage: str, bundle: Path, edge_ad, tmp_path: Path) -> None:
    raw = bytearray(bundle.read_bytes())
    bad = tmp_path / "bad.edgead"
    if damage == "truncated":
        bad.write_bytes(raw[: len(raw) // 2])
    elif damage == "tampered":
        raw[len(raw) // 2] ^= 1
        bad.write_bytes(raw)
    elif damage == "empty":
        bad.write_bytes(b"")
    for command in (("inspect", bad), ("flash", bad, "--to", f"dir:{tmp_path}/line"), ("verify", bad)):
        done = edge_ad(*command)
        assert done.code == 1 and "bad.edgead" in done.error
    assert not (tmp_path / "line" / "current").exists()


def test_golden_vectors_that_disagree_never_go_live(bundle: Path, edge_ad, tmp_path: Path) -> None:
    """A bundle whose files are all as its manifest says, but whose vectors are another network's."""
    import hashlib
    import io

    from edge_ad.bundle.archive import open_bundle, write_bundle
    from edge_ad.bundle.manifest import FileEntry
    from edge_ad.runtime.golden import npz_bytes

    line = f"dir:{tmp_path / 'line'}"
    assert edge_ad("flash", bundle, "--to", line).code == 0
    with open_bundle(bundle) as opened:
        manifest = opened.manifest
        members = {name: opened.read(name) for name in manifest.files}
    name = manifest.payloads[0].golden.file
    with np.load(io.BytesIO(members[name])) as arrays:
        changed = {key: arrays[key].copy() for key in arrays.files}
    changed["maps"][3] *= 1.01
    members[name] = npz_bytes(changed)
    entry = FileEntry(sha256=hashlib.sha256(members[name]).hexdigest(), size=len(members[name]))
    forged = manifest.model_copy(update={"files": {**manifest.files, name: entry}})
    write_bundle(tmp_path / "forged.edgead", forged, members)
    done = edge_ad("flash", tmp_path / "forged.edgead", "--to", line)
    assert done.code == 4 and "golden vector 3" in done.error and "'maps'" in done.error
    assert edge_ad("verify", tmp_path / "forged.edgead").code == 4
    with open_bundle(bundle) as opened:
        assert (tmp_path / "line" / "current").readlink().name == opened.digest
    assert len([p for p in (tmp_path / "line" / "releases").iterdir() if p.is_dir()]) == 1


def test_sources_and_sinks_that_are_not_there(bundle: Path, parts: Path, edge_ad, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        cases = [
            (("--source", "camera:77"), "camera"),
            (("--source", tmp_path / "none"), "no such"),
            (("--source", parts / "test", "--sink", "serial:/dev/ttyNONE9"), "ttyNONE9"),
            (("--source", parts / "test", "--sink", f"mqtt://127.0.0.1:{port}/x"), str(port)),
            (("--source", parts / "test", "--sink", "pigeon:home"), "pigeon"),
        ]
        for options, word in cases:
            done = edge_ad("run", bundle, *options)
            assert done.code == 1 and word in done.error


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_leaves_the_older_bundle(
    model: Path, parts: Path, bundle: Path, edge_ad, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = bundle.stat().st_size + 300_000
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("this machine does not let a test mount a file system")
    try:
        shutil.copy(bundle, disk / "part.edgead")
        done = edge_ad(*_compile(model, parts, disk / "part.edgead"))
        assert done.code == 1 and "No space left" in done.error and "part.edgead" in done.error
        assert [p.name for p in disk.iterdir()] == ["part.edgead"]
        assert (disk / "part.edgead").read_bytes() == bundle.read_bytes()
    finally:
        subprocess.run(["umount", disk], check=True)
