"""`pytest --rig rig.toml`: the rig's checks as items, its devices and bundles for tests of one's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from boards_here import require_board
from checkout import REPOSITORY
from planted import faulty_firmware
from rig_bundles import write_rig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN = """
def test_the_board_is_known(device, rig):
    assert rig.name == "rig" and device.properties()["board"] == "posix"

def test_its_vectors_agree(device, bundle):
    assert device.prove(bundle).passed
"""


@pytest.fixture
def file(bundle_of: Callable[..., Path], tmp_path: Path) -> Path:
    require_board("posix")
    bundles = {"pump": bundle_of("pump"), "fan": bundle_of("fan")}
    checks = '[checks.live]\n[checks.parity]\nbundles = ["pump"]\n'
    return write_rig(tmp_path, {"one": {"kind": "posix"}, "two": {"kind": "posix"}}, bundles, checks)


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """pytest, started in that folder, with the plugin as if it were installed."""
    command = [sys.executable, "-m", "pytest", "-p", "edge_ad.rig.pytest_plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=240,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip


def test_alone_it_runs_the_matrix(file: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "--rig", file, "-v", "--junit-xml=rig.xml", "--rig-html=rig.html")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"rig.toml::(\S+) PASSED", done.stdout)
    assert sorted(passed) == sorted(
        f"{d}:{b}" for d in ("one", "two") for b in ("pump:live", "pump:parity", "fan:live")
    )
    told = [
        {p.get("name") for p in case.iter("property")}
        for case in ET.parse(tmp_path / "rig.xml").iter("testcase")
    ]
    assert len(told) == 6 and all({"bundle_digest", "firmware", "board_serial"} <= names for names in told)
    assert "6 checks" in (tmp_path / "rig.html").read_text()


def test_an_installed_package_brings_it(file: Path, tmp_path: Path) -> None:
    """By the entry point of pyproject.toml, named or not."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["pytest11"]
    info = tmp_path / "site" / "edge_ad_rig-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edge-ad-rig\nVersion: 0\n")
    (info / "entry_points.txt").write_text(
        "[pytest11]\n" + "".join(f"{k} = {v}\n" for k, v in points.items())
    )
    path = os.pathsep.join([str(tmp_path / "site"), *(p for p in sys.path if p)])
    for named in ([], ["-p", "edge_ad.rig.pytest_plugin"]):
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            *named,
            "-p",
            "no:cacheprovider",
            "--rig",
            file,
            "--co",
        ]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout.count("rig.toml::") == 6, done.stdout + done.stderr


def test_tests_of_ones_own_get_devices_with_bundles_live_on_them(file: Path, tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(OWN)
    done = run(tmp_path, "--rig", file, "-v", "-m", "not rig_check", "test_own.py")
    assert done.returncode == 0 and "6 deselected" in done.stdout, done.stdout + done.stderr
    assert sorted(re.findall(r"\[(\S+)\] PASSED", done.stdout)) == sorted(
        ["one:", "two:", "one:pump", "one:fan", "two:pump", "two:fan"]
    )


@pytest.mark.slow
def test_workers_of_xdist_share_no_device(file: Path, tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(OWN)
    done = run(tmp_path, "--rig", file, "-v", "-n", "2")
    assert done.returncode == 0 and "12 passed" in done.stdout, done.stdout + done.stderr
    workers: dict[str, set[str]] = {}
    for worker, device in re.findall(r"\[(gw\d)\].*PASSED.*?(?:::|\[)(one|two):", done.stdout):
        workers.setdefault(device, set()).add(worker)
    assert {device: len(found) for device, found in workers.items()} == {"one": 1, "two": 1}
    done = run(tmp_path, "--rig", file, "-n", "2", "--dist", "loadfile")
    assert done.returncode == 4 and "--dist loadfile may use a device from two workers" in done.stderr


def test_what_fails_is_told_in_a_line(file: Path, tmp_path: Path) -> None:
    firmware = faulty_firmware(tmp_path, "posix", "fully_connected")
    text = file.read_text().replace('name = "two"', f'name = "two"\nfirmware = "{firmware}"')
    file.write_text(text)
    done = run(tmp_path, "--rig", file, "-k", "two and parity", "--tb=short")
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "the first operator that differs is fully_connected (step 0, node 0)" in done.stdout


def test_a_device_that_another_holds_and_a_file_that_is_none_stop_it_at_once(
    file: Path, tmp_path: Path
) -> None:
    hold = "import sys; from pathlib import Path; from edge_ad.rig import load_rig, lock_devices\nwith lock_devices(load_rig(Path(sys.argv[1]))):\n print('held', flush=True); sys.stdin.read()"  # noqa: E501
    with subprocess.Popen(
        [sys.executable, "-c", hold, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        done = run(tmp_path, "--rig", file)
        assert done.returncode == 4 and f"(process {other.pid}, " in done.stderr
    file.write_text(file.read_text().replace("kind", "sort", 1))
    done = run(tmp_path, "--rig", file)
    assert (
        done.returncode == 4
        and "ERROR: --rig: " in done.stderr
        and "device[1].kind: is missing" in done.stderr
    )


def test_without_a_rig_nothing_is_there(tmp_path: Path) -> None:
    """No fixture, no item, and nothing that takes time to import."""
    (tmp_path / "test_own.py").write_text(OWN)
    done = run(tmp_path, "--fixtures", "-q")
    assert "rig_fixture" not in done.stdout and "device" not in done.stdout
    code = "import json, sys, edge_ad.rig.pytest_plugin; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"numpy", "pydantic", "serial", "edge_ad.rig.config", "edge_ad.errors"} & set(modules)
