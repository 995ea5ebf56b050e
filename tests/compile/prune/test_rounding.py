"""EfficientAD's weights on INT8's grid, each making good what rounding those before it did."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import prunable
import pytest
import torch
from torch import nn

from edge_ad.compile import openvino_ir
from edge_ad.compile.capture import capture
from edge_ad.compile.prune.anatomies import anatomy_of
from edge_ad.compile.prune.anatomies.rounding import put_on_grid
from edge_ad.compile.prune.anatomy import Anatomy
from edge_ad.compile.scores import batches
from edge_ad.detectors.efficientad.grid import on_grid

N_FIT = 64


@pytest.fixture(
    scope="module", params=["efficientad", pytest.param("efficientad-ae", marks=pytest.mark.slow)]
)
def case(request: pytest.FixtureRequest) -> tuple[Anatomy, torch.Tensor, nn.Module]:
    """An anatomy, images of which the first N_FIT are for rounding, and its network with weights on the grid."""
    detector = prunable.make(request.param)
    images = torch.from_numpy(
        np.concatenate(list(batches(prunable.normals(detector, N_FIT + 8).fit, detector.input)))
    )
    anatomy = anatomy_of(detector, images[:8], images[:8].flip(0), images)
    network = deepcopy(anatomy.network).requires_grad_(False)
    put_on_grid(network, images[:N_FIT])
    return anatomy, images, network


def test_every_weight_of_the_network_that_is_quantized_lies_on_the_grid(case) -> None:
    anatomy, images, network = case
    detector = anatomy.rebuilt(deepcopy(network), {}, images, {"map_quantiles": None})
    convs = {
        name: layer.weight.detach()
        for name, layer in detector.simplified().named_modules()
        if isinstance(layer, nn.Conv2d) and name.split(".")[-1] not in ("conv4", "conv8")  # in `difference`
    }
    assert {"teacher.conv1", "student.conv3", "difference"} <= set(convs)
    for name, weight in convs.items():
        step = weight.abs().amax((1, 2, 3), keepdim=True) / 63.5
        lies = (on_grid(weight) - weight).abs() < 1e-3 * step
        assert lies.all(), f"{name}: {int((~lies).sum())} of {lies.numel()} weights"


def test_int8_of_other_images_comes_nearer_to_float(case) -> None:
    """Than where the quantizer rounds each weight to the nearest step."""
    anatomy, images, network = case
    rows = [row.numpy() for row in images[N_FIT:].split(1)]
    plain, careful = (_form(anatomy, net, images) for net in (anatomy.network, network))
    exact = _maps(plain, rows)
    lost, left = (
        np.square(_maps(openvino_ir.quantize(form, iter(rows), len(rows)), rows) - exact).mean((0, 2, 3))
        for form in (plain, careful)
    )
    # An autoencoder that learnt nothing gives next to a constant, which rounding does not move.
    assert left[0] < 0.5 * lost[0], (left, lost)
    assert left.sum() < 0.5 * lost.sum(), (left, lost)


def _form(anatomy: Anatomy, network: nn.Module, images: torch.Tensor) -> Any:
    detector = anatomy.rebuilt(
        deepcopy(network).requires_grad_(False), {}, images[:4], {"map_quantiles": None}
    )
    return openvino_ir.import_onnx(capture(detector).onnx)


def _maps(model: Any, rows: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([next(iter(outputs.values())) for outputs in openvino_ir.through(model, rows)])
