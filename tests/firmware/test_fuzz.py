"""The link and the image loader under libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import regret_cases
import small_tspulse
from front_images import log_mel_image
from int16_convolutions import random_case
from judged_images import IDENTITY, frame_image, stream_image
from kept_chains import kept_chain
from layer16_cases import convolution_case, doubling_case

from edge_ad.compile.integer.image import build_image
from edge_ad.firmware_bridge.build import FIRMWARE
from edge_ad.firmware_bridge.monitor import Monitor
from edge_ad.runtime.integer.log_mel import LogMel

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


def seeds() -> dict[str, bytes]:
    """Images with the operators of every detector, made anew: their numbers may still change, unlike those kept."""
    rng = np.random.default_rng(5)
    monitor = Monitor(100, 100, 100, 50, 5000, 0.25)
    made = {
        "tspulse": small_tspulse.form().image("plain"),
        "image-convolution": build_image(random_case(rng).graph, "plain", stripes=False),
        "log-mel": log_mel_image(
            LogMel(frame=64, hop=32, frames=2, bands=8, rate_hz=8000.0, high_hz=4000.0),
            [0] * 16,
            [1 << 16] * 16,
        ),
        "judged-frame": frame_image("plain", monitor),
        "judged-stream": stream_image("plain", replace(monitor, stream=IDENTITY)),
    }
    made |= {f"regret-{n}": regret_cases.random_case(rng).image() for n in range(4)}
    made |= {f"convolution16-{n}": convolution_case(rng)[0]("plain") for n in range(3)}
    chains = (chain for chain in map(kept_chain, range(30)) if chain is not None)
    made |= {
        f"kept-{n}": build_image(graph, "plain") for n, (_, graph) in zip(range(3), chains, strict=False)
    }
    made |= {f"doubling16-{n}": doubling_case(rng)[0]("plain") for n in range(3)}
    return {name: image.content for name, image in made.items()}


def run(fuzzer: tuple[str, Path], tmp_path: Path, *options: str) -> None:
    name, program = fuzzer
    found = tmp_path / "corpus"
    found.mkdir()
    if name == "image":
        for seed, content in seeds().items():
            (found / f"{seed}.bin").write_bytes(content)
    command = [str(program), "-max_len=16384", *options, str(found), str(CORPUS / ENTRIES.get(name, name))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def test_the_kept_corpus_is_clean(fuzzer: tuple[str, Path], tmp_path: Path) -> None:
    run(fuzzer, tmp_path, "-runs=0")


@pytest.mark.slow
def test_a_minute_of_fuzzing_finds_nothing(fuzzer: tuple[str, Path], tmp_path: Path) -> None:
    run(fuzzer, tmp_path, f"-max_total_time={SECONDS}")
