"""The device install: the runtime's own tests pass in an environment that has nothing of the compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ABSENT, copy_checkout

TOOLS = ["pytest>=8", "pytest-timeout>=2", "hypothesis>=6"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("install", "tests"),
    [
        pytest.param([".[camera,openvino,metrics,velodyne]", "numpy>=2"], "tests/runtime", id="numpy2-openvino"),
        pytest.param(
            [".[camera]", "numpy<2", "tflite-runtime==2.14.0"], "tests/runtime", id="numpy1-tflite",
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime has no wheel for this Python"),
        ),
    ],
)  # fmt: skip
def test_the_runtimes_tests_pass_in_a_device_install(tmp_path: Path, install: list[str], tests: str) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    source = copy_checkout(tmp_path / "source")
    pip = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, *install, *TOOLS], cwd=source, capture_output=True, text=True)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"packages cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.rmtree(source / "edge_ad")  # what is tested is what was installed
    check = f"import importlib.util as u, edge_ad.runtime.station.station; assert not any(map(u.find_spec, {ABSENT!r}))"
    subprocess.run([environment / "bin" / "python", "-c", check], cwd=tmp_path, check=True)
    done = subprocess.run(
        [environment / "bin" / "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", tests],
        cwd=source, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
