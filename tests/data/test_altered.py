"""Altered copies of normal inputs."""

from __future__ import annotations

import numpy as np
import prunable
import pytest

from edge_ad.compile.scores import batches
from edge_ad.data.altered import altered, blended


@pytest.mark.parametrize("kind", prunable.KINDS)
def test_copies_differ_from_the_input_and_depend_on_the_seed_alone(kind: str) -> None:
    detector = prunable.make(kind)
    batch = next(batches(prunable.normals(detector, 1).fit, detector.input))
    kept = batch.copy()
    copies = [altered(detector.input, batch, seed) for seed in range(30)]
    assert np.array_equal(batch, kept)
    for seed, copy in enumerate(copies):
        assert copy.shape == batch.shape and copy.dtype == batch.dtype and np.isfinite(copy).all()
        assert not np.array_equal(copy, batch)
        assert np.array_equal(copy, altered(detector.input, batch, seed))
    assert len({copy.tobytes() for copy in copies}) == len(copies)


def test_a_window_is_changed_where_its_score_looks() -> None:
    detector = prunable.make("tspulse")
    batch = next(batches(prunable.normals(detector, 1).fit, detector.input))
    for seed in range(30):
        copy = altered(detector.input, batch, seed)
        assert np.array_equal(copy[:, :, : -detector.config.hop], batch[:, :, : -detector.config.hop])


def test_few_normal_inputs_become_many_between_them() -> None:
    rng = np.random.default_rng(0)
    few = [rng.normal(size=(1, 5, 8, 16)).astype(np.float32) for _ in range(3)]
    many = blended(few, 40, seed=1)
    assert len(many) == 40 and all(a is b for a, b in zip(many, few, strict=False))
    matrix = np.stack([x.ravel() for x in few], 1)
    for x in many:
        share, *_ = np.linalg.lstsq(matrix, x.ravel(), rcond=None)
        np.testing.assert_allclose(matrix @ share, x.ravel(), atol=1e-4)
        assert share.sum() == pytest.approx(1, abs=1e-4) and share.min() > -1e-4
    assert len({x.tobytes() for x in many}) > 30 and many[0].dtype == many[-1].dtype
    again = blended(few, 40, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(many, again, strict=True))
    assert blended(few, 2, seed=1) == few
