"""Channels of activations brought to like ranges: exact in float, and what INT8 gains by it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import prunable
import pytest
import torch
from torch import nn

from edge_ad.compile import openvino_ir
from edge_ad.compile.capture import capture
from edge_ad.compile.prune.anatomies import anatomy_of
from edge_ad.compile.prune.anatomy import Anatomy
from edge_ad.compile.prune.equalise import equalise
from edge_ad.compile.scores import batches
from edge_ad.detectors.base import Detector


@pytest.fixture(scope="module")
def spread() -> tuple[Detector, Anatomy, torch.Tensor]:
    """A detector whose activations have channels of very different size, and images for it."""
    detector = prunable.make("efficientad-ae")
    images = torch.from_numpy(
        np.concatenate(list(batches(prunable.normals(detector, 8).fit, detector.input)))
    )
    anatomy = anatomy_of(detector, images, images.flip(0), images)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for link in anatomy.links:
            maker = anatomy.network.get_submodule(link.maker)
            factor = 10 ** (3 * torch.rand(len(maker.weight), generator=random) - 2)
            maker.weight.mul_(factor.view(-1, 1, 1, 1))
            maker.bias.mul_(factor)
            for name in link.readers:
                anatomy.network.get_submodule(name).weight.div_(factor.view(1, -1, 1, 1))
    return detector, anatomy, images


def _rebuilt(anatomy: Anatomy, network: nn.Module, images: torch.Tensor) -> Detector:
    return anatomy.rebuilt(deepcopy(network).requires_grad_(False), {}, images, {"map_quantiles": None})


def test_every_tensor_between_two_convolutions_is_linked_once(spread) -> None:
    _, anatomy, _ = spread
    convs = {name for name, layer in anatomy.network.named_modules() if isinstance(layer, nn.Conv2d)}
    last = {"teacher.conv4", "student.conv4", "student_ae", "autoencoder.conv8"}
    first = {"teacher.conv1", "student.conv1", "autoencoder.encoder.0"}
    assert sorted(link.maker for link in anatomy.links) == sorted(convs - last)
    assert sorted(name for link in anatomy.links for name in link.readers) == sorted(convs - first)


@torch.no_grad()
def test_the_float_network_gives_the_same(spread) -> None:
    _, anatomy, images = spread
    network = deepcopy(anatomy.network)
    before = network(images)
    equalise(network, anatomy.links, images)
    for old, new in zip(before, network(images), strict=True):
        assert float((new - old).abs().max()) < 1e-4 * float(old.abs().max())


@torch.no_grad()
def test_the_largest_value_of_each_tensor_is_one(spread) -> None:
    _, anatomy, images = spread
    network = deepcopy(anatomy.network)
    equalise(network, anatomy.links, images)
    for link in anatomy.links:
        found = []
        hook = network.get_submodule(link.readers[0]).register_forward_pre_hook(
            lambda _module, given, found=found: found.append(float(given[0].abs().max()))
        )
        network(images)
        hook.remove()
        assert max(found) == pytest.approx(1, rel=1e-3)


def test_int8_comes_nearer_to_float(spread) -> None:
    _, anatomy, images = spread
    network = deepcopy(anatomy.network)
    equalise(network, anatomy.links, images)
    rows = [row.numpy() for row in images.split(1)]
    lost = []
    for form in (anatomy.network, network):
        plain = openvino_ir.import_onnx(capture(_rebuilt(anatomy, form, images)).onnx)
        quantized = openvino_ir.quantize(plain, iter(rows), len(rows))
        exact, rounded = (_maps(model, rows) for model in (plain, quantized))
        lost.append(np.abs(rounded - exact).mean((0, 2, 3)) / exact.std((0, 2, 3)))
    assert (lost[1] < 0.5 * lost[0]).all(), lost


def _maps(model: object, rows: list[np.ndarray]) -> np.ndarray:
    made: Iterator[dict[str, np.ndarray]] = openvino_ir.through(model, rows)
    return np.concatenate([next(iter(outputs.values())) for outputs in made])


@torch.no_grad()
def test_a_channel_that_is_always_zero_stays_finite(spread) -> None:
    _, anatomy, images = spread
    network = deepcopy(anatomy.network)
    conv = network.get_submodule("teacher.conv2")
    conv.weight[0], conv.bias[0] = 0, -1
    before = network(images)
    equalise(network, anatomy.links, images)
    for old, new in zip(before, network(images), strict=True):
        assert float((new - old).abs().max()) < 1e-4 * float(old.abs().max())
