"""FADeR's comparison in integers: the graph gives its definition to the bit, whole and in stripes, and that is near the
fitted comparison in float."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from own_operators import run_whole_and_striped

from edge_ad.compile.integer.detectors.comparison import Comparison
from edge_ad.compile.integer.draft import Draft
from edge_ad.detectors.fader import comparison as fitted
from edge_ad.detectors.fader.config import PRESETS
from edge_ad.runtime.integer.similarity import PIXEL_SHIFT, WHITE

SIZE = 64


def _pairs(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n images and reconstructions (n, SIZE, SIZE, 3), int16, pixels in steps of 2^-PIXEL_SHIFT."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    image = 120 + 50 * np.sin(x / 7)[None, ..., None] + 30 * np.cos(y / 5)[None, ..., None]
    image = np.clip(image + rng.normal(0, 3, (n, SIZE, SIZE, 3)), 0, 255).round()
    made = np.clip(image + rng.normal(0, 4, image.shape) * (0.3 + (x > 40))[None, ..., None], 0, 255)
    return (image * 2**PIXEL_SHIFT).astype(np.int16), np.rint(made * 2**PIXEL_SHIFT).astype(np.int16)


def _unit(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((image / WHITE).astype(np.float32)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("compare", ["l2", "msgms", "both"])
def test_the_integer_comparison(compare: str, standardise: bool) -> None:
    config = PRESETS["micro"].model_copy(update={"compare": compare, "standardise": standardise})
    exact = fitted.Comparison(config)
    seen, made = _pairs(0, 12)
    exact.fit([(_unit(seen[i : i + 1]), _unit(made[i : i + 1])) for i in range(12)])
    integer = Comparison.of(exact, config)
    assert integer.kinds == exact.kinds

    seen, made = _pairs(1, 3)
    seen[2, 20:30, 20:30] = WHITE  # a defect, the largest that there is
    made[2, 20:30, 20:30] = 0
    draft = Draft()
    given = [draft.tensor((1, SIZE, SIZE, 3), np.int16) for _ in range(2)]
    graph = draft.graph(given, [integer.write(draft, *given)])
    for a, b in zip(seen, made, strict=True):
        (found,) = run_whole_and_striped(graph, [a[None], b[None]], 11)
        np.testing.assert_array_equal(found[0, ..., 0], integer.reference(a, b))
        with torch.no_grad():
            real = exact(_unit(a[None]), _unit(b[None]))[0, 0].numpy()
        off = np.abs(found[0, ..., 0] * integer.scale - real)
        assert off.max() < 2e-3 * max(1, np.abs(real).max())
        assert np.abs(found).max() < 2**31 - 1
    assert real.max() > 20 * np.median(np.abs(real))


def test_no_map_saturates_at_the_largest_difference() -> None:
    config = PRESETS["micro"].model_copy(update={"compare": "both"})
    exact = fitted.Comparison(config)
    seen, made = _pairs(0, 6)
    exact.fit([(_unit(seen[i : i + 1]), _unit(made[i : i + 1])) for i in range(6)])
    integer = Comparison.of(exact, config)
    white, black = np.full((SIZE, SIZE, 3), WHITE, np.int16), np.zeros((SIZE, SIZE, 3), np.int16)
    chess = np.where(np.indices((SIZE, SIZE)).sum(0)[..., None] % 2, white, black)
    for a, b in ((white, black), (chess, black), (chess, white)):
        assert np.abs(integer.reference(a, b)).max() < 2**31 - 1
