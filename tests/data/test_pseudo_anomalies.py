"""Altered copies: the same for the same seed, of the input's kind, changed where the score looks and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from edge_ad.bundle.manifest import InputSpec, PreprocessSpec, WindowSpec
from edge_ad.data.inputs import Inputs
from edge_ad.data.pseudo_anomalies import pseudo_anomalies
from edge_ad.data.sample_series import pump
from edge_ad.data.samples import render_part
from edge_ad.data.scenes import drive

Array = npt.NDArray[np.generic]


def spec(modality: str, shape: tuple[int, ...], window: WindowSpec | None = None) -> InputSpec:
    dtype = "uint8" if modality == "image" else "float32"
    return InputSpec(
        modality=modality, shape=shape, dtype=dtype, preprocess=PreprocessSpec(name="none", version=1), window=window
    )  # type: ignore[arg-type]  # fmt: skip


def images() -> tuple[list[Array], InputSpec]:
    return [render_part(i, 96)[0] for i in range(3)], spec("image", (1, 3, 64, 64))


def windows() -> tuple[list[Array], InputSpec]:
    rows = pump(np.random.default_rng(0), 400).astype(np.float32)
    window = WindowSpec(length=64, hop=16, rate_hz=10.0, channels=["a", "b", "c", "d", "e"])
    return [rows[i : i + 64] for i in range(0, 300, 50)], spec("series", (1, 5, 64), window)


def vectors() -> tuple[list[Array], InputSpec]:
    values = np.random.default_rng(0).normal(3, 2, (6, 1, 40)).astype(np.float32)
    window = WindowSpec(length=1, hop=1, rate_hz=None, channels=[f"v{i}" for i in range(40)])
    return list(values), spec("series", (1, 40, 1), window)


def made(kind: tuple[list[Array], InputSpec], seed: int = 0, copies: int = 2) -> list[Array]:
    inputs, described = kind
    return list(pseudo_anomalies(_inputs(inputs), described, seed=seed, copies=copies))


def _inputs(arrays: Sequence[Array]) -> Inputs:
    return Inputs(len(arrays), lambda: iter(arrays))


KINDS = pytest.mark.parametrize("kind", [images, windows, vectors])


@KINDS
def test_they_are_repeatable_differ_by_seed_and_leave_the_inputs_alone(kind) -> None:
    given = kind()
    before = [x.copy() for x in given[0]]
    first, again, other = made(given), made(given), made(given, seed=1)
    assert len(first) == 2 * len(given[0])
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(given[0], before, strict=True))


@KINDS
def test_each_copy_is_of_the_inputs_kind_and_really_altered(kind) -> None:
    given = kind()
    for index, copy in enumerate(made(given)):
        own = given[0][index // 2]
        assert (copy.shape, copy.dtype) == (own.shape, own.dtype)
        assert np.isfinite(copy).all() and not np.array_equal(copy, own)


def test_defects_are_local() -> None:
    given = images()
    for index, copy in enumerate(made(given)):
        assert (copy != given[0][index // 2]).any(2).mean() < 0.6


def test_windows_change_in_one_channel_of_their_newest_rows() -> None:
    given = windows()
    for index, copy in enumerate(made(given, copies=4)):
        changed = copy != given[0][index // 4]
        assert not changed[:-16].any() and changed[-16:].any(0).sum() == 1


def test_a_stretch_that_stands_still_is_altered_too() -> None:
    still = [np.full((64, 5), 7, np.float32) for _ in range(4)]
    described = windows()[1]
    assert all((copy != 7).any() for copy in pseudo_anomalies(_inputs(still), described, seed=0, copies=8))


def test_vectors_change_in_a_block_of_a_quarter_at_most() -> None:
    given = vectors()
    for index, copy in enumerate(made(given, copies=4)):
        places = np.flatnonzero((copy != given[0][index // 4]).ravel())
        assert places[-1] - places[0] < 10


def test_scans_are_corrupted() -> None:
    scan = next(drive(11, 1, "32-beam"))
    (copy,) = pseudo_anomalies(_inputs([scan]), spec("scan", (1, 4, 32, 64)), seed=0)
    assert copy.shape[1] == 4 and not np.array_equal(copy, scan)


def test_a_network_that_looks_at_small_images_is_shown_defects_as_large() -> None:
    part = [render_part(i, 256)[0] for i in range(4)]
    changed = {
        side: np.mean(
            [
                (a != b).any(2).mean()
                for a, b in zip(
                    made((part, spec("image", (1, 3, side, side)))),
                    [p for p in part for _ in range(2)],
                    strict=True,
                )
            ]
        )
        for side in (64, 256)
    }
    assert changed[64] > 3 * changed[256]
