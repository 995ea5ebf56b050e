"""A device install on arm64, flashed over a real sshd, that proves itself and reports to a real broker.

The processors are emulated (qemu-user): what is computed is ARM's, how long it takes says nothing.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arm64
import numpy as np
import pytest
import sshd
from checkout import ABSENT
from deployments import changed, digest_of
from mosquitto import Mosquitto, Subscriber, wait_until

from edge_ad.bundle.archive import open_bundle
from edge_ad.data.samples import make_parts
from edge_ad.runtime.images import import_cv2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EXTRAS = "onnxruntime,litert,openvino,camera"
FOLDER = "/srv/line3"
# OpenVINO's INT8 on ARM64 is another than on x86-64 (docs/deployment.md).
PAYLOADS = [
    ("int8", "onnx-cpu"),
    ("int8", "litert"),
    *(("fp32", t) for t in ("onnx-cpu", "litert", "openvino-cpu")),
]


@dataclass(frozen=True)
class Box:
    """An arm64 device behind an sshd of its own."""

    device: arm64.Device
    port: int

    @property
    def address(self) -> str:
        return f"ssh://127.0.0.1:{self.port}{FOLDER}"

    def live(self) -> str | None:
        link = self.device.srv / "line3" / "current"
        return link.readlink().name if link.is_symlink() else None


@dataclass(frozen=True)
class Site:
    """Two devices, an x86-64 one beside them, and what there is to flash. belt: pictures, spoiled ones among them."""

    folder: Path
    boxes: dict[str, Box]
    other: sshd.Device
    ssh: str
    belt: Path

    @property
    def bundles(self) -> dict[str, Path]:
        return {name: self.folder / f"{name}.edgead" for name in ("int8", "fp32")}

    def flash(self, *words: object) -> list[dict[str, Any]]:
        """What --json tells of each device."""
        done = host("flash", *words, "--json", environment={"EDGE_AD_SSH": self.ssh})
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def refused(self, *words: object) -> str:
        """The error."""
        done = host("flash", *words, check=False, environment={"EDGE_AD_SSH": self.ssh})
        assert done.returncode == 1, done.stderr
        return done.stderr.splitlines()[-1]

    def login(self, box: Box, *words: object) -> str:
        """Run a command on a device through ssh, and what it prints."""
        command = [*shlex.split(self.ssh), "-p", str(box.port), "127.0.0.1", shlex.join(map(str, words))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout


def host(
    *words: object, check: bool = True, environment: dict[str, str] = {}  # noqa: B006
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """edge-ad on this machine."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_ad", *map(str, words)], capture_output=True, text=True, timeout=900,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, arm64.Device]]:
    """Two devices with one installation: a processor that multiplies 8-bit integers four at a time, and one that does
    not."""
    arm64.require()
    folder = tmp_path_factory.mktemp("arm64")
    root = arm64.make_root(folder / "root")
    made = {
        name: arm64.device(root, folder / name, cpu)
        for name, cpu in (("pi4", arm64.CORTEX_A72), ("pi5", arm64.CORTEX_A76))
    }
    arm64.install(root, made["pi4"], EXTRAS, folder)
    yield made
    shutil.rmtree(folder)  # more than half a gigabyte


@pytest.fixture(scope="module")
def site(boxes: dict[str, arm64.Device], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The bundles were compiled on this machine."""
    folder = tmp_path_factory.mktemp("site")
    identity, known_hosts = sshd.keys(folder), folder / "known_hosts"
    parts = make_parts(folder / "parts", 5, size=96, n_train=48, n_test_good=4, n_defective=0)
    host(
        "fit",
        "fader",
        "--preset",
        "micro",
        "--steps",
        60,
        "--threads",
        1,
        "--data",
        parts,
        "--out",
        folder / "m",
    )
    rest = ("--data", parts, "--max-false-alarms", 0.15)
    for name, last in (("int8", "jetson-orin"), ("fp32", "openvino-cpu")):
        targets = [word for target in ("onnx-cpu", "litert", last) for word in ("--target", target)]
        more = [] if name == "int8" else ["--precision", name]
        host("compile", folder / "m", *targets, *more, *rest, "--out", folder / f"{name}.edgead")
    with ExitStack() as opened:

        def open_sshd(name: str, *lines: str) -> sshd.Device:
            return opened.enter_context(sshd.running(folder / name, identity, known_hosts, *lines))

        there = {
            name: Box(device, open_sshd(name, f"SetEnv PATH={device.commands}:/usr/bin:/bin").port)
            for name, device in boxes.items()
        }
        other = open_sshd("other")
        belt = spoiled(parts, folder / "belt")
        for box in there.values():
            shutil.copytree(belt, box.device.srv / "belt")
            for name in ("int8", "fp32"):
                shutil.copy(folder / f"{name}.edgead", box.device.srv)
        yield Site(folder, there, other, sshd.client(identity, known_hosts), belt)


def spoiled(parts: Path, folder: Path) -> Path:
    """Every good picture, and after it the same with noise in its middle."""
    cv2, rng = import_cv2(), np.random.default_rng(0)
    folder.mkdir()
    for index, path in enumerate(sorted((parts / "test" / "good").glob("*.png"))):
        picture = cv2.imread(str(path))
        cv2.imwrite(str(folder / f"{index}a-good.png"), picture)
        picture[24:72, 24:72] = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}b-spoiled.png"), picture)
    return folder


LOOK = f"""
import importlib.util, json, platform, sys, edge_ad
from edge_ad.runtime.isa import cpu_isa
print(json.dumps([platform.machine(), sys.executable, edge_ad.__file__, cpu_isa(),
                  [name for name in {ABSENT!r} if importlib.util.find_spec(name)]]))
"""


@pytest.mark.parametrize(("name", "isa"), [("pi4", "aarch64 NEON"), ("pi5", "aarch64 NEON dot product")])
def test_the_install_is_arm64_and_has_nothing_of_the_compiler(
    boxes: dict[str, arm64.Device], name: str, isa: str
) -> None:
    machine, python, package, found, compiler = json.loads(boxes[name].run("python", "-c", LOOK).stdout)
    assert (machine, python, found, compiler) == ("aarch64", arm64.PYTHON, isa, [])
    assert package.startswith("/opt/edge-ad/lib/")


def test_both_devices_are_flashed_at_once_and_prove_each_payload(site: Site) -> None:
    digest = digest_of(site.bundles["int8"])
    to = [word for box in site.boxes.values() for word in ("--to", box.address)]
    for target in ("onnx-cpu", "litert"):
        found = site.flash(site.bundles["int8"], *to, "--target", target)
        for one, box in zip(found, site.boxes.values(), strict=True):
            device, installed = one["device"], one["installed"]
            assert device["machine"] == "aarch64" and "-aarch64-" in device["system"]
            assert set(device["engines"]) == {"onnxruntime", "litert", "openvino"}
            assert (one["target"], installed["target"], installed["digest"]) == (target, target, digest)
            assert installed["vectors"] >= 3 and installed["worst_error"] <= installed["allowed"]
            assert box.live() == digest
            assert (one["sent_bytes"] == 0) == (target == "litert")  # the same bundle: there already
    assert (
        host("flash", "--rollback", *to, check=False, environment={"EDGE_AD_SSH": site.ssh}).returncode == 0
    )
    record = site.boxes["pi4"].device.srv / "line3" / "releases" / f"{digest}.json"
    assert json.loads(record.read_text())["target"] == "onnx-cpu"


@pytest.mark.parametrize(("bundle", "target"), PAYLOADS)
def test_golden_vectors_and_scores_are_those_of_the_host(site: Site, bundle: str, target: str) -> None:
    infer = ("infer", "--target", target, "--threads", 1, "--input")
    out = site.folder / f"{bundle}-{target}.npz"
    host(*infer, site.belt, "--output", out, site.bundles[bundle])
    expected = np.load(out)
    with open_bundle(site.bundles[bundle]) as opened:
        golden = opened.manifest.payload(target).golden
    for name, box in site.boxes.items():
        verified = json.loads(
            box.device.run("edge-ad", "verify", f"/srv/{bundle}.edgead", "--target", target, "--json").stdout
        )
        assert verified["passed"] and verified["engine"]["isa"].startswith("aarch64 NEON")
        box.device.run(
            "edge-ad", *infer, "/srv/belt", "--output", f"/srv/{out.name}", f"/srv/{bundle}.edgead"
        )
        made = np.load(box.device.srv / out.name)
        assert made.files == expected.files
        worst = {key: float(np.abs(made[key] - expected[key]).max()) for key in made.files}
        print(f"{bundle} {target} {name}: golden {verified['worst_error']:.2g} of {verified['allowed']:.2g}, "
              f"pictures {worst}")  # fmt: skip
        peak = float(np.abs(expected["score"]).max())
        assert worst["score"] <= golden.atol + golden.rtol * peak


def test_an_int8_network_gives_the_same_bytes_as_on_the_host(site: Site) -> None:
    """LiteRT's fast kernels for ARM and its reference ones, against both of this machine."""
    script = Path(__file__).parents[1] / "support" / "tflite_outputs.py"
    model = site.folder / "network.tflite"
    with open_bundle(site.bundles["int8"]) as bundle:
        model.write_bytes(bundle.read("payload/litert/network.tflite"))
    subprocess.run(
        [sys.executable, script, model, site.folder / "bytes.npz"], check=True, capture_output=True
    )
    expected = np.load(site.folder / "bytes.npz")
    assert {expected[name].dtype for name in expected.files} == {np.dtype(np.int8)}
    for box in site.boxes.values():
        shutil.copy(script, box.device.srv)
        shutil.copy(model, box.device.srv)
        box.device.run("python", f"/srv/{script.name}", f"/srv/{model.name}", "/srv/bytes.npz")
        made = np.load(box.device.srv / "bytes.npz")
        assert made.files == expected.files
        for name in made.files:
            np.testing.assert_array_equal(made[name], expected[name], err_msg=name)


@pytest.mark.parametrize("target", ["onnx-cpu", "litert"])
def test_a_run_on_the_device_reports_over_mqtt(site: Site, tmp_path: Path, target: str) -> None:
    box, bundle = site.boxes["pi4"], site.bundles["int8"]
    site.flash(bundle, "--to", box.address, "--target", target)
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        listener = Subscriber(broker.port)
        told = site.login(
            box, "edge-ad", "run", f"dir:{FOLDER}", "--source", "/srv/belt", "--stream", "belt",
            "--sink", f"mqtt://127.0.0.1:{broker.port}/pi4", "--json",
        )  # fmt: skip
        wait_until(lambda: "stopped" in listener.on("edge-ad/pi4/available"))
        events = [json.loads(payload) for payload in listener.on("edge-ad/pi4/belt/event")]
        listener.close()
    finally:
        broker.stop()
    summary = json.loads(told)
    assert (summary["frames"], summary["anomalous"], summary["events"]) == (8, 4, 4)
    assert [Path(event["sample"]).name for event in events if event["kind"] == "new"] == [
        f"{index}b-spoiled.png" for index in range(4)
    ]
    assert {event["bundle"] for event in events} == {digest_of(bundle)}
    log = tmp_path / "host.jsonl"
    host(
        "run", bundle, "--target", target, "--source", site.belt, "--stream", "belt", "--sink", f"jsonl:{log}"
    )
    here = [json.loads(line) for line in log.read_text().splitlines()]
    same = ("kind", "verdict", "stream", "threshold", "seq")
    assert [{key: event[key] for key in same} for event in events] == [
        {key: event[key] for key in same} for event in here
    ]
    np.testing.assert_allclose([e["score"] for e in events], [e["score"] for e in here], rtol=1e-3)


def test_a_payload_for_another_architecture_is_refused_before_anything_is_copied(site: Site) -> None:
    """An x86-64 one by an ARM device, a Jetson's by an x86-64 device; an ARM device takes the latter."""
    bundle = site.folder / "foreign.edgead"
    changed(site.bundles["int8"], bundle, architectures=["x86_64"])
    box = site.boxes["pi5"]
    shutil.rmtree(box.device.srv / "line3", ignore_errors=True)
    for words in ((), ("--target", "onnx-cpu")):
        assert "it is for x86_64, this is aarch64" in site.refused(bundle, "--to", box.address, *words)
    assert not (box.device.srv / "line3").exists()
    here = sshd.wrapper(site.folder / "edge-ad")
    error = site.refused(
        site.bundles["int8"], "--to", site.other.address, "--target", "jetson-orin", "--remote-command", here
    )
    assert "cannot run the payload for 'jetson-orin': it is for aarch64, this is x86_64" in error
    assert not site.other.root.exists()
    found = site.flash(site.bundles["int8"], "--to", box.address, "--target", "jetson-orin")
    assert found[0]["installed"]["target"] == "jetson-orin"
