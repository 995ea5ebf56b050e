"""Records that nobody wrote: each word of each operator of image detectors, changed, under the sanitizers' eyes."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from int16_convolutions import random_case
from own_operators import one_node

from edge_ad.compile.integer.graph import Graph
from edge_ad.compile.integer.image import Image, build_image
from edge_ad.compile.integer.operators.resize import ONE
from edge_ad.firmware_bridge.build import FIRMWARE

HARNESS = Path(__file__).resolve().parents[1] / "support" / "hostile_images.c"
ODD = (0, 1, 2, 3, 5, 16, 31, 127, 255, 256, 1023, 65535, 1 << 20, 1 << 24, (1 << 24) + 1, 1 << 30, (1 << 31) - 1,
       1 << 31, (1 << 31) + 64, (1 << 32) - 1, (1 << 32) - 2)  # fmt: skip


def graphs() -> dict[str, Graph]:
    """One of each operator."""
    pixels = np.zeros((1, 3, 8, 8), np.uint8)
    mask, wide = np.zeros((4, 4), np.uint8), np.zeros((1, 6, 6, 3), np.int16)
    values, half = np.zeros((1, 6, 6, 1), np.int32), np.zeros((1, 3, 3, 1), np.int32)
    limits = np.full((2, 3, 4, 4), 7, np.uint16)
    gain, mean = np.ones((1, 6, 6, 1), np.uint16), np.zeros((1, 6, 6, 1), np.int32)
    halves = {"alignCorners": False, "halfPixelCenters": True}
    sixteen = [np.ones((2, 3, 3, 3), np.int16), np.zeros(2, np.int32), np.full(2, 1 << 30, np.int32)]
    assert ONE == 1024
    return {
        "pixels": one_node("pixels", [pixels, mask], [], (1, 8, 8, 3), "int8", block=2, cell=2),
        "pixels, int16": one_node("pixels", [pixels], [], (1, 8, 8, 3), "int16", block=1, shift=5),
        "template_mask": one_node("template_mask", [pixels], [limits], (4, 4), "uint8", cell=2),
        "squared_difference": one_node("squared_difference", [wide, wide], [], values.shape, "int32", shift=1),
        "box_mean": one_node("box_mean", [values], [], values.shape, "int32", side=3),
        "affine_map": one_node("affine_map", [values], [mean, gain], values.shape, "int32", shift=4),
        "map_max": one_node("map_max", [values], [], (1, 1), "int32", offset=3),
        "halve": one_node("halve", [wide], [], (1, 3, 3, 3), "int16"),
        "gradient_dissimilarity": one_node(
            "gradient_dissimilarity", [wide, wide], [], values.shape, "int32", constant=9, bits=20
        ),
        "stretch_sum": one_node("stretch_sum", [half, values], [], values.shape, "int32", **halves),
        "convolution_int16": random_case(np.random.default_rng(3)).graph,
        "convolution16": one_node("convolution16", [wide], sixteen, (1, 6, 6, 2), "int16", shift=-9, limits=(-9, 9),
                                  stride=1, pads=(1, 1)),
        "widen": one_node("widen", [wide.astype(np.int8)], [], wide.shape, "int16", multiplier=1 << 30, shift=5),
        "narrow": one_node("narrow", [wide], [], wide.shape, "int8", multiplier=1 << 30, shift=-3),
        "pool16": one_node("AVERAGE_POOL_2D", [wide], [], (1, 3, 3, 3), "int16", padding=1, strideH=2, strideW=2,
                           filterHeight=2, filterWidth=2, fusedActivationFunction=0),
    }  # fmt: skip


def changed(image: Image) -> list[bytes]:
    """The image, then it with one word of its record another one, or a little more or less."""
    content = image.content
    (steps,) = struct.unpack_from("<I", content, 20)
    (record,) = struct.unpack_from("<I", content, steps + 4)
    found = [content]
    for word in range(len(fields(image.program.steps[0].record))):
        at = record + 4 * word
        (value,) = struct.unpack_from("<I", content, at)
        near = {(value + by) & 0xFFFFFFFF for by in (-4, -1, 1, 4, value)}
        for other in sorted({*ODD, *near} - {value}):
            found.append(content[:at] + struct.pack("<I", other) + content[at + 4 :])
    return found


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    out = tmp_path_factory.mktemp("hostile") / "harness"
    kernels = sorted(str(path) for path in (FIRMWARE / "engine" / "kernels").glob("*.c"))
    command = ["gcc", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", str(HARNESS),
               "engine/engine.c", "engine/monitor.c", *kernels, "-o", str(out)]  # fmt: skip
    done = subprocess.run(command, cwd=FIRMWARE, capture_output=True, text=True)
    if "cannot find" in done.stderr:
        pytest.skip("gcc has no sanitizers here")
    assert done.returncode == 0, done.stderr
    return out


def test_no_record_reads_or_writes_outside(harness: Path, tmp_path: Path) -> None:
    for name, graph in graphs().items():
        images = changed(build_image(graph, "plain", stripes=False))
        file = tmp_path / "images.bin"
        file.write_bytes(b"".join(struct.pack("<I", len(image)) + image for image in images))
        done = subprocess.run([str(harness), str(file)], capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
        loaded = int(done.stdout)
        assert 1 <= loaded < 0.6 * len(images), f"{name}: {loaded} of {len(images)} loaded"
