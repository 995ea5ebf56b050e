"""Raw samples in, on a board: its features are the preprocessing's to the bit, and its window stays in place."""

from __future__ import annotations

import board_images
import numpy as np
import pytest

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.compile.integer.detectors.entry import Entry, entry
from edge_ad.compile.integer.image import Image, write_image
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records.spectrum import Narrow
from edge_ad.data.sample_sounds import FAULTS, recording
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.integer.log_mel import LogMel, log_mel, standard
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.series.log_mel import LogMelFront
from edge_ad.runtime.series.standardise import standardise_spec

FEATURES = LogMel(frame=512, hop=256, bands=40)
UNIT = 2.0**-15


def windows(n: int, fault: str | None = None, seed: int = 0) -> np.ndarray:
    """(n, length, 1) float32, as a source gives them."""
    samples = recording(np.random.default_rng(seed), 2.0, fault) / np.float32(32768)
    starts = np.arange(n) * FEATURES.hop
    return np.stack([samples[s : s + FEATURES.length, None] for s in starts]).astype(np.float32)


@pytest.fixture(scope="module")
def spec() -> InputSpec:
    integers = np.rint(windows(40)[..., 0] / UNIT).astype(np.int16)
    means, gains = standard(log_mel(integers, FEATURES))
    front = LogMelFront(FEATURES, UNIT, tuple(means), tuple(gains))
    window = WindowSpec(length=FEATURES.length, hop=FEATURES.hop, rate_hz=16000, channels=["c0"])
    return InputSpec(
        modality="series", shape=(1, 40, 5), dtype="float32", preprocess=front.spec, window=window
    )


@pytest.fixture(scope="module")
def begin(spec: InputSpec) -> Entry:
    return entry(spec, PortSpec((1, 40, 5), "int8", 0.031, -4))


def image(begin: Entry, kernels: str = "plain") -> Image:
    builder = Builder(kernels)
    found, vector = begin.emit(builder), builder.buffer(200)
    multiplier, shift = begin.narrow
    builder.step(Narrow(found, vector, 200, multiplier, shift, -4), reads=[found], writes=[vector])
    builder.output(begin.values, found)
    builder.output(PortSpec((1, 40, 5), "int8", 0.031, -4), vector)
    return write_image(builder.program)


def taken(begin: Entry, window: np.ndarray) -> np.ndarray:
    """What the host makes of a window for the port."""
    assert begin.taken is not None
    return begin.port.quantize(preprocess(begin.taken.preprocess, window))


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_a_board_sees_the_features_of_every_other_target(
    spec: InputSpec, begin: Entry, fault: str | None
) -> None:
    made = image(begin)
    model = HostModel(made.content, inputs=made.inputs, outputs=made.outputs)
    for window in windows(12, fault, seed=7):
        found, vector = model.infer([taken(begin, window)])
        host = preprocess(spec.preprocess, window)
        np.testing.assert_array_equal(found * np.float32(2**-11), host)
        np.testing.assert_array_equal(vector, begin.reference(taken(begin, window))[1])
        grid = np.clip(host, -124 * 0.031, 131 * 0.031)
        np.testing.assert_allclose((vector.astype(np.float64) + 4) * 0.031, grid, atol=0.031 * 0.501)


@pytest.mark.skipif(board_images.missing() is not None, reason=f"{board_images.missing()} is not installed")
@pytest.mark.parametrize("machine", board_images.MACHINES)
def test_so_does_one_of_qemu(spec: InputSpec, begin: Entry, machine: str) -> None:
    given = windows(3, "rub", seed=9)
    vectors = [np.frombuffer(begin.port.raw(taken(begin, window)), np.int8) for window in given]
    (result,) = board_images.run_on(
        machine, [(image(begin, board_images.MACHINES[machine].kernels), vectors)]
    )
    for output, window in zip(result.outputs, given, strict=True):
        found = np.asarray(output[:400]).view("<i2") * np.float32(2**-11)
        np.testing.assert_array_equal(found, preprocess(spec.preprocess, window).ravel())


def test_the_window_stays_as_it_is(begin: Entry) -> None:
    """The firmware moves it on by a hop: nothing else may be written there."""
    made = image(begin)
    model = HostModel(made.content, inputs=made.inputs, outputs=made.outputs)
    for once, again in zip(model.infer([taken(begin, windows(1)[0])]), model.again(), strict=True):
        np.testing.assert_array_equal(once, again)


def test_standardised_values_come_as_they_are_where_nothing_is_to_be_computed() -> None:
    window = WindowSpec(length=1, hop=1, rate_hz=None, channels=[f"c{i}" for i in range(6)])
    spec = InputSpec(modality="series", shape=(1, 6, 1), dtype="float32", window=window,
                     preprocess=standardise_spec([0] * 6, [1] * 6))  # fmt: skip
    begin = entry(spec, PortSpec((1, 6, 1), "int8", 0.05, 3))
    assert begin.taken is None and begin.port == PortSpec((1, 6, 1), "int16", 2.0**-11)
    values = np.array([[[-20], [-3.2], [-0.01], [0.01], [6.5], [20]]], np.float32)
    found, vector = begin.reference(begin.port.quantize(values))
    assert found.ravel().tolist() == [-32768, -6554, -20, 20, 13312, 32767]
    assert vector.ravel().tolist() == [-128, -61, 3, 3, 127, 127]
