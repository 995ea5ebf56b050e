"""The integer FFT: C equals NumPy to the bit, and both are near numpy.fft."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_images import operator_image, run

from edge_ad.compile.integer.records.spectrum import RfftRows
from edge_ad.errors import EngineError
from edge_ad.firmware_bridge.host_library import ENGINE
from edge_ad.runtime.integer.arithmetic import shift_rounded
from edge_ad.runtime.integer.rfft import LOG2_SIZES, quarter_wave, rfft, rfft_shift, rfft_words

SIZES = [1 << k for k in LOG2_SIZES]


def image(n: int, rows: int = 1, changed: dict[str, int] | None = None):
    def make(builder, source, results):
        work = builder.buffer(4 * n)
        fields = {"rows": rows, "log2_size": n.bit_length() - 1} | (changed or {})
        return RfftRows(input=source, bins=results[0], exponents=results[1], work=work, **fields), [work]

    return operator_image(2 * n * rows, [2 * (n + 2) * rows, 4 * rows], make)


def on_the_board(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, n = samples.shape
    bins, exponents = run(image(n, rows), samples.astype(np.int16), np.int16, np.int32)
    return bins.reshape(rows, n // 2 + 1, 2), exponents


def signals(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    t = np.arange(n)
    return {
        "full-scale sine": np.round(32767 * np.sin(2 * np.pi * 5.3 * t / n)),
        "sine on a bin": np.round(32767 * np.sin(2 * np.pi * 5 * t / n)),
        "cosine at an eighth": np.round(32767 * np.cos(np.pi / 4 * t)),
        "noise": rng.integers(-32768, 32768, n),
        "noise of 3 bits": rng.integers(-4, 4, n),
        "one bit": rng.integers(-1, 1, n),
        "constant": np.full(n, 1000),
        "least": np.full(n, -32768),
        "fastest": np.where(t % 2, 32767, -32768),
        "impulse": np.where(t == 3, -32768, 0),
        "zeros": np.zeros(n),
    }


@pytest.mark.parametrize("n", SIZES)
def test_the_kernel_is_the_definition(n: int) -> None:
    rng = np.random.default_rng(n)
    samples = np.array(list(signals(n, rng).values()), np.int64)
    extremes = rng.choice([-32768, -32767, -1, 0, 1, 32767], (20, n))
    loudness = 2.0 ** rng.uniform(0, 15, (40, 1))
    samples = np.concatenate([samples, extremes, (rng.uniform(-1, 1, (40, n)) * loudness).astype(np.int64)])
    bins, exponents = on_the_board(samples)
    wanted, exponent = rfft(samples)
    np.testing.assert_array_equal(bins, wanted)
    np.testing.assert_array_equal(exponents, exponent)


@pytest.mark.parametrize("n", SIZES)
def test_near_the_float_transform(n: int) -> None:
    """Of 16-bit bins: at least 60 dB between the transform's power and that of its errors."""
    for name, samples in signals(n, np.random.default_rng(n)).items():
        bins, exponent = rfft(samples.astype(np.int64))
        got = (bins[:, 0] + 1j * bins[:, 1]) * 2.0**exponent
        exact = np.fft.rfft(samples)
        power, error = (np.abs(exact) ** 2).sum(), (np.abs(got - exact) ** 2).sum()
        assert error <= power * 1e-6, name


@pytest.mark.parametrize("n", SIZES)
def test_words_are_far_nearer(n: int) -> None:
    """Each bin of the 32-bit transform is within 2^-24 of the largest that there could be: N * 2^15."""
    rng = np.random.default_rng(n + 1)
    samples = np.array(list(signals(n, rng).values()), np.int64)
    shift = rfft_shift(samples)
    words = rfft_words(shift_rounded(samples, shift))
    exact = np.fft.rfft(samples * 2.0**shift)
    assert np.abs(words[..., 0] + 1j * words[..., 1] - exact).max() < 2.0**6


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SIZES), st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1))
def test_no_component_leaves_32_bits(n: int, extreme: int, seed: int) -> None:
    """Whatever samples of up to 31 bits: the bound on which the C rests."""
    rng = np.random.default_rng(seed)
    samples = (
        rng.choice([extreme, -extreme - 1], n) if seed % 2 else np.sign(rng.standard_normal(n)) * extreme
    )
    samples = np.asarray(samples, np.int64)
    shifted = shift_rounded(samples, rfft_shift(samples))
    assert np.abs(shifted).max() <= 2 ** (30 - (n.bit_length() - 1))
    assert np.abs(rfft_words(shifted)).max() <= 2**30 + 2**8


def test_the_kernel_has_the_same_wave() -> None:
    table = re.search(r"wave\[.*?\{(.*?)\}", (ENGINE / "kernels" / "rfft.c").read_text(), re.DOTALL)
    assert table is not None
    np.testing.assert_array_equal([int(v) for v in table[1].split(",")], quarter_wave())


@pytest.mark.parametrize("n", [0, 32, 100, 4096])
def test_other_sizes_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"{n} samples"):
        rfft_words(np.zeros(n, np.int64))


@pytest.mark.parametrize("wrong", [{"log2_size": 5}, {"log2_size": 12}, {"log2_size": 9}, {"rows": 0}, {"rows": 7},
                                   {"rows": 2**24}, {"log2_size": -1}])  # fmt: skip
def test_hostile_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(EngineError, match="damaged"):
        run(image(256, 2, wrong), np.zeros(512, np.int16), np.int16, np.int32)


@pytest.mark.parametrize("other", ["input", "bins", "exponents"])
def test_work_may_share_no_memory(other: str) -> None:
    n = 64

    def make(builder, source, results):
        places = {"input": source, "bins": results[0], "exponents": results[1]}
        return RfftRows(**places, work=places[other], rows=1, log2_size=6), []

    shared = operator_image(4 * n, [4 * n, 4 * n], make)
    with pytest.raises(EngineError, match="damaged"):
        run(shared, np.zeros(2 * n, np.int16), np.int16, np.int32)
