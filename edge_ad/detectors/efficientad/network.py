"""The networks of EfficientAD: patch description network (PDN) and autoencoder.

Batzner, Heckler, Koenig: "EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies",
arXiv 2303.14535, Tables 5 to 7 of its appendix. Convolutions run without padding, so that an image of S px
gives maps of S / 4 - 8 positions a side.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

RECEPTIVE_FIELD_PX = 33
STRIDE_PX = 4
PAD_CELLS = 4  # border cells without an output, each side: (S / 4 - map side) / 2


class PDN(nn.Module):
    """PDN-S: four convolutions and two average pools; receptive field 33 px, stride 4.

    Input (N, 3, S, S) normalised by ImageNet mean and deviation; output (N, channels, S/4 - 8, S/4 - 8).
    """

    def __init__(self, widths: tuple[int, int, int], channels: int):
        super().__init__()
        w1, w2, w3 = widths
        self.conv1 = nn.Conv2d(3, w1, 4)
        self.conv2 = nn.Conv2d(w1, w2, 4)
        self.conv3 = nn.Conv2d(w2, w3, 3)
        self.conv4 = nn.Conv2d(w3, channels, 4)

    def features(self, x: Tensor) -> Tensor:
        """Output of the third convolution after its ReLU, (N, w3, S/4 - 5, S/4 - 5)."""
        x = F.avg_pool2d(F.relu(self.conv1(x)), 2)
        x = F.avg_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.conv3(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv4(self.features(x))


class Autoencoder(nn.Module):
    """The autoencoder of EfficientAD; `width` is 64 in the paper.

    Input (N, 3, size, size); output (N, channels, size/4 - 8, size/4 - 8).
    """

    def __init__(self, size: int, channels: int, width: int = 64, dropout: float = 0.2):
        super().__init__()
        half = width // 2
        bottleneck = size // 32
        self.map_side = size // 4 - 2 * PAD_CELLS
        encoder: list[nn.Module] = []
        for c_in, c_out in [(3, half), (half, half), (half, width), (width, width), (width, width)]:
            encoder += [nn.Conv2d(c_in, c_out, 4, 2, 1), nn.ReLU()]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(width, width, bottleneck))
        # Each stage's convolution (kernel 4, padding 2) adds one to its side: see the specification's table.
        self.sides = [size // 64 - 1, size // 32, size // 16 - 1, size // 8, size // 4 - 1, size // 2 - 1]
        self.decoder = nn.ModuleList(nn.Conv2d(width, width, 4, 1, 2) for _ in self.sides)
        self.dropout = nn.Dropout(dropout)
        self.conv7 = nn.Conv2d(width, width, 3, 1, 1)
        self.conv8 = nn.Conv2d(width, channels, 3, 1, 1)

    def features(self, x: Tensor) -> Tensor:
        """Input of the last convolution, (N, width, size/4 - 8, size/4 - 8)."""
        x = self.encoder(x)
        for side, conv in zip(self.sides, self.decoder, strict=True):
            x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
            x = self.dropout(F.relu(conv(x)))
        x = F.interpolate(x, size=(self.map_side, self.map_side), mode="bilinear", align_corners=False)
        return F.relu(self.conv7(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv8(self.features(x))
