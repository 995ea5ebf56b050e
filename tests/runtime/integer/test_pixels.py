"""Images as networks take them: C equals NumPy to the bit, both equal the detectors' own functions on whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from own_operators import one_node, run, run_whole_and_striped

from edge_ad.detectors.fader.masks import TemplateDeviation, hide, mosaic
from edge_ad.runtime.integer.pixels import block_sums, pixels, template_mask


def _image(seed: int, channels: int = 3, height: int = 32, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, channels, height, width)).astype(np.uint8)


@pytest.mark.parametrize(("block", "stripes"), [(1, 5), (2, 32), (4, 3), (16, 7)])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_blocks_are_shown_as_their_mean(block: int, stripes: int, dtype: str) -> None:
    image = _image(block)
    graph = one_node("pixels", [image], [], (1, 32, 48, 3), dtype, block=block, shift=5)
    (found,) = run_whole_and_striped(graph, [image], stripes)
    shown = pixels(image[0], block)
    np.testing.assert_array_equal(found[0], shown - 128 if dtype == "int8" else shown << 5)
    exact = mosaic(torch.from_numpy(image).double(), block)[0].permute(1, 2, 0).numpy()
    assert np.abs(shown - exact).max() <= 0.5


def test_a_mask_hides_some_cells_only() -> None:
    rng, image = np.random.default_rng(3), _image(3)
    mask = rng.integers(0, 2, (4, 6)).astype(np.uint8)
    graph = one_node("pixels", [image, mask], [], (1, 32, 48, 3), "int8", block=4, cell=8)
    (found,) = run(graph, [image, mask])
    np.testing.assert_array_equal(found[0], pixels(image[0], 4, mask, 8) - 128)
    exact = hide(torch.from_numpy(image).double(), torch.from_numpy(mask)[None, None].double(), 4)
    assert np.abs(found[0].astype(int) + 128 - exact[0].permute(1, 2, 0).numpy()).max() <= 0.5


def test_cells_unlike_the_template_are_hidden_with_their_neighbours() -> None:
    rng = np.random.default_rng(4)
    normal = torch.from_numpy(rng.integers(90, 110, (40, 3, 32, 32)).astype(np.uint8))
    mask = TemplateDeviation(8, 4, 2.5)
    mask.fit(normal)
    scale = 255 * 16
    low = np.ceil((mask.mean - mask.limit)[0].double().numpy() * scale)
    high = np.floor((mask.mean + mask.limit)[0].double().numpy() * scale)
    limits = np.stack([low, high]).clip(0, 65535).astype(np.uint16)
    hidden = 0
    for seed in range(20):
        image = rng.integers(90, 110, (1, 3, 32, 32)).astype(np.uint8)
        y, x = rng.integers(0, 24, 2)
        image[0, :, y : y + 6, x : x + 6] += np.uint8(5 * seed)
        graph = one_node("template_mask", [image], [limits], (8, 8), "uint8", cell=4)
        (found,) = run(graph, [image])
        np.testing.assert_array_equal(found.reshape(8, 8), template_mask(image[0], limits, 4))
        expected = mask(torch.from_numpy(image).float() / 255)[0, 0].numpy()
        np.testing.assert_array_equal(found.reshape(8, 8), expected)
        hidden += int(found.sum())
    assert 0 < hidden < 20 * 64
    assert block_sums(np.full((3, 32, 32), 255, np.uint8), 16).max() == 65280
