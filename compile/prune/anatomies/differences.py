"""EfficientAD's networks down to the differences that its maps are sums of squares of."""

from __future__ import annotations

from torch import Tensor, nn

from edge_ad.compile.prune.anatomy import Parts
from edge_ad.detectors.efficientad.network import PDN, Autoencoder
from edge_ad.detectors.efficientad.simplify import normalise


class Differences(nn.Module):
    """Pixels (N, 3, S, S) to the differences (N, C, h, w): teacher - student and, with one, autoencoder - student."""

    def __init__(
        self, teacher: PDN, student: PDN, student_ae: nn.Conv2d | None, autoencoder: Autoencoder | None
    ):
        super().__init__()
        self.teacher, self.student = teacher, student
        self.student_ae, self.autoencoder = student_ae, autoencoder

    def forward(self, pixels: Tensor) -> Parts:
        x = normalise(pixels)
        features = self.student.features(x)
        first = self.teacher(x) - self.student.conv4(features)
        if self.autoencoder is None or self.student_ae is None:
            return (first,)
        return first, self.autoencoder(x) - self.student_ae(features)
