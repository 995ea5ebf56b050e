"""Integer log-mel features: C equals NumPy to the bit, and both are near float ones written for this test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from front_images import log_mel_image
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_images import operator_image, run

from edge_ad.compile.integer.records.spectrum import LogMel as Record
from edge_ad.errors import EngineError
from edge_ad.runtime.integer.functions import log2
from edge_ad.runtime.integer.log_mel import LogMel, log2_of, log_mel, standard, standardised, tables

AD01 = LogMel()
SMALL = LogMel(rate_hz=48000, frame=256, hop=64, bands=20, frames=3, low_hz=300, high_hz=20000, floor_db=-90)
SPECS = [AD01, SMALL, LogMel(frame=2048, hop=2048, bands=40, frames=2), LogMel(frame=64, hop=1, bands=8, frames=1),
         LogMel(frame=512, hop=160, bands=6, frames=4, low_hz=900, high_hz=1300.5)]  # fmt: skip


def means_and_gains(spec: LogMel) -> tuple[np.ndarray, np.ndarray]:
    """Of which gains are as large as they get, small, none, and negative."""
    rng = np.random.default_rng(9)
    gains = rng.choice([2**31 - 1, 1 << 16, 1 << 20, 70000, 12345, 0, -(2**31)], spec.bands)
    return rng.integers(-9600, 2000, spec.bands).astype(np.int16), gains.astype(np.int32)


def image(spec: LogMel, changed: dict[str, object] | None = None):
    return log_mel_image(spec, *means_and_gains(spec), changed=changed)


def signals(spec: LogMel, rng: np.random.Generator) -> np.ndarray:
    """(n, length) int16."""
    n = spec.length
    t = np.arange(n)
    turns = np.outer(rng.uniform(0, 0.5, 12), t) + rng.uniform(0, 1, (12, 1))
    loudness = 32767 * 10.0 ** -np.array([0, 0, 0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4])[:, None]
    rows = [
        *loudness * np.sin(2 * np.pi * turns), *rng.normal(0, loudness / 4, (12, n)),
        *np.cumsum(rng.normal(0, 100, (2, n)), axis=1), np.full(n, 32767), np.full(n, -32768), np.zeros(n),
        np.where(t % 2, 32767, -32768), np.where(t == n // 2, 32767, 0), np.where(t // 50 % 2, 32767, -32768),
        rng.integers(-1, 2, n), 32000 * np.sin(2 * np.pi * t * t / 4 / n),
    ]  # fmt: skip
    return np.clip(np.rint(rows), -32768, 32767).astype(np.int16)


def exact(samples: np.ndarray, spec: LogMel) -> np.ndarray:
    """Features in float64, from the definition: no table and no code of the product."""
    n = spec.frame
    x = samples / 32768
    starts = range(0, spec.frames * spec.hop, spec.hop)
    frames = np.stack([x[:, s : s + n] for s in starts], axis=1) * np.sin(np.pi * np.arange(n) / n) ** 2
    power = np.abs(np.fft.rfft(frames)) ** 2
    mels = np.linspace(*(_mel(f) for f in (spec.low_hz, spec.high_hz)), spec.bands + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    hz = np.arange(n // 2 + 1) * spec.rate_hz / n
    below, centre, above = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangle = np.maximum(0, np.minimum((hz - below) / (centre - below), (above - hz) / (above - centre)))
    sums = power @ (triangle * 2 / (above - below)).T
    return 10 * np.log10(sums + 1e-300)


def _mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000, 6.4)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.frame}-{s.bands}")
def test_the_kernel_is_the_definition(spec: LogMel) -> None:
    rng = np.random.default_rng(spec.frame)
    samples = np.concatenate(
        [signals(spec, rng), rng.choice([-32768, 0, 32767], (4, spec.length)).astype(np.int16)]
    )
    board = image(spec)
    got = np.array([run(board, window, np.int16)[0] for window in samples])
    wanted = standardised(log_mel(samples, spec), *means_and_gains(spec))
    np.testing.assert_array_equal(got, wanted.reshape(len(samples), -1))


@pytest.mark.parametrize(
    "spec", [s for s in SPECS if s.floor_db == -75], ids=lambda s: f"{s.frame}-{s.bands}"
)
def test_within_a_tenth_of_a_decibel_above_the_floor(spec: LogMel) -> None:
    samples = signals(spec, np.random.default_rng(3))
    wanted, got = exact(samples, spec), log_mel(samples, spec) / 128
    above = wanted > spec.floor_db
    assert 0.3 < above.mean() < 1
    assert np.abs(got - wanted)[above].max() < 0.1
    assert (got[~above] <= spec.floor_db + 0.1).all()
    assert got.min() == spec.floor_db


def test_frames_are_those_of_shifted_windows() -> None:
    """What a stream relies on: a window one hop later has the same features, one frame earlier."""
    samples = np.random.default_rng(4).integers(-20000, 20000, AD01.length + AD01.hop).astype(np.int16)
    first, second = (log_mel(samples[s : s + AD01.length], AD01) for s in (0, AD01.hop))
    np.testing.assert_array_equal(first[1:], second[:-1])


def test_half_as_loud_is_six_decibels_less() -> None:
    samples = np.random.default_rng(5).integers(-30000, 30000, AD01.length).astype(np.int16) // 2 * 2
    loud, soft = (log_mel(s, AD01) / 128 for s in (samples, samples // 2))
    np.testing.assert_allclose(loud - soft, 20 * math.log10(2), atol=1 / 128)


def test_standardised_features_have_mean_0_and_spread_1() -> None:
    rng = np.random.default_rng(6)
    spreads = np.array([0.01, 0.5, 4, 30])
    features = np.rint(128 * rng.normal([-40, -20, 3, 0], spreads, (900, 5, 4))).astype(np.int16)
    given = standardised(features, *standard(features)) * 2.0**-11
    assert given.shape == (900, 4, 5)
    np.testing.assert_allclose(given.mean(axis=(0, 2)), 0, atol=0.02)
    np.testing.assert_allclose(given.std(axis=(0, 2)), [0.01 / 0.25, 1, 1, 1], atol=0.003)
    far = np.full((1, 1, 4), 32767, np.int16)
    assert (standardised(far, *standard(features))[0, :3] == 2**15 - 1).all()
    assert (standardised(-far, *standard(features))[0, :3] == -(2**15)).all()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=20))
def test_logarithms_of_arrays_are_those_of_numbers(values: list[int]) -> None:
    np.testing.assert_array_equal(log2_of(np.array(values, np.int64)), [log2(v) for v in values])


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"frame": 1000}, "1000 samples"), ({"hop": 0}, "hop of 0"), ({"hop": 1025}, "hop of 1025"),
        ({"bands": 0}, "0 bands"), ({"frames": 1000}, "1000 frames"), ({"high_hz": 9000}, "9000 Hz"),
        ({"low_hz": 8000}, "8000 to 8000"), ({"floor_db": -300}, "floor of -300"), ({"bands": 400}, "hold no bin"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(changed: dict[str, float], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        LogMel(**changed)


def _bent(name: str, at: int, value: int) -> np.ndarray:
    table = getattr(tables(SMALL), name).copy()
    table[at] = value
    return table


@pytest.mark.parametrize(
    "changed",
    [
        {"log2_size": 5}, {"log2_size": 12}, {"frames": 0}, {"frames": 1 << 20}, {"hop": 0}, {"hop": 257},
        {"hop": -1}, {"bands": 0}, {"bands": 60000}, {"floor": -40000}, {"floor": 40000}, {"frames": 40},
        {"starts": _bent("starts", 21, 130)}, {"starts": _bent("starts", 3, 100)},
        {"fractions": _bent("fractions", 60, (1 << 14) + 1)}, {"bands": 2000, "starts": np.zeros(2002, np.uint16)},
    ],
)  # fmt: skip
def test_hostile_records_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(EngineError, match="damaged"):
        run(image(SMALL, changed), np.zeros(SMALL.length, np.int16), np.int16)


@pytest.mark.parametrize("wrong", ["starts", "fractions", "work at input", "work at output", None])
def test_what_is_checked_once_lies_in_the_image_and_work_apart(wrong: str | None) -> None:
    def make(builder, source, results):
        made, work = tables(SMALL), builder.buffer(4 * SMALL.frame)
        means, gains = means_and_gains(SMALL)
        refs = {"input": source, "output": results[0], "work": work, "means": builder.constant(means),
                "gains": builder.constant(gains)}  # fmt: skip
        refs |= {name: builder.constant(getattr(made, name)) for name in ("starts", "fractions", "offsets")}
        if wrong is not None:
            refs[wrong.split()[0]] = refs[wrong.split()[2]] if " " in wrong else source
        return Record(**refs, frames=3, hop=64, bands=20, log2_size=8, floor=SMALL.floor), [work]

    board = operator_image(4000, [4000], make)
    if wrong is None:
        run(board, np.zeros(2000, np.int16), np.int16)
        return
    with pytest.raises(EngineError, match="damaged"):
        run(board, np.zeros(2000, np.int16), np.int16)
