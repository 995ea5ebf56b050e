"""EfficientAD's last convolutions in closed form."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import prunable
import pytest
import torch

from edge_ad.compile.prune.anatomies import anatomy_of
from edge_ad.compile.prune.anatomies.differences import Differences
from edge_ad.compile.prune.anatomies.least_squares import refit
from edge_ad.compile.prune.anatomy import Targets
from edge_ad.compile.prune.recover import targets_of
from edge_ad.compile.scores import batches
from edge_ad.detectors.efficientad.grid import on_grid


@pytest.fixture(params=["efficientad", "efficientad-ae"])
def spoilt(request: pytest.FixtureRequest) -> tuple[Differences, Targets]:
    """A network with other last convolutions than the one whose outputs are the targets."""
    detector = prunable.make(request.param)
    images = torch.from_numpy(
        np.concatenate(list(batches(prunable.normals(detector, 8).fit, detector.input)))
    )
    anatomy = anatomy_of(detector, images, images.flip(0), images)
    targets = targets_of(anatomy, images, images.flip(2), lambda: None)
    with torch.no_grad():
        exact = [
            torch.cat(parts)
            for parts in zip(*(anatomy.network(x[None]) for x in targets.inputs), strict=True)
        ]
    other = deepcopy(anatomy.network)
    for conv in (other.teacher.conv4, other.student.conv4):
        torch.nn.init.normal_(conv.weight, std=0.01)
    assert isinstance(anatomy.network, Differences)
    return other, replace(targets, parts=tuple(exact))


def test_weights_that_were_spoilt_are_found_again(spoilt: tuple[Differences, Targets]) -> None:
    network, targets = spoilt
    refit(network, targets)
    with torch.no_grad():
        for made, wanted in zip(network(targets.inputs), targets.parts, strict=True):
            assert float((made - wanted).square().mean() / wanted.square().mean()) < 0.02


def test_weights_lie_on_the_grid_of_int8(spoilt: tuple[Differences, Targets]) -> None:
    network, targets = spoilt
    refit(network, targets)
    pairs = [(network.teacher.conv4, network.student.conv4)]
    if network.autoencoder is not None:
        pairs.append((network.autoencoder.conv8, network.student_ae))
    for a, b in pairs:
        joint = torch.cat([a.weight.flatten(1), b.weight.flatten(1)], 1)[..., None, None]
        torch.testing.assert_close(
            on_grid(joint), joint, rtol=0, atol=1e-5 * float(joint.detach().abs().max())
        )


@torch.no_grad()
def test_features_rounded_to_8_bits_change_little(spoilt: tuple[Differences, Targets]) -> None:
    """Half of the features doubled but for noise that 8 bits cannot hold: an exact solution would live on it."""
    network, targets = spoilt
    conv = network.teacher.conv3
    half = conv.out_channels // 2
    conv.weight[half:] = conv.weight[:half] * (1 + 1e-5)
    conv.bias[half:] = conv.bias[:half]
    refit(network, targets)
    exact = network(targets.inputs)[0]

    def rounded(_module: torch.nn.Module, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        step = given[0].max() / 255
        return (torch.round(given[0] / step) * step,)

    hooks = [pdn.conv4.register_forward_pre_hook(rounded) for pdn in (network.teacher, network.student)]
    coarse = network(targets.inputs)[0]
    for hook in hooks:
        hook.remove()
    assert float((coarse - exact).square().mean()) < 0.05 * float(exact.square().mean())


def test_what_it_gives_is_no_worse_than_numpy_finds(spoilt: tuple[Differences, Targets]) -> None:
    """With fewer features there is no exact solution; an independent solver's is the measure."""
    network, targets = spoilt
    torch.nn.init.zeros_(network.teacher.conv3.weight[::2])
    torch.nn.init.zeros_(network.teacher.conv3.bias[::2])
    refit(network, targets)
    wanted = targets.parts[0]
    with torch.no_grad():
        features = [pdn.features(_normalised(targets.inputs)) for pdn in (network.teacher, network.student)]
        columns = torch.cat([torch.nn.functional.unfold(f, 4) for f in features], 1)
        given = columns.transpose(1, 2).flatten(0, 1).double().numpy()
        given = np.concatenate([given, np.ones((len(given), 1))], 1)
        target = wanted.flatten(2).transpose(1, 2).flatten(0, 1).double().numpy()
        best = given @ np.linalg.lstsq(given, target, rcond=1e-6)[0]
        own = network(targets.inputs)[0].flatten(2).transpose(1, 2).flatten(0, 1).double().numpy()
    least, found = (np.square(made - target).mean() for made in (best, own))
    assert least > 0 and found < 1.5 * least + 0.02 * np.square(target).mean()


def _normalised(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pixels.float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
