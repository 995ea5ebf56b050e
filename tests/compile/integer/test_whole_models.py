"""Whole networks equal LiteRT's reference kernels to the bit, in an arena that is no larger than it has to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tflite_maker import reference
from whole_models import mixed

from edge_ad.compile.integer.arena import plan
from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.lower import lower
from edge_ad.compile.integer.read import parse_tflite, read_tflite
from edge_ad.firmware_bridge.host_library import HostModel


@pytest.mark.parametrize("seed", range(12))
def test_a_network_of_many_operators(seed: int) -> None:
    content, shape = mixed(seed)
    model = HostModel(build_image(parse_tflite(content), "plain").content)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        values = rng.integers(-128, 128, shape).astype(np.int8)
        for ours, theirs in zip(model.infer([values]), reference(content, [values]), strict=True):
            np.testing.assert_array_equal(ours, theirs.ravel())


@pytest.mark.parametrize("seed", range(12))
def test_no_two_buffers_that_are_alive_at_once_share_memory(seed: int) -> None:
    program = lower(parse_tflite(mixed(seed)[0]), "plain")
    result = plan(program)
    shared = {frozenset((a.number, b.number)) for step in program.steps for a, b in step.in_place}
    for a in result.placed:
        assert a.offset + a.buffer.size <= result.size and a.offset % 16 == 0
        for b in result.placed[: a.buffer.number]:
            alive_at_once = a.first <= b.last and b.first <= a.last
            apart = a.offset + a.buffer.size <= b.offset or b.offset + b.buffer.size <= a.offset
            assert apart or not alive_at_once or frozenset((a.buffer.number, b.buffer.number)) in shared
    assert result.needed <= result.size <= sum(b.size + 15 for b in program.buffers)


def test_mlperf_tiny_anomaly_detection(data_folder: Path) -> None:
    path = data_folder / "models" / "mlperf_tiny_ad01" / "ad01_int8.tflite"
    if not path.is_file():
        pytest.skip("MLPerf Tiny's network is not on this machine (set EDGE_AD_DATA)")
    image = build_image(read_tflite(path), "plain")
    widest = 640 + 128  # a layer's input and output
    assert image.plan.size <= widest + 1400 and image.macs == 264_192
    model, content = HostModel(image.content), path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.integers(-128, 128, (1, 640)).astype(np.int8)
        np.testing.assert_array_equal(model.infer([values])[0], reference(content, [values])[0].ravel())
