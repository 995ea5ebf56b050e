"""TSPulse's windows in integers: C equals NumPy to the bit, and both are near floats."""

from __future__ import annotations

import numpy as np
import pytest
from operator_images import operator_image, run

from edge_ad.compile.integer.records.series import HalfSpectra, InversePatch, PatchErrors, WindowScale
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.errors import EngineError
from edge_ad.runtime.integer.windows import half_spectra, inverse_patch, patch_errors, window_scale

SIZES = (64, 128, 512)
GAIN = (*quantize_multiplier(2.0**-10), 0)  # units of 2^-20 to units of 2^-10


def windows(rng: np.random.Generator, channels: int, size: int) -> dict[str, np.ndarray]:
    """Rows (channels, size) of int16 of every kind."""
    shape, t = (channels, size), np.arange(size)
    return {
        "noise": rng.integers(-(2**15), 2**15, shape) >> rng.integers(0, 16),
        "walk": np.clip(rng.normal(0, 30, shape).cumsum(1), -(2**15), 2**15 - 1).astype(np.int64),
        "sine": np.rint(np.sin(2 * np.pi * 7.3 * t / size) * rng.uniform(1, 32767, (channels, 1))).astype(
            np.int64
        ),
        "constant": np.full(shape, int(rng.integers(-(2**15), 2**15))),
        "zeros": np.zeros(shape, np.int64),
        "least": np.full(shape, -(2**15)),
        "ends": rng.choice([-(2**15), 2**15 - 1], shape),
        "impulse": np.where(t == 3, -(2**15), 0) * np.ones(shape, np.int64),
    }


def cases(seed: int, channels: int = 3):
    rng = np.random.default_rng(seed)
    size = SIZES[seed % len(SIZES)]
    return rng, size, windows(rng, channels, size)


def scale_image(
    shape,
    channel: int,
    token: np.ndarray,
    floor: int,
    scaling: tuple[int, int, int],
    changed: dict[str, int] | None = None,
):
    channels, size = shape
    multiplier, shift, offset = scaling
    fields = {
        "channels": channels, "size": size, "patch": len(token), "floor_low": floor & 0xFFFFFFFF,
        "floor_high": floor >> 32, "multiplier": multiplier, "shift": shift, "offset": offset,
    } | (changed or {})  # fmt: skip

    def make(builder, source, results):
        counter, hidden = (
            builder.constant(np.array([channel], np.int32)),
            builder.constant(token.astype(np.int16)),
        )
        return WindowScale(
            input=source, channel=counter, token=hidden, output=results[0], statistics=results[1], **fields
        ), []  # fmt: skip

    return operator_image(2 * channels * size, [2 * size, 8], make)


@pytest.mark.parametrize("seed", range(9))
def test_a_window_is_scaled_as_defined(seed: int) -> None:
    rng, _, found = cases(seed)
    for name, window in found.items():
        token, channel = rng.integers(-(2**15), 2**15, (4, 16, 32)[seed % 3]), int(rng.integers(3))
        floor = int(2 ** rng.uniform(0, 61))
        scaling = (
            int(rng.integers(-(2**31), 2**31)),
            int(rng.integers(-31, 31)),
            int(rng.integers(-(2**31), 2**31)),
        )
        scaling = GAIN if seed % 2 else scaling
        image = scale_image(window.shape, channel, token, floor, scaling)
        scaled, statistics = run(image, window.astype(np.int16), np.int16, np.int32)
        wanted = window_scale(window[channel], token, floor, *scaling)
        np.testing.assert_array_equal(scaled, wanted[0], err_msg=name)
        np.testing.assert_array_equal(statistics, wanted[1], err_msg=name)


@pytest.mark.parametrize("size", SIZES)
def test_scaling_is_near_that_of_floats(size: int) -> None:
    rng, patch = np.random.default_rng(size), 16
    n, least = size - patch, 1e-3
    for name, window in windows(rng, 20, size).items():
        for x in window:
            floor = round(least * n * n * 4**9)
            scaled, (mean, spread) = window_scale(x, np.zeros(patch, np.int64), floor, *GAIN)
            seen = x[:n] / 2**9
            deviation = np.sqrt(max(seen.var(), least))
            np.testing.assert_allclose(
                scaled[:n] / 2**10, (seen - seen.mean()) / deviation, atol=5.1e-4, err_msg=name
            )
            assert mean / 2**25 == pytest.approx(seen.mean(), abs=2**-24)
            assert spread / 2**25 == pytest.approx(deviation, rel=1e-5)


def test_a_constant_window_is_divided_by_the_least_spread() -> None:
    window = np.full(64, 700)
    floor = round(1e-3 * 48 * 48 * 4**9)
    scaled, (mean, spread) = window_scale(window, np.full(16, 5), floor, *GAIN)
    assert scaled.tolist() == [0] * 48 + [5] * 16
    assert mean == 700 << 16 and spread / 2**25 == pytest.approx(np.sqrt(1e-3), rel=1e-5)


def test_gain_and_shift_of_the_sensor_are_forgotten() -> None:
    """RevIN: x and 4 x + 100 are the same window."""
    x = np.random.default_rng(2).integers(-3000, 3000, 256)
    scaled = [window_scale(y, np.zeros(16, np.int64), 1, *GAIN)[0] for y in (x, 4 * x + 100)]
    assert np.abs(scaled[0] - scaled[1]).max() <= 1


def spectra_image(size: int, floor: int, changed: dict[str, int] | None = None):
    fields = {"log2_size": size.bit_length() - 1, "floor": floor} | (changed or {})

    def make(builder, source, results):
        work = builder.buffer(4 * size)
        return HalfSpectra(input=source, output=results[0], sizes=results[1], work=work, **fields), [work]

    return operator_image(2 * size, [2 * size, 16], make)


@pytest.mark.parametrize("seed", range(9))
def test_spectra_are_as_defined(seed: int) -> None:
    rng, size, found = cases(seed)
    for name, window in found.items():
        floor = int(rng.choice([0, 67109, 1 << 20]))
        image = spectra_image(size, floor)
        for x in window:
            values, sizes = run(image, x.astype(np.int16), np.int16, np.int32)
            wanted = half_spectra(x, floor)
            np.testing.assert_array_equal(values, wanted[0], err_msg=name)
            np.testing.assert_array_equal(sizes, wanted[1], err_msg=name)


@pytest.mark.parametrize("size", SIZES)
def test_spectra_are_near_those_of_floats(size: int) -> None:
    for name, window in windows(np.random.default_rng(size), 5, size).items():
        if name in ("zeros", "constant", "least", "impulse"):  # a half of which is nothing but rounding
            continue
        for x in window:
            values, (real, imaginary, last, shift) = half_spectra(x, 0)
            exact = np.fft.rfft(x)
            for got, part, found in (
                (values[: size // 2], exact.real, real),
                (values[size // 2 :], exact.imag, imaginary),
            ):
                largest = np.abs(part[:-1]).max()
                assert found / 2.0**shift == pytest.approx(largest, rel=1e-4, abs=1)
                np.testing.assert_allclose(got / 2**15, part[:-1] / largest, atol=1e-4, err_msg=name)
            assert last / 2.0**shift == pytest.approx(exact.real[-1], abs=1)


@pytest.mark.parametrize("exponent", range(5))
def test_a_power_of_two_changes_no_spectrum(exponent: int) -> None:
    x = np.random.default_rng(3).integers(-500, 500, 512)
    np.testing.assert_array_equal(half_spectra(x << exponent, 0)[0], half_spectra(x, 0)[0])


def inverse_image(size, patch, sizes, bits, extra, scaling, changed: dict[str, int] | None = None):
    multiplier, shift, offset = scaling
    fields = {
        "log2_size": size.bit_length() - 1, "patch": patch, "bits": bits, "extra": extra, "multiplier": multiplier,
        "shift": shift, "offset": offset,
    } | (changed or {})  # fmt: skip

    def make(builder, source, results):
        kept = builder.constant(sizes.astype(np.int32))
        return InversePatch(values=source, sizes=kept, output=results[0], **fields), []

    return operator_image(2 * size, [4 * patch], make)


@pytest.mark.parametrize("seed", range(30))
def test_the_inverse_is_as_defined(seed: int) -> None:
    rng, size, found = cases(seed)
    values, sizes = half_spectra(found["walk"][0], 1000)
    if seed % 3 == 0:  # what no spectrum would be
        values, sizes = rng.integers(-(2**15), 2**15, size), rng.integers(-(2**31), 2**31, 4)
    bits, extra, patch = int(rng.integers(17)), int(rng.integers(31)), (4, 16, 32)[seed % 3]
    scaling = (
        int(rng.integers(-(2**31), 2**31)),
        int(rng.integers(-31, 31)),
        int(rng.integers(-(2**31), 2**31)),
    )
    image = inverse_image(size, patch, sizes, bits, extra, scaling)
    (got,) = run(image, values.astype(np.int16), np.int32)
    sizes[3] = np.clip(sizes[3], 0, 31)  # a shift that cannot be counts as the next that can
    np.testing.assert_array_equal(got, inverse_patch(values, sizes, patch, bits, extra, *scaling))


@pytest.mark.parametrize("size", SIZES)
def test_the_inverse_of_a_spectrum_is_the_series(size: int) -> None:
    patch, bits, extra = 16, 15, 12
    for name, window in windows(np.random.default_rng(size), 5, size).items():
        for x in window:
            values, sizes = half_spectra(x, 0)
            # Units of x: 2^(extra - bits) / size of what is found.
            scaling = (*quantize_multiplier(2.0 ** (extra - bits) / size * 2**8), 0)
            got = inverse_patch(values, sizes, patch, bits, extra, *scaling) / 2**8
            np.testing.assert_allclose(got, x[-patch:], atol=2 + np.abs(x).max() * 1e-3, err_msg=name)


def errors_image(shape, channel, time, spectrum, statistics, scaling, changed: dict[str, int] | None = None):
    channels, size = shape
    multiplier, shift, offset = scaling
    fields = {
        "channels": channels, "size": size, "patch": len(time), "multiplier": multiplier, "shift": shift,
        "offset": offset,
    } | (changed or {})  # fmt: skip

    def make(builder, source, results):
        counter, told = (builder.constant(np.asarray(v, np.int32)) for v in ([channel], statistics))
        time_, spectrum_ = (
            builder.constant(time.astype(np.int16)),
            builder.constant(spectrum.astype(np.int32)),
        )
        return PatchErrors(
            time=time_, spectrum=spectrum_, input=source, statistics=told, channel=counter, errors=results[0], **fields
        ), []  # fmt: skip

    return operator_image(2 * channels * size, [12 * channels], make)


@pytest.mark.parametrize("seed", range(30))
def test_errors_are_as_defined(seed: int) -> None:
    rng, _, found = cases(seed)
    patch, channel = (4, 16, 32)[seed % 3], int(rng.integers(3))
    scaling = (
        int(rng.integers(-(2**31), 2**31)),
        int(rng.integers(-31, 31)),
        int(rng.integers(-(2**31), 2**31)),
    )
    for window in found.values():
        time, spectrum = (
            rng.integers(-(2**15), 2**15, patch),
            rng.integers(-(2**31), 2**31, patch) >> rng.integers(20),
        )
        statistics = rng.integers(-(2**31), 2**31, 2)
        (got,) = run(
            errors_image(window.shape, channel, time, spectrum, statistics, scaling),
            window.astype(np.int16),
            np.int32,
        )
        wanted = patch_errors(time, spectrum, window[channel, -patch:], statistics, *scaling)
        np.testing.assert_array_equal(got.reshape(3, 3)[:, channel], wanted)


def test_errors_are_near_those_of_floats() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        z, newest = rng.normal(0, 2, (2, 16)), np.rint(rng.normal(0, 3, 16) * 2**9).astype(np.int64)
        mean, spread = rng.normal(0, 2), rng.uniform(0.03, 3)
        time, spectrum = np.rint(z[0] * 2**12).astype(np.int64), np.rint(z[1] * 2**20).astype(np.int64)
        told = np.rint(np.array([mean, spread]) * 2**25).astype(np.int64)
        got = patch_errors(time, spectrum, newest, told, *quantize_multiplier(2.0**8), 0) / 2**16
        foretold = [z[0] * spread + mean, z[1] * spread + mean, np.zeros(16)]
        exact = [((f - newest / 2**9) ** 2).mean() for f in foretold]
        np.testing.assert_allclose(got, exact, rtol=1e-3, atol=1e-4)


def test_errors_saturate_where_no_sensor_reaches() -> None:
    newest = np.full(4, 2**15 - 1)
    far = np.full(4, -(2**31))
    got = patch_errors(np.zeros(4, np.int64), far, newest, np.array([0, 2**31 - 1]), 0, 0, 0)
    assert got[1] == 2**30 and got[0] == got[2] == pytest.approx(64.0**2 * 2**16, rel=1e-4)


WINDOW = np.ones((2, 64), np.int64)


@pytest.mark.parametrize(
    "changed",
    [{"channels": 30}, {"channels": 0}, {"size": 650}, {"size": 1 << 14}, {"patch": 64}, {"patch": 0}, {"patch": 64},
     {"floor_low": 0}, {"floor_high": -1}, {"shift": 31}, {"shift": -32}],
)  # fmt: skip
def test_a_window_that_cannot_be_is_refused(changed: dict[str, int]) -> None:
    image = scale_image(WINDOW.shape, 0, np.ones(16, np.int64), 5, GAIN, changed=changed)
    with pytest.raises(EngineError, match="damaged"):
        run(image, WINDOW.astype(np.int16), np.int16, np.int32)


@pytest.mark.parametrize(
    "changed", [{"log2_size": 5}, {"log2_size": 12}, {"log2_size": 9}, {"floor": -1}, {"floor": 1 << 21}]
)
def test_spectra_that_cannot_be_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(EngineError, match="damaged"):
        run(spectra_image(64, 0, changed=changed), WINDOW[0].astype(np.int16), np.int16, np.int32)


@pytest.mark.parametrize(
    "changed",
    [{"patch": 65}, {"patch": 0}, {"bits": 17}, {"bits": -1}, {"extra": 31}, {"shift": 31}, {"log2_size": 8}],
)
def test_an_inverse_that_cannot_be_is_refused(changed: dict[str, int]) -> None:
    image = inverse_image(64, 16, np.ones(4, np.int64), 15, 12, GAIN, changed=changed)
    with pytest.raises(EngineError, match="damaged"):
        run(image, WINDOW[0].astype(np.int16), np.int32)


@pytest.mark.parametrize("channel", [-1, 2, 2**31 - 1, -(2**31)])
def test_a_channel_that_cannot_be_counts_as_the_first(channel: int) -> None:
    """The counter lies in memory that other steps may write: it is never trusted."""
    window = np.stack([np.arange(64), np.arange(64)[::-1]])
    token = np.zeros(16, np.int64)
    scaled, _ = run(
        scale_image(window.shape, channel, token, 5, GAIN), window.astype(np.int16), np.int16, np.int32
    )
    np.testing.assert_array_equal(scaled, window_scale(window[0], token, 5, *GAIN)[0])
