"""Training student and autoencoder (arXiv 2303.14535, Algorithm 1), one image a step, resumable to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ad.detectors.efficientad.config import EfficientAdConfig
from edge_ad.detectors.efficientad.grid import keep_on_grid
from edge_ad.detectors.efficientad.network import PDN, Autoencoder
from edge_ad.detectors.efficientad.simplify import normalise
from edge_ad.detectors.loop import Loop, LoopState, Progress, fingerprint


@dataclass
class Trainer:
    """Student and autoencoder with all that a step changes.

    teacher: frozen, the output transform of the student's target folded in. target_ae: its last convolution
    with each channel standardised instead, the autoencoder's target: a bottleneck can learn the leading
    directions of the teacher's outputs, which whitening would drown in the others. images: (N, 3, S, S) uint8.
    penalty: (M, 3, S, S) uint8 images of other things, or None.
    """

    config: EfficientAdConfig
    teacher: PDN
    target_ae: nn.Conv2d
    images: Tensor
    penalty: Tensor | None
    bfloat16: bool

    def __post_init__(self) -> None:
        config = self.config
        torch.manual_seed(config.seed)
        outputs = config.channels * (2 if config.autoencoder else 1)
        self.student = PDN(config.widths, outputs)
        # A student that starts at zero starts as the Mahalanobis distance of a whitened teacher.
        torch.nn.init.zeros_(self.student.conv4.weight)
        torch.nn.init.zeros_(self.student.conv4.bias)  # type: ignore[arg-type]
        if config.quantization_aware:
            keep_on_grid(self.student, self.teacher.conv4)
        self.autoencoder = Autoencoder(config.size, config.channels) if config.autoencoder else None
        parts = {"student": self.student, "autoencoder": self.autoencoder}
        self.random = torch.Generator().manual_seed(config.seed)
        self.loop = Loop(
            modules=parts,
            optimizer=torch.optim.Adam(
                [p for part in parts.values() if part is not None for p in part.parameters()],
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
            ),
            identity=[config.model_dump_json(), fingerprint(self.images)],
            steps=config.steps,
            learning_rate=config.learning_rate,
            decay_at=config.decay_at,
            random=self.random,
        )

    def run(self, budget_s: float | None, checkpoint: Path, progress: Progress | None = None) -> LoopState:
        """Train to the configured number of steps or until the budget is spent (`Loop.run`)."""
        return self.loop.run(self._step, budget_s, checkpoint, progress)

    def _step(self) -> dict[str, Tensor]:
        index = int(torch.randint(len(self.images), (), generator=self.random))
        pixels = self.images[index : index + 1].float()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            return self._losses(pixels)

    def _losses(self, pixels: Tensor) -> dict[str, Tensor]:
        """The loss terms of Algorithm 1, on one image (1, 3, S, S) of pixels 0..255."""
        c = self.config.channels
        inputs = [normalise(pixels)]
        if self.autoencoder is not None:
            inputs.append(normalise(_jitter(pixels, self.random)))
        batch = torch.cat(inputs)
        with torch.no_grad():
            described = self.teacher.features(batch)
            target = self.teacher.conv4(described[:1]).float()
        features = self.student.features(batch)
        weight, bias = self.student.conv4.weight, self.student.conv4.bias
        assert bias is not None
        student = F.conv2d(features[:1], weight[:c], bias[:c]).float()
        squares = (target - student).square().flatten()
        hardest = max(1, round(squares.numel() * (1 - self.config.hard_quantile)))
        losses = {"hard": squares.topk(hardest, sorted=False).values.mean()}
        if self.penalty is not None:
            index = int(torch.randint(len(self.penalty), (), generator=self.random))
            other = self.student.features(normalise(self.penalty[index : index + 1]))
            losses["penalty"] = F.conv2d(other, weight[:c], bias[:c]).float().square().mean()
        if self.autoencoder is not None:
            with torch.no_grad():
                target_ae = self.target_ae(described[1:]).float()
            reconstruction = self.autoencoder(batch[1:]).float()
            student_ae = F.conv2d(features[1:], weight[c:], bias[c:]).float()
            losses["autoencoder"] = (target_ae - reconstruction).square().mean()
            losses["student-ae"] = (reconstruction - student_ae).square().mean()
        return losses


def _jitter(pixels: Tensor, random: torch.Generator) -> Tensor:
    """Brightness, contrast or saturation changed by a factor in U(0.8, 1.2); pixels 0..255 in and out."""
    kind = int(torch.randint(3, (), generator=random))
    factor = 0.8 + 0.4 * float(torch.rand((), generator=random))
    grey = (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    base = (torch.zeros_like(pixels), grey.mean().expand_as(pixels), grey.expand_as(pixels))[kind]
    return (factor * pixels + (1 - factor) * base).clamp(0, 255)
