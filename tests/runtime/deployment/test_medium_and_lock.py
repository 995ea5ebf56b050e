"""What was written is read back, two flashes wait for each other, and a real engine proves its network."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad.bundle.archive import open_bundle, write_bundle
from edge_ad.bundle.manifest import FileEntry, Manifest
from edge_ad.errors import (
    DigestError,
    EdgeAdError,
    ParityError,
)
from edge_ad.runtime.deployment import deploy, folder, live, rollback
from edge_ad.runtime.golden import make_golden

from deployments import damage_manifest, deploy_error, MakeBundle, OpenFake, digest_of, listing, tree, whole  # isort: skip


def test_what_was_written_is_read_back_from_the_medium(
    root: Path, bundles: list[Path], flash: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is told to forget each file after it was synced and before it is read."""
    steps: list[tuple[str, int]] = []
    fsync, read = os.fsync, os.read

    def record(what: str, handle: int) -> None:
        steps.append((what, os.fstat(handle).st_ino))

    def forget(handle: int, offset: int, size: int, advice: int) -> None:
        assert (offset, size, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        record("forget", handle)

    monkeypatch.setattr(os, "fsync", lambda handle: (record("sync", handle), fsync(handle)))
    monkeypatch.setattr(os, "posix_fadvise", forget)
    monkeypatch.setattr(os, "read", lambda handle, size: (record("read", handle), read(handle, size))[1])
    done = flash(bundles[0])
    files = [path for path in done.folder.rglob("*") if path.is_file()]
    assert len(files) == 4
    for path in files:
        inode = path.stat().st_ino
        assert [what for what, of in steps if of == inode][:3] == ["sync", "forget", "read"], path


def test_a_system_without_that_advice_flashes_as_well(
    root: Path, bundles: list[Path], flash: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    flash(bundles[0])
    monkeypatch.delattr(os, "posix_fadvise")
    assert flash(bundles[1]).previous == digest_of(bundles[0])


def test_a_medium_that_keeps_something_else(
    root: Path, bundles: list[Path], flash: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worn card: what was written cannot be read back."""

    def wear(handle: int, *advice: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115
        if path.name == "model.json":
            path.write_bytes(path.read_bytes().replace(b"2.0", b"2.1"))

    flash(bundles[0])
    held = tree(root)
    monkeypatch.setattr(os, "posix_fadvise", wear)
    with pytest.raises(DigestError, match=r"model\.json: is not what the manifest says"):
        flash(bundles[1])
    assert tree(root) == held


# Two at once


def test_a_second_flash_waits_for_the_first(
    root: Path, bundles: list[Path], digests: list[str], flash: Callable[..., Any], open_fake: OpenFake
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(payload: Any, where: Path) -> Any:
        begun.set()
        assert go_on.wait(30)
        return open_fake(payload, where)

    results: dict[int, Any] = {}
    first = threading.Thread(target=lambda: results.update({0: flash(bundles[0], open_engine=slow)}))
    first.start()
    assert begun.wait(30)
    second = threading.Thread(target=lambda: results.update({1: flash(bundles[1])}))
    second.start()
    time.sleep(0.2)
    assert second.is_alive() and not (root / "current").exists()
    go_on.set()
    first.join(30)
    second.join(30)
    assert (results[0].previous, results[1].previous) == (None, digests[0])
    assert live(root).digest == digests[1]
    assert listing(root) == whole(digests[1], digests[0])


def test_a_flash_that_cannot_wait_says_who_is_at_it(
    root: Path,
    bundles: list[Path],
    flash: Callable[..., Any],
    open_fake: OpenFake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flash(bundles[0])
    flash(bundles[1])
    monkeypatch.setattr(folder, "LOCK_WAIT_S", 0.1)
    with (root / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for act in (lambda: flash(bundles[2]), lambda: rollback(root, open_engine=open_fake)):
            assert f"is being flashed by process {os.getpid()}; wait" in deploy_error(act)
        assert live(root).digest == digest_of(bundles[1])
    flash(bundles[2])


# With a real engine


@pytest.fixture(scope="module")
def openvino_bundle(make_bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`openvino_bundle(gain, golden_gain)`: as the fake ones, with an OpenVINO network."""
    openvino = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    from edge_ad.runtime.engines import open_model

    folder = tmp_path_factory.mktemp("openvino")

    def network(gain: float) -> Path:
        pixels = ops.parameter([1, 1, 4, 5], np.uint8, "input")
        gains = np.full((1, 1, 4, 5), gain, np.float32)
        out = ops.multiply(ops.convert(pixels, np.float32), ops.constant(gains))
        out.output(0).set_names({"map"})
        openvino.save_model(
            openvino.Model([out], [pixels]), folder / f"{gain}" / "model.xml", compress_to_fp16=False
        )
        return folder / f"{gain}" / "model.xml"

    def make(gain: float, golden_gain: float | None = None) -> Path:
        with open_bundle(make_bundle(f"plain{gain}", gain)) as opened:
            manifest = opened.manifest
        path = network(gain)
        host = open_model("openvino", path if golden_gain is None else network(golden_gain), {"threads": 1})
        rng = np.random.default_rng(1)
        inputs = [rng.integers(0, 256, (1, 1, 4, 5), np.uint8) for _ in range(2)]
        payload = manifest.payloads[0]
        names = {f"payload/board/{file.name}": file.read_bytes() for file in path.parent.iterdir()}
        members = {**names, payload.golden.file: make_golden(inputs, host, payload.head, payload.outputs)}
        changed = payload.model_copy(
            update={"engine": "openvino", "model": "payload/board/model.xml", "files": sorted(names),
                    "options": {"threads": 1}, "golden": payload.golden.model_copy(update={"rtol": 1e-6})}
        )  # fmt: skip
        files = {
            n: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
            for n, data in members.items()
        }
        data = manifest.model_copy(update={"payloads": [changed], "files": files}).model_dump(by_alias=True)
        write_bundle(folder / f"{gain}.edgead", Manifest.model_validate(data), members)
        return folder / f"{gain}.edgead"

    return make


def test_an_openvino_network_proves_itself_there(openvino_bundle: Callable[..., Path], root: Path) -> None:
    from edge_ad.runtime.engines import open_engine

    one, two, wrong = openvino_bundle(1.5), openvino_bundle(2.5), openvino_bundle(3.5, 3.51)
    assert deploy(one, root).golden.worst_error < 1e-3
    done = deploy(two, root)
    with pytest.raises(ParityError):
        deploy(wrong, root)
    found = live(root)
    assert found.digest == done.digest
    engine = open_engine(found.manifest.payload(found.target), found.folder)
    # A weight changes under the running service: it goes on, the next start refuses it, a flash repairs it
    (found.folder / "payload/board/model.bin").write_bytes(np.full(20, 9.0, np.float32).tobytes())
    with pytest.raises(DigestError, match=r"model\.bin"):
        live(root)
    deploy(two, root)
    outputs = engine.infer(np.ones((1, 1, 4, 5), np.uint8))
    engine.close()
    assert outputs["map"].shape == (1, 1, 4, 5)
    found = live(root)
    engine = open_engine(found.manifest.payload(found.target), found.folder)
    np.testing.assert_allclose(engine.infer(np.ones((1, 1, 4, 5), np.uint8))["map"], 2.5)
    engine.close()
    assert rollback(root).digest == digest_of(one)


def test_every_error_is_one_line(
    root: Path, tmp_path: Path, bundles: list[Path], failing: Path, flash: Callable[..., Any]
) -> None:
    flash(bundles[0])
    damage_manifest(root / "releases" / digest_of(bundles[0]))
    acts = [
        lambda: live(root),
        lambda: live(tmp_path / "none"),
        lambda: rollback(root),
        lambda: flash(failing),
    ]
    for act in acts:
        with pytest.raises(EdgeAdError) as caught:
            act()
        assert str(caught.value).isprintable()
        assert caught.value.where is not None
