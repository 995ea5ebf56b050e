"""Distances in integers: C equals NumPy to the bit, NumPy is near the real ones, no image makes C leave its memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_images import operator_image, run

from edge_ad.compile.integer.distances import (
    SCORE,
    SQUARES_SHIFT,
    distance_port,
    emit_mahalanobis,
    emit_row_sums,
    gaussian,
    sides,
)
from edge_ad.compile.integer.image import write_image
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records.distances import Mahalanobis, RowSums, TwoSided
from edge_ad.errors import EngineError, TargetError
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.heads.likelihood_regret import two_sided as head_two_sided
from edge_ad.runtime.integer.distances import MOST_WHITE, Gaussian, mahalanobis, row_sums, two_sided

INT32 = (1 << 31) - 1


def image_of(spec: PortSpec, port: PortSpec, emit) -> HostModel:
    builder = Builder("plain")
    builder.output(port, emit(builder, builder.input(spec)))
    image = write_image(builder.program)
    return HostModel(image.content, inputs=image.inputs, outputs=image.outputs)


def test_row_sums_are_exact() -> None:
    rng = np.random.default_rng(0)
    for rows, length in ((1, 1), (80, 32), (3, 1 << 15), (7, 5)):
        x = rng.choice([-32768, 32767, 0, 5], (rows, length))
        if rows == 3:
            x[0], x[1] = -32768, 32767
        model = image_of(
            PortSpec((1, rows, length), "int16"),
            PortSpec((1, rows), "int32"),
            lambda b, s, rows=rows, length=length: emit_row_sums(b, s, rows, length),
        )
        np.testing.assert_array_equal(model.infer([x.astype(np.int16)])[0][0], row_sums(x))
        np.testing.assert_array_equal(row_sums(x), x.sum(1))


def random_gaussian(rng: np.random.Generator, n: int, rows: int | None) -> Gaussian:
    """Also with whitening and shifts at their ends. rows: None for a diagonal one."""
    shape = (n,) if rows is None else (rows, n)
    extreme = rng.random() < 0.3
    whitening = rng.choice([-32768, 32767], shape) if extreme else rng.integers(-32768, 32768, shape)
    shifts = rng.choice([0, 61, 30], shape[0]) if extreme else rng.integers(10, 45, shape[0])
    return Gaussian(rng.integers(-INT32 - 1, INT32, n) >> int(rng.integers(0, 20)), whitening, shifts)


def test_the_kernels_are_the_definitions() -> None:
    rng = np.random.default_rng(1)
    largest = 0
    for _ in range(200):
        n, count = int(rng.integers(1, 20)), int(rng.integers(1, 4))
        rows = None if rng.random() < 0.4 else int(rng.integers(1, 20))
        gaussians = [random_gaussian(rng, n, rows) for _ in range(count)]
        model = image_of(
            PortSpec((1, n), "int32"), PortSpec((1, 1), "int32"),
            lambda b, s, gaussians=gaussians: emit_mahalanobis(b, gaussians, s),
        )  # fmt: skip
        for x in (
            rng.integers(-INT32 - 1, INT32, n),
            rng.choice([-INT32 - 1, INT32], n),
            gaussians[0].centre,
        ):
            expected = mahalanobis(x, gaussians, SQUARES_SHIFT)
            assert int(model.infer([x.astype(np.int32)])[0][0, 0]) == expected
            largest += expected == INT32
        assert mahalanobis(gaussians[0].centre, gaussians, SQUARES_SHIFT) == 0
    assert 50 < largest < 350


def test_a_full_gaussian_is_near_the_real_distance_and_the_nearer_of_two_counts() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        n = int(rng.integers(2, 24))
        found, exact = [], []
        x = rng.normal(0, 30000, n)
        for _ in range(2):
            root = rng.normal(size=(n, n)) * 5000
            covariance = root @ root.T + 1e6 * np.eye(n)
            centre = rng.normal(0, 20000, n)
            values, vectors = np.linalg.eigh(covariance)
            found.append(gaussian(centre, vectors.T / np.sqrt(values)[:, None]))
            off = np.rint(x) - np.rint(centre)
            exact.append(off @ np.linalg.solve(covariance, off) / n)
        port = distance_port(n)
        for gaussians, wanted in (
            *(([f], e) for f, e in zip(found, exact, strict=True)),
            (found, min(exact)),
        ):
            got = mahalanobis(np.rint(x).astype(np.int64), gaussians, SQUARES_SHIFT) * port.scale
            assert got == pytest.approx(wanted, rel=1e-3, abs=2e-3)


def test_a_diagonal_gaussian_is_a_full_one_without_its_zeros() -> None:
    rng = np.random.default_rng(3)
    weights, centre = 10.0 ** rng.uniform(-6, -1, 9), rng.normal(0, 1000, 9)
    diagonal, full = gaussian(centre, weights), gaussian(centre, np.diag(weights))
    assert diagonal.whitening.shape == (9,) and full.whitening.shape == (9, 9)
    for x in rng.integers(-(1 << 20), 1 << 20, (20, 9)):
        assert mahalanobis(x, [diagonal], SQUARES_SHIFT) == mahalanobis(x, [full], SQUARES_SHIFT)
    with pytest.raises(TargetError, match="more varied data"):
        gaussian(centre, weights * 1e9)
    assert abs(diagonal.whitening).min() >= 1 << 14  # 15 bits each, whatever its size
    most = Gaussian(np.zeros(1, np.int64), np.array([32767]), np.array([0]))
    assert mahalanobis(np.array([INT32]), [most], 20) == (MOST_WHITE * MOST_WHITE + (1 << 19)) >> 20


@settings(max_examples=100, deadline=None)
@given(st.integers(-INT32 - 1, INT32), st.integers(-INT32, INT32), st.integers(0, 2**32 - 1))
def test_two_sided_scores(x: int, centre: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = centre - float(rng.uniform(1, 1e6)), centre + float(rng.uniform(1, 1e6))
    record = sides([low, centre, high], PortSpec((1, 1), "int32", 1.0))
    below, above = (
        (record.below_multiplier, record.below_shift),
        (record.above_multiplier, record.above_shift),
    )
    score = two_sided(x, record.centre, below, above)

    def make(builder, source, results):
        held = [
            getattr(record, f) for f in ("below_multiplier", "below_shift", "above_multiplier", "above_shift")
        ]
        return TwoSided(source, results[0], record.centre, *held), []

    (got,) = run(operator_image(4, [4], make), np.array([x], np.int32), np.int32)
    assert int(got[0]) == score >= 0
    off = x - centre
    real = off / (high - centre) if off >= 0 else off / (low - centre)
    wanted = min(real / SCORE.scale, INT32) if abs(off) <= INT32 else None
    if wanted is not None:
        assert score == pytest.approx(wanted, rel=1e-6, abs=1)
        if abs(off) < 1 << 20:  # float32 holds it
            exact = head_two_sided(np.array([off], np.float32), [low - centre, 0.0, high - centre])[0]
            assert score * SCORE.scale == pytest.approx(float(exact), rel=1e-5, abs=2 * SCORE.scale)


GOOD = {
    "row_sums": (RowSums, {"rows": 2, "length": 3}),
    "mahalanobis": (Mahalanobis, {"gaussians": 2, "rows": 3, "n": 3, "diagonal": 0, "shift": 10}),
    "two_sided": (TwoSided, {"centre": 0, "below_multiplier": 1, "below_shift": 0, "above_multiplier": 1,
                             "above_shift": 0}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("row_sums", w) for w in ({"rows": 0}, {"rows": 1 << 20}, {"length": (1 << 15) + 1}, {"input": 1},
                                    {"output": 2}, {"output": 0x80000000}, {"input": 0xFFFFFFFF})),
        *(("mahalanobis", w) for w in (
            {"gaussians": 0}, {"gaussians": 17}, {"rows": 0}, {"rows": (1 << 14) + 1}, {"n": 0}, {"n": (1 << 15) + 1},
            {"n": 1000}, {"diagonal": 2}, {"diagonal": 1, "rows": 2}, {"shift": 62}, {"shift": -1}, {"input": 2},
            {"output": 0x80000000}, {"centres": 1}, {"whitening": 1}, {"whitening": 0x8FFFFFF0}, {"shifts": 0},
            {"shifts": 0x80000001}, {"held": 62}, {"held": -1})),
        *(("two_sided", w) for w in ({"below_shift": 31}, {"above_shift": -32}, {"below_multiplier": -1},
                                     {"above_multiplier": -5}, {"input": 2}, {"output": 0x80000000})),
    ],
)  # fmt: skip
def test_an_image_that_leads_outside_is_refused(name: str, wrong: dict) -> None:
    def image(changed: dict) -> bytes:
        kind, fields = GOOD[name]
        held = changed.get("held", 5)
        changed = {key: value for key, value in changed.items() if key != "held"}

        def make(builder, source, results):
            places = {"input": source, "output": results[0]}
            if kind is Mahalanobis:
                places |= {"centres": builder.constant(np.ones((2, 3), np.int32)),
                           "whitening": builder.constant(np.ones((2, 3, 3), np.int16)),
                           "shifts": builder.constant(np.full((2, 3), held, np.int32))}  # fmt: skip
            return kind(**places | fields | changed), []

        return operator_image(12, [8], make).content

    HostModel(image({}))
    with pytest.raises(EngineError, match="damaged"):
        HostModel(image(wrong))
