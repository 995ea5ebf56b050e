"""EfficientAD as one network: plain, as published, and simplified, computing the same maps for less.

Both take raw pixels (N, 3, S, S) uint8 and give `maps` (N, K, S/4 - 8, S/4 - 8) float32: the channel-mean
squared differences student-teacher and, with an autoencoder, student-autoencoder (arXiv 2303.14535,
Algorithm 2, lines 2 to 7). The head does the rest.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ad.detectors.base import Staged
from edge_ad.detectors.efficientad.network import PDN, Autoencoder
from edge_ad.detectors.efficientad.statistics import OutputTransform, fold_into

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(pixels: Tensor) -> Tensor:
    """Pixels 0..255 (N, 3, H, W) to ImageNet-normalised float32."""
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    std = torch.tensor(STD).view(1, 3, 1, 1)
    return (pixels.float() / 255 - mean) / std


class PlainNetwork(nn.Module):
    """EfficientAD as published: each part by itself."""

    def __init__(
        self, teacher: PDN, transform: OutputTransform, student: PDN, autoencoder: Autoencoder | None
    ):
        super().__init__()
        self.teacher, self.student, self.autoencoder = teacher, student, autoencoder
        self.channels = teacher.conv4.out_channels
        self.register_buffer("matrix", torch.as_tensor(transform.matrix, dtype=torch.float32))
        self.register_buffer("bias", torch.as_tensor(transform.bias, dtype=torch.float32))

    def forward(self, pixels: Tensor) -> Tensor:
        x = normalise(pixels)
        raw = self.teacher(x)
        target = torch.einsum("dc,nchw->ndhw", self.matrix, raw) + self.bias.view(1, -1, 1, 1)
        student = self.student(x)
        maps = [(target - student[:, : self.channels]).square().mean(1, keepdim=True)]
        if self.autoencoder is not None:
            difference = self.autoencoder(x) - student[:, self.channels :]
            maps.append(difference.square().mean(1, keepdim=True))
        return torch.cat(maps, 1)


class SimplifiedNetwork(nn.Module):
    """The same maps with everything folded that can be folded exactly.

    - The input normalisation goes into the first convolutions of the PDNs, which do not pad. The autoencoder's
      first convolution pads with zeros, so there only the scale is folded and the mean is subtracted.
    - The teacher's output transform goes into its last convolution.
    - Differences are taken inside one convolution over concatenated features, weights [W_teacher, -W_student]:
      no feature is ever rounded to 8 bits before it is subtracted from one nearly equal.
    """

    def __init__(self, plain: PlainNetwork):
        super().__init__()
        transform = OutputTransform(plain.matrix.double().numpy(), plain.bias.double().numpy())
        teacher4 = fold_into(plain.teacher.conv4, transform)
        student4 = plain.student.conv4
        c = plain.channels
        self.teacher = _features_on_pixels(plain.teacher)
        self.student = _features_on_pixels(plain.student)
        self.difference = _difference_conv(teacher4, student4, slice(0, c))
        self.autoencoder: Autoencoder | None = None
        if plain.autoencoder is not None:
            self.autoencoder = _scale_folded(plain.autoencoder)
            last = _widen(plain.autoencoder.conv8)
            self.difference_ae = _difference_conv(last, student4, slice(c, None))
            self.register_buffer("mean", 255 * torch.tensor(MEAN).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        maps = [d.square().mean(1, keepdim=True) for d in self.differences(pixels.float())]
        return torch.cat(maps, 1)

    def differences(self, x: Tensor) -> tuple[Tensor, ...]:
        """Pixels (N, 3, S, S) float32 to the differences of the features, one tensor a map."""
        teacher, student = self.teacher.features(x), self.student.features(x)
        first = self.difference(torch.cat([teacher, student], 1))
        if self.autoencoder is None:
            return (first,)
        features = F.pad(self.autoencoder.features(x - self.mean), (1, 2, 1, 2))
        return first, self.difference_ae(torch.cat([features, student], 1))

    def staged(self) -> Staged:
        """The same in stages, for targets that quantize inputs and outputs too."""
        return Staged(_Numbers(), _Differences(self), _Maps(), pixels=True).eval()


class _Numbers(nn.Module):
    """Pixels as numbers."""

    only_casts = True

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float()


class _Differences(nn.Module):
    """Pixels (numbers) to the differences of the features, one tensor a map."""

    def __init__(self, network: SimplifiedNetwork):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.network.differences(x)


class _Maps(nn.Module):
    """Differences to maps: exact, since they make the score."""

    def forward(self, *differences: Tensor) -> Tensor:
        return torch.cat([difference.square().mean(1, keepdim=True) for difference in differences], 1)


@torch.no_grad()
def _features_on_pixels(pdn: PDN) -> PDN:
    """A copy whose first convolution takes raw pixels; its last one is unused."""
    widths = (pdn.conv1.out_channels, pdn.conv2.out_channels, pdn.conv3.out_channels)
    copy = PDN(widths, 1)
    for name in ("conv2", "conv3"):
        getattr(copy, name).load_state_dict(getattr(pdn, name).state_dict())
    scale = 1 / (255 * torch.tensor(STD, dtype=torch.float64))
    shift = torch.tensor(MEAN, dtype=torch.float64) / torch.tensor(STD, dtype=torch.float64)
    weight = pdn.conv1.weight.double()
    assert pdn.conv1.bias is not None
    copy.conv1.weight.copy_(weight * scale.view(1, 3, 1, 1))
    copy.conv1.bias.copy_(pdn.conv1.bias.double() - (weight * shift.view(1, 3, 1, 1)).sum((1, 2, 3)))
    return copy


@torch.no_grad()
def _scale_folded(autoencoder: Autoencoder) -> Autoencoder:
    """A copy without dropout whose first convolution takes pixels less their mean."""
    copy = deepcopy(autoencoder)
    copy.dropout = nn.Dropout(0.0)
    first = copy.encoder[0]
    assert isinstance(first, nn.Conv2d)
    first.weight.mul_(1 / (255 * torch.tensor(STD).view(1, 3, 1, 1)))
    return copy


@torch.no_grad()
def _widen(conv: nn.Conv2d) -> nn.Conv2d:
    """A 3x3 convolution with padding 1 as a 4x4 one without, for an input padded by (1, 2) each way."""
    wide = nn.Conv2d(conv.in_channels, conv.out_channels, 4)
    wide.weight.copy_(F.pad(conv.weight, (0, 1, 0, 1)))
    assert conv.bias is not None and wide.bias is not None
    wide.bias.copy_(conv.bias)
    return wide


@torch.no_grad()
def _difference_conv(first: nn.Conv2d, student: nn.Conv2d, outputs: slice) -> nn.Conv2d:
    """One convolution over concatenated inputs that gives first(a) - student(b)[outputs]."""
    joint = nn.Conv2d(first.in_channels + student.in_channels, first.out_channels, 4)
    joint.weight.copy_(torch.cat([first.weight, -student.weight[outputs]], 1))
    assert first.bias is not None and student.bias is not None and joint.bias is not None
    joint.bias.copy_(first.bias - student.bias[outputs])
    return joint
