"""The preprocessing 'series/log-mel': samples as a 16-bit converter gives them, features as boards compute them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from edge_ad.bundle.manifest import PreprocessSpec
from edge_ad.errors import DataError, SchemaError
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.integer.log_mel import LogMel, log_mel
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.series.log_mel import LogMelFront, integer_samples, log_mel_front
from edge_ad.runtime.series.standardise import standardise_spec

FEATURES = LogMel()
FRONT = LogMelFront(FEATURES, 2.0**-15, tuple(range(-3000, -1720, 10)), tuple(range(30000, 286000, 2000)))


def sound(seed: int = 0) -> np.ndarray:
    """A window (length, 1) float32, computed without transcendental functions."""
    values = np.random.default_rng(seed).integers(-9000, 9000, FEATURES.length)
    return (values / 32768).astype(np.float32)[:, None]


def test_bytes_never_change() -> None:
    batch = preprocess(FRONT.spec, sound())
    assert batch.shape == (1, 128, 5) and batch.dtype == np.float32
    assert hashlib.sha256(batch.tobytes()).hexdigest()[:16] == "a1fa220229f330f8"


def test_features_are_those_of_the_integers_that_a_board_is_given() -> None:
    """The board's port rounds and saturates as the preprocessing does, at any unit; what follows is exact."""
    for unit in (2.0**-15, 0.5, 0.003):
        data = sound(1) * np.float32(40000 * unit)
        port = PortSpec((1, FEATURES.length), "int16", unit)
        given = port.quantize(data.T.copy())[0]
        np.testing.assert_array_equal(integer_samples(data, FEATURES.length, unit), given)
        front = replace(FRONT, unit=unit)
        features = preprocess(front.spec, data)[0]
        np.testing.assert_array_equal(features * 2**11, front(given))
        decibels = log_mel(given, FEATURES).T / 128
        exact = (decibels - np.array(FRONT.means)[:, None] / 128) * np.array(FRONT.gains)[:, None] / 2**20
        np.testing.assert_allclose(features, np.clip(exact, -16, 16), atol=2**-11)


def test_a_converter_saturates_and_rounds_to_even() -> None:
    data = np.zeros((FEATURES.length, 1))
    data[:6, 0] = [0.5, 1.5, -0.5, 1e9, -1e9, 2.4]
    assert integer_samples(data, FEATURES.length, 1.0)[:6].tolist() == [0, 2, 0, 32767, -32768, 2]


def test_a_manifest_says_the_same() -> None:
    assert log_mel_front(PreprocessSpec.model_validate_json(FRONT.spec.model_dump_json())) == FRONT
    assert log_mel_front(standardise_spec([0.0], [1.0])) is None


def test_windows_that_are_none_are_refused() -> None:
    for data, message in [
        (sound()[:-1], r"\(3072, 1\) of numbers is expected, not \(3071, 1\)"),
        (np.concatenate([sound(), sound()], 1), r"not \(3072, 2\)"),
        (sound() > 0, "bool"),
        (np.where(np.arange(3072)[:, None] == 7, np.nan, sound()), "row 8 of the window holds nan"),
    ]:
        with pytest.raises(DataError, match=message):
            preprocess(FRONT.spec, data)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"frame": 1000}, "1000 samples"), ({"hop": -1}, "hop of -1"), ({"mels": 3}, "mels"), ({"bands": "x"}, "log-mel"),
     ({"low_hz": float("inf")}, "inf"), ({"frames": 1e300}, "log-mel"), ({"unit": 0.0}, "units of 0"),
     ({"unit": "x"}, "log-mel"), ({"means": [0] * 127}, "means are not those of 128"),
     ({"gains": [2**31] * 128}, "gains"),
     ({"gains": [1.5] * 128}, "gains"), ({"means": None}, "log-mel")],
)  # fmt: skip
def test_parameters_that_cannot_be_are_a_damaged_bundle(changed: dict[str, object], message: str) -> None:
    spec = FRONT.spec
    spec = spec.model_copy(update={"params": spec.params | changed})
    with pytest.raises(SchemaError, match=message):
        preprocess(spec, sound())
