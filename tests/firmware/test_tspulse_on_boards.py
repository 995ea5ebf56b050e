"""On QEMU's boards TSPulse and its wide layers give what their definitions say, to the bit."""

from __future__ import annotations

import board_images
import numpy as np
import pytest
import small_tspulse
from operator_images import operator_image

from edge_ad.compile.integer.operators.packing import pack
from edge_ad.compile.integer.records.residual import FullyConnectedWide
from edge_ad.runtime.integer.residual import fully_connected_wide, packed_scale

pytestmark = pytest.mark.skipif(
    board_images.missing() is not None, reason=f"{board_images.missing()} is not installed"
)
CASES = 80


@pytest.mark.parametrize("machine", board_images.MACHINES)
def test_wide_layers(machine: str) -> None:
    """Of every depth modulo what a load takes, and every number of units modulo four; large and small scales."""
    rng = np.random.default_rng(20)
    kernels = board_images.MACHINES[machine].kernels
    cases, expected = [], []
    for number in range(CASES):
        batch, depth, units, first = 1 + number % 3, 1 + number, 1 + (number * 7) % 13, number % 2
        x = rng.integers(-(2**15), 2**15, (first + batch, depth))
        weights = rng.integers(-128, 128, (units, depth)).astype(np.int8)
        bias = rng.integers(-(2**31), 2**31, units) >> rng.integers(0, 31)
        low = -31 if number % 4 else -12  # three quarters of all: by the shifts that leave something
        scales = [packed_scale(int(rng.integers(2**30, 2**31)), int(rng.integers(low, 31 if number % 4 else -8)))
                  for _ in range(units)]  # fmt: skip
        channels = np.stack([bias, scales]).astype(np.int32)

        def make(
            builder, source, results, fields=(first, batch, depth, units), weights=weights, channels=channels
        ):
            first, batch, depth, units = fields
            packed = pack(kernels, FullyConnectedWide, weights)
            return FullyConnectedWide(
                input=source, output=results[0], weights=builder.constant(packed),
                channels=builder.constant(channels), first=first, batch=batch, depth=depth, units=units,
            ), []  # fmt: skip

        image = operator_image(2 * x.size, [2 * batch * units], make, kernels)
        cases.append((image, [x.astype(np.int16).ravel().view(np.int8)]))
        expected.append(fully_connected_wide(x[first:], weights, channels).ravel())
    for number, (result, wanted) in enumerate(
        zip(board_images.run_on(machine, cases), expected, strict=True)
    ):
        assert result.status == 0, number
        np.testing.assert_array_equal(result.outputs[0].view(np.int16), wanted, err_msg=str(number))


@pytest.mark.parametrize("machine", board_images.MACHINES)
def test_a_whole_network(machine: str) -> None:
    form, rng = small_tspulse.form(), np.random.default_rng(0)
    given = [form.input.quantize(w) for w in small_tspulse.windows(6)]
    given += [np.full(form.input.shape, v, np.int16) for v in (-(2**15), 0, 2**15 - 1)]
    given += [rng.integers(-(2**15), 2**15, form.input.shape).astype(np.int16) for _ in range(5)]
    image = form.image(board_images.MACHINES[machine].kernels)
    (result,) = board_images.run_on(machine, [(image, [v.ravel().view(np.int8) for v in given])])
    assert result.status == 0
    for values, got in zip(given, result.outputs, strict=True):
        wanted = form.reference(values)
        np.testing.assert_array_equal(
            got.view(np.int32), [*wanted["errors"].ravel(), *wanted["score"].ravel()]
        )
