"""Altered copies of normal inputs."""

from __future__ import annotations

import numpy as np
import prunable
import pytest

from edge_ad.compile.scores import batches
from edge_ad.data.altered import altered


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
