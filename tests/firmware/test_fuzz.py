"""The link and the image loader under libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import small_tspulse

from edge_ad.firmware_bridge.build import FIRMWARE

CORPUS = Path(__file__).resolve().parent / "corpus"
SECONDS = 60
SOURCES = {"link": ["link/*.c", "*.c"], "text": ["link/*.c", "*.c"], "image": []}
ENTRIES = {"text": "link"}  # the same line, which speaks text first
FLAGS = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(params=["image", "link", pytest.param("text", marks=pytest.mark.slow)])
def fuzzer(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    name, out = request.param, tmp_path / "fuzzer"
    patterns = ["engine/*.c", "engine/kernels/*.c", *SOURCES[name]]
    found = sorted(str(p) for pattern in patterns for p in FIRMWARE.glob(pattern) if p.name != "main.c")
    sources = [f"fuzz/{ENTRIES.get(name, name)}.c", *found, f"-DEDGE_DIALECT={int(name == 'text')}"]
    done = subprocess.run(
        ["clang", *FLAGS, *sources, "-o", str(out)], cwd=FIRMWARE, capture_output=True, text=True
    )
    if "cannot find" in done.stderr:
        pytest.skip("clang has no sanitizers here (Debian: libclang-rt-14-dev)")
    assert done.returncode == 0, done.stderr
    return name, out


def run(fuzzer: tuple[str, Path], tmp_path: Path, *options: str) -> None:
    name, program = fuzzer
    found = tmp_path / "corpus"
    found.mkdir()
    if name == "image":  # the kept ones have no detector's operators, whose numbers may still change
        (found / "tspulse.bin").write_bytes(small_tspulse.form().image("plain").content)
    command = [str(program), "-max_len=16384", *options, str(found), str(CORPUS / ENTRIES.get(name, name))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_kept_corpus_is_clean(fuzzer: tuple[str, Path], tmp_path: Path) -> None:
    run(fuzzer, tmp_path, "-runs=0")


@pytest.mark.slow
def test_a_minute_of_fuzzing_finds_nothing(fuzzer: tuple[str, Path], tmp_path: Path) -> None:
    run(fuzzer, tmp_path, f"-max_total_time={SECONDS}")
