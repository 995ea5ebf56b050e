"""int16 onto an INT8 grid: C equals NumPy to the bit, in place too."""

from __future__ import annotations

import numpy as np
import pytest
from operator_images import operator_image, run

from edge_ad.compile.integer.image import write_image
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records.spectrum import Narrow
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.errors import EngineError
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.integer.narrow import narrow

EVERY = np.arange(-(2**15), 2**15).astype(np.int16)


def image(size: int, fields: dict[str, int]):
    def make(builder, source, results):
        return Narrow(input=source, output=results[0], **fields), []

    return operator_image(2 * size, [size], make)


@pytest.mark.parametrize(
    ("multiplier", "shift", "zero"),
    [
        (*quantize_multiplier(r), z)
        for r, z in [(0.0131, 3), (1.0, 0), (0.5, -128), (300.0, 127), (1e-6, 5), (0, 9)]
    ]
    + [(2**31 - 1, 15, 0), (1, -31, 1), (2**31 - 1, -31, -1)],
)
def test_the_kernel_is_the_definition(multiplier: int, shift: int, zero: int) -> None:
    fields = {"size": EVERY.size, "multiplier": multiplier, "shift": shift, "zero": zero}
    (got,) = run(image(EVERY.size, fields), EVERY, np.int8)
    np.testing.assert_array_equal(got, narrow(EVERY, multiplier, shift, zero))


def test_values_are_the_nearest_ones() -> None:
    """Against floats: of 0.0037 standard deviations a step, with the zero point that the grid has."""
    real, port = EVERY * 2.0**-11, PortSpec((EVERY.size,), "int8", 0.0371, -7)
    got = narrow(EVERY, *quantize_multiplier(2.0**-11 / port.scale), port.zero_point)
    assert (got != port.quantize(real)).mean() < 1e-4  # only where two are equally near
    np.testing.assert_allclose(
        port.dequantize(got), np.clip(real, -121 * 0.0371, 134 * 0.0371), atol=0.0371 / 1.99
    )


def test_runs_in_place() -> None:
    builder, spec = Builder("plain"), PortSpec((1, 640), "int16")
    source = builder.input(spec)
    result = builder.buffer(640)
    record = Narrow(input=source, output=result, size=640, multiplier=1 << 30, shift=-5, zero=4)
    builder.step(record, reads=[source], writes=[result], in_place=[(source, result)])
    made = PortSpec((1, 640))
    builder.output(made, result)
    board = write_image(builder.program)
    assert board.plan.size == 1280
    values = np.random.default_rng(0).integers(-(2**15), 2**15, (1, 640)).astype(np.int16)
    (got,) = HostModel(board.content, inputs=[spec], outputs=[made]).infer([values])
    np.testing.assert_array_equal(got, narrow(values, 1 << 30, -5, 4))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shift": 16},
        {"shift": -32},
        {"multiplier": -1},
        {"zero": 128},
        {"zero": -129},
        {"size": 0},
        {"size": 99},
    ],
)
def test_hostile_records_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(EngineError, match="damaged"):
        run(
            image(64, {"size": 64, "multiplier": 1, "shift": 0, "zero": 0} | wrong),
            np.zeros(64, np.int16),
            np.int8,
        )
