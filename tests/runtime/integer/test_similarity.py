"""MSGMS in integers: C equals NumPy to the bit, whole and in stripes; both are near RIAD's formula in float."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from own_operators import one_node, run_whole_and_striped

from edge_ad.compile.integer.operators.resize import bilinear_places
from edge_ad.detectors.fader.similarity import GRADIENT_C, gradient_similarity, msgms_map
from edge_ad.firmware_bridge.host_library import ENGINE
from edge_ad.runtime.integer.functions import near_reciprocal, near_root, near_share, reciprocals
from edge_ad.runtime.integer.similarity import (
    PIXEL_SHIFT,
    WHITE,
    gradient_constant,
    gradient_dissimilarity,
    halve,
    stretch_sum,
)

BITS = 24


def _pair(seed: int, size: tuple[int, int] = (20, 24)) -> tuple[np.ndarray, np.ndarray]:
    """An image and one like it, int16 (1, h, w, 3): smooth, with edges, noise of a few grey levels between them."""
    rng = np.random.default_rng(seed)
    h, w = size
    y, x = np.mgrid[:h, :w]
    image = 120 + 60 * np.sin(x / 4 + seed) + 40 * (y > h // 2) + rng.normal(0, 2, (3, h, w))
    image[:, 5:9, 7:14] = rng.uniform(0, 255)
    other = image + rng.normal(0, 6, image.shape) * rng.integers(0, 2)
    pair = np.clip(np.stack([image, other]), 0, 255).transpose(0, 2, 3, 1)
    fine = np.rint(pair * 2**PIXEL_SHIFT).astype(np.int16)
    return fine[:1] // 32 * 32, fine[1:]


def _unit(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((image / WHITE).astype(np.float32)).permute(0, 3, 1, 2)


def test_the_table_in_c_is_that_of_numpy() -> None:
    source = (ENGINE / "kernels" / "functions.c").read_text()
    body = re.search(r"reciprocals\[256\] = \{(.*?)\}", source, re.DOTALL)
    assert body is not None
    assert [int(v) for v in body[1].split(",")] == reciprocals().tolist()


def test_roots_reciprocals_and_shares_are_as_near_as_they_say() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.integers(2**31, 2**32, 200_000), [2**31, 2**32 - 1], 2**31 + np.arange(256) * 2**23]
    )
    exact = np.array([(1 << 62) / int(v) for v in x])
    assert np.abs(near_reciprocal(x) / exact - 1).max() < 2**-17
    y = np.concatenate([rng.integers(0, 2**32, 200_000), rng.integers(0, 5000, 5000), [0, 1, 2**32 - 1]])
    root = np.sqrt(y.astype(np.float64)) * 16
    lost = root - near_root(y)
    assert (lost >= 0).all() and (lost < np.maximum(1, root * 2**-15)).all()
    whole = rng.integers(1, 2**32, 100_000)
    part = (rng.uniform(0, 1, whole.shape) ** 3 * whole * 256).astype(np.int64)
    share = near_share(part, whole, BITS) / 2.0**BITS
    assert np.abs(share - part / (256.0 * whole)).max() < 2**-17 + 2.0**-BITS
    assert near_share(np.array([256 * 77]), np.array([77]), 5).item() in (31, 32)


@pytest.mark.parametrize("seed", range(6))
def test_gradients(seed: int) -> None:
    a, b = _pair(seed)
    if seed == 5:  # the largest gradients that there are
        a, b = (np.random.default_rng(1).integers(0, 2, (2, 1, 20, 24, 3)) * WHITE).astype(np.int16)
    constant = gradient_constant(GRADIENT_C)
    graph = one_node(
        "gradient_dissimilarity", [a, b], [], (1, 20, 24, 1), "int32", constant=constant, bits=BITS
    )
    (found,) = run_whole_and_striped(graph, [a, b], 7)
    np.testing.assert_array_equal(found[0, ..., 0], gradient_dissimilarity(a[0], b[0], constant, BITS))
    exact = (1 - gradient_similarity(_unit(a), _unit(b))).sum(1)[0].numpy()
    assert np.abs(found[0, ..., 0] / 2.0**BITS - exact).max() < 3 * 2e-4


def test_half_the_size_and_back() -> None:
    rng = np.random.default_rng(2)
    image = rng.integers(-32768, 32768, (1, 22, 14, 3)).astype(np.int16)
    (found,) = run_whole_and_striped(one_node("halve", [image], [], (1, 11, 7, 3), "int16"), [image], 4)
    np.testing.assert_array_equal(found[0], halve(image[0]))
    for h, w, times in ((5, 6, 2), (4, 3, 4)):
        small = rng.integers(0, 2**28, (1, h, w, 1)).astype(np.int32)
        base = rng.integers(0, 2**29, (1, h * times, w * times, 1)).astype(np.int32)
        graph = one_node("stretch_sum", [small, base], [], base.shape, "int32", alignCorners=False,
                         halfPixelCenters=True)  # fmt: skip
        (found,) = run_whole_and_striped(graph, [small, base], 3)
        places = np.concatenate([bilinear_places(n, n * times, False, True) for n in (h, w)]).astype(np.int64)
        np.testing.assert_array_equal(
            found[0, ..., 0], stretch_sum(small[0, ..., 0], base[0, ..., 0], places, h * times)
        )
        exact = torch.nn.functional.interpolate(
            torch.from_numpy(small[None, 0, ..., 0]).double()[None][0][None], scale_factor=float(times), mode="bilinear"
        )  # fmt: skip
        assert np.abs(found[0, ..., 0] - base[0, ..., 0] - exact[0, 0].numpy()).max() <= 0.5001


@pytest.mark.parametrize("seed", range(4))
def test_all_scales_together_are_near_the_published_formula(seed: int) -> None:
    a, b = _pair(seed, (32, 32))
    constant, bits = gradient_constant(GRADIENT_C), 20
    total, x, y = None, a[0], b[0]
    for scale in range(3):
        if scale:
            x, y = halve(x), halve(y)
        found = gradient_dissimilarity(x, y, constant, bits)
        if scale:
            places = np.concatenate([bilinear_places(32 >> scale, 32, False, True)] * 2).astype(np.int64)
            found = stretch_sum(found, total, places, 32)
        total = found
    exact = msgms_map(_unit(a), _unit(b), published=True)[0, 0].numpy()
    assert np.abs(total / (9 * 2.0**bits) - exact).max() < 2e-4
