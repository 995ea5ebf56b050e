"""EfficientAD as pruning sees it: the differences of teacher and student, and of autoencoder and student.

The maps are sums of squares over the channels of a difference, which no rotation of those channels changes. So the
channels are turned first into the directions in which altered images differ most from normal ones: from then on the
last channels of teacher and student, which go together, are those that tell least, and dropping one is a change of the
map's scale that the head's quantiles take up. The hidden channels of teacher, student and autoencoder go each by
themselves: the teacher of a pruned model is not the one it was fitted with, but its differences are nearly the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomies.differences import Differences
from edge_ad.compile.prune.anatomies.least_squares import refit
from edge_ad.compile.prune.anatomies.rounding import put_on_grid
from edge_ad.compile.prune.anatomy import Anatomy, Kept, Link, Parts
from edge_ad.detectors.base import Detector
from edge_ad.detectors.efficientad.detector import EfficientAd
from edge_ad.detectors.efficientad.statistics import OutputTransform, fold_into
from edge_ad.detectors.loop import hardware_bfloat16

TURNED_ON = 8  # images, and as many altered copies
TOP_SHARE = (
    0.005  # of the cells of a map: their mean stands for its maximum, of which one cell's gradient is noise
)
_PIXELS_A_BATCH = 1 << 17


def anatomy(detector: Detector, normal: Tensor, changed: Tensor, calibration: Tensor) -> Anatomy:
    """The differences, turned; the score of one image is its combined map's largest values."""
    assert isinstance(detector, EfficientAd)
    network = differences(detector)
    turn(network, normal[:TURNED_ON], changed[:TURNED_ON])
    widths = [network.teacher.conv4.out_channels]
    sources = ["teacher.conv4"]
    if network.autoencoder is not None:
        widths.append(network.autoencoder.conv8.out_channels)
        sources.append("autoencoder.conv8")
    gains = _gains(detector)

    def score(parts: Parts, x: Tensor) -> Tensor:
        maps = [gain * part.square().sum(1) / n for gain, part, n in zip(gains, parts, widths, strict=True)]
        cells = torch.stack(maps).sum(0).flatten(1)
        return cells.topk(max(1, round(TOP_SHARE * cells.shape[1])), dim=1).values.mean(1)

    def rebuilt(pruned: nn.Module, kept: Kept, calibration: Tensor, fit_info: dict[str, Any]) -> Detector:
        assert isinstance(pruned, Differences)
        return _rebuilt(detector, pruned, calibration, fit_info)

    size = detector.config.size
    return Anatomy(
        network, score, tuple(sources), rebuilt,
        batch=max(1, min(16, _PIXELS_A_BATCH // size**2)), rate=5e-4, steps=400 if size > 128 else 800,
        bfloat16=hardware_bfloat16(),
        refit=refit,
        rounded=put_on_grid,
        links=tuple(links(network)),
        notes=["The channels of the difference convolutions were turned into the directions in which altered images "
               "differ most from normal ones, which changes no map.",
               "Channels between two convolutions were brought to like ranges, which changes no map either, and "
               "weights rounded to INT8's grid, each making good what rounding those before it did."],
    )  # fmt: skip


@torch.no_grad()
def differences(detector: EfficientAd) -> Differences:
    """The networks of a detector, copied, its output transform folded into the teacher."""
    teacher, student = deepcopy(detector.teacher), deepcopy(detector.student)
    teacher.conv4 = fold_into(teacher.conv4, detector.transform)
    c = teacher.conv4.out_channels
    last = student.conv4
    student.conv4 = _rows(last, slice(0, c))
    student_ae = None if detector.autoencoder is None else _rows(last, slice(c, None))
    network = Differences(teacher, student, student_ae, deepcopy(detector.autoencoder))
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network.eval()


def links(network: Differences) -> Iterator[Link]:
    """All that lies between two convolutions: ReLU, pooling, resizing."""
    heads = ("student.conv4",) if network.student_ae is None else ("student.conv4", "student_ae")
    for pdn, last in (("teacher", ("teacher.conv4",)), ("student", heads)):
        yield Link(f"{pdn}.conv1", (f"{pdn}.conv2",))
        yield Link(f"{pdn}.conv2", (f"{pdn}.conv3",))
        yield Link(f"{pdn}.conv3", last)
    if network.autoencoder is not None:
        layers = [
            f"autoencoder.{name}" for name, layer in network.autoencoder.named_modules()
            if isinstance(layer, nn.Conv2d)
        ]  # fmt: skip
        for maker, reader in pairwise(layers):
            yield Link(maker, (reader,))


def _rows(conv: nn.Conv2d, rows: slice) -> nn.Conv2d:
    assert conv.bias is not None
    part = nn.Conv2d(conv.in_channels, len(conv.bias[rows]), 4)
    assert part.bias is not None
    part.weight.copy_(conv.weight[rows])
    part.bias.copy_(conv.bias[rows])
    return part


@torch.no_grad()
def turn(network: Differences, normal: Tensor, changed: Tensor) -> None:
    """Turn the channels of each difference into the eigenvectors of its second moment on altered images less that on
    normal ones, the largest first."""
    moments: list[Tensor] = []
    for sign, images in ((-1.0, normal), (1.0, changed)):
        for image in images:
            parts = [part[0].flatten(1).double() for part in network(image[None])]
            found = [sign * (part @ part.T) / (part.shape[1] * len(images)) for part in parts]
            moments = found if not moments else [a + b for a, b in zip(moments, found, strict=True)]
    rotations = [torch.linalg.eigh(moment).eigenvectors.flip(1).T for moment in moments]
    for conv in (network.teacher.conv4, network.student.conv4):
        _rotate(conv, rotations[0])
    if network.autoencoder is not None and network.student_ae is not None:
        for conv in (network.autoencoder.conv8, network.student_ae):
            _rotate(conv, rotations[1])


def _rotate(conv: nn.Conv2d, rotation: Tensor) -> None:
    assert conv.bias is not None
    conv.weight.copy_((rotation @ conv.weight.double().flatten(1)).view_as(conv.weight))
    conv.bias.copy_(rotation @ conv.bias.double())


def _gains(detector: EfficientAd) -> list[float]:
    """What the head multiplies each map with, from the quantiles of the fit."""
    quantiles = np.array(detector.fit_info["map_quantiles"], np.float64)
    gains = 0.1 / (quantiles[:, 1] - quantiles[:, 0])
    share = 0.5 * float(detector.fit_info.get("autoencoder_trust", 1.0))
    weights = [1.0] if len(gains) == 1 else [1 - share, share]
    return [float(gain * weight) for gain, weight in zip(gains, weights, strict=True)]


@torch.no_grad()
def _rebuilt(
    detector: EfficientAd, network: Differences, calibration: Tensor, fit_info: dict[str, Any]
) -> EfficientAd:
    """The detector of a pruned network, its map quantiles taken anew on the calibration images."""
    student, c = network.student, network.teacher.conv4.out_channels
    if network.student_ae is not None:
        student.conv4 = _stacked(student.conv4, network.student_ae)
    found = replace(
        detector, teacher=network.teacher, student=student, autoencoder=network.autoencoder,
        transform=OutputTransform(np.eye(c), np.zeros(c)), fit_info=dict(fit_info),
    )  # fmt: skip
    plain = found.network()
    outputs = [{"maps": plain(image[None]).numpy()} for image in calibration]
    found.fit_info["map_quantiles"] = found.fit_head(outputs, {}).params["quantiles"]
    return found


def _stacked(a: nn.Conv2d, b: nn.Conv2d) -> nn.Conv2d:
    both = nn.Conv2d(a.in_channels, a.out_channels + b.out_channels, 4)
    assert a.bias is not None and b.bias is not None and both.bias is not None
    both.weight.copy_(torch.cat([a.weight, b.weight]))
    both.bias.copy_(torch.cat([a.bias, b.bias]))
    return both.requires_grad_(False)
