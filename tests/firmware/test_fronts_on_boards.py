"""On QEMU's boards the FFT and the log-mel features are what their definitions say, to the bit."""

from __future__ import annotations

import board_images
import numpy as np
import pytest
from front_images import log_mel_image
from operator_images import operator_image

from edge_ad.compile.integer.records.spectrum import RfftRows
from edge_ad.runtime.integer.log_mel import LogMel, log_mel, standard, standardised
from edge_ad.runtime.integer.rfft import LOG2_SIZES, rfft

pytestmark = pytest.mark.skipif(
    board_images.missing() is not None, reason=f"{board_images.missing()} is not installed"
)


@pytest.mark.parametrize("machine", board_images.MACHINES)
def test_transforms_and_features_are_the_definitions(machine: str) -> None:
    kernels, rng = board_images.MACHINES[machine].kernels, np.random.default_rng(1)
    cases, wanted = [], []
    for log2_size in LOG2_SIZES:
        n = 1 << log2_size

        def make(builder, source, results, n=n, log2_size=log2_size):
            work = builder.buffer(4 * n)
            return RfftRows(source, results[0], results[1], work, 2, log2_size), [work]

        image = operator_image(4 * n, [4 * (n + 2), 8], make, kernels)
        samples = np.stack([rng.integers(-32768, 32768, n), rng.integers(-5, 5, n)]).astype(np.int16)
        cases.append((image, [samples.view(np.int8).ravel()]))
        bins, exponents = rfft(samples.astype(np.int64))
        wanted.append(bins.astype("<i2").tobytes() + exponents.astype("<i4").tobytes())
    for features in (LogMel(), LogMel(frame=256, hop=100, bands=24, frames=3, low_hz=100)):
        windows = rng.integers(-20000, 20000, (3, features.length)) >> np.array([[0], [4], [15]])
        found = log_mel(windows.astype(np.int16), features)
        means, gains = standard(found)
        image = log_mel_image(features, means, gains, kernels)
        cases.append((image, list(windows.astype("<i2").view(np.int8))))
        wanted.append(standardised(found, means, gains).astype("<i2").tobytes())
    results = board_images.run_on(machine, cases)
    assert [result.status for result in results] == [0] * len(cases)
    for number, (result, expected) in enumerate(zip(results, wanted, strict=True)):
        got = b"".join(np.asarray(output).tobytes() for output in result.outputs)
        assert got == expected, f"case {number}"
