"""Training student and autoencoder (arXiv 2303.14535, Algorithm 1), one image a step, resumable to the bit."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ad.bundle.atomic import write_atomic
from edge_ad.detectors.efficientad.config import EfficientAdConfig
from edge_ad.detectors.efficientad.grid import keep_on_grid
from edge_ad.detectors.efficientad.network import PDN, Autoencoder
from edge_ad.detectors.efficientad.simplify import normalise
from edge_ad.errors import ModelError

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY_S = 30.0

Progress = Callable[[float, str], None]


@dataclass
class TrainingState:
    """Where a training stands. `decay_step` is the step from which the learning rate is a tenth."""

    step: int = 0
    elapsed_s: float = 0.0
    decay_step: int | None = None
    last_step: int | None = None
    losses: dict[str, float] = field(default_factory=dict)
    stopped_by: str = ""


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
        parameters = list(self.student.parameters())
        parameters += list(self.autoencoder.parameters()) if self.autoencoder is not None else []
        self.optimizer = torch.optim.Adam(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.random = torch.Generator().manual_seed(config.seed)
        self.state = TrainingState()

    def run(
        self, budget_s: float | None, checkpoint: Path, progress: Progress | None = None
    ) -> TrainingState:
        """Train to the configured number of steps or until the budget is spent, whichever is first.

        The learning rate falls to a tenth for the last 5 % of either. Interrupting saves `checkpoint`.
        """
        begun = time.monotonic() - self.state.elapsed_s
        saved = time.monotonic()
        try:
            while not self._finished(budget_s):
                self._schedule(budget_s)
                self._step()
                now = time.monotonic()
                self.state.elapsed_s = now - begun
                if now - saved > CHECKPOINT_EVERY_S:
                    self.save(checkpoint)
                    saved = now
                if progress is not None:
                    progress(self._fraction(budget_s), self._status())
        except KeyboardInterrupt:
            self.save(checkpoint)
            raise
        return self.state

    def _finished(self, budget_s: float | None) -> bool:
        if self.state.step >= (self.state.last_step or self.config.steps):
            self.state.stopped_by = self.state.stopped_by or "steps"
            return True
        if budget_s is not None and self.state.elapsed_s >= budget_s:
            self.state.stopped_by = "budget"
            return True
        return False

    def _schedule(self, budget_s: float | None) -> None:
        state, config = self.state, self.config
        if state.decay_step is not None:
            return
        out_of_time = budget_s is not None and state.elapsed_s >= config.decay_at * budget_s
        if state.step < int(config.decay_at * config.steps) and not out_of_time:
            return
        state.decay_step = state.step
        if out_of_time:
            state.stopped_by = "budget"
            state.last_step = min(config.steps, max(state.step + 1, round(state.step / config.decay_at)))
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * 0.1

    def _fraction(self, budget_s: float | None) -> float:
        by_steps = self.state.step / (self.state.last_step or self.config.steps)
        by_time = 0.0 if budget_s is None else self.state.elapsed_s / budget_s
        return min(1.0, max(by_steps, by_time))

    def _status(self) -> str:
        losses = " ".join(f"{name} {value:.3f}" for name, value in self.state.losses.items())
        return f"step {self.state.step} {losses}"

    def _step(self) -> None:
        index = int(torch.randint(len(self.images), (), generator=self.random))
        pixels = self.images[index : index + 1].float()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            losses = self._losses(pixels)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        self.state.step += 1
        for name, value in losses.items():
            now = float(value.detach())
            before = self.state.losses.get(name, now)
            self.state.losses[name] = 0.98 * before + 0.02 * now

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

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on."""
        buffer = io.BytesIO()
        torch.save(
            {
                "config": self.config.model_dump_json(),
                "student": self.student.state_dict(),
                "autoencoder": None if self.autoencoder is None else self.autoencoder.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "random": self.random.get_state(),
                "dropout": torch.get_rng_state(),
                "state": vars(self.state),
                "images": _fingerprint(self.images),
            },
            buffer,
        )
        write_atomic(path, buffer.getvalue())

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint. Raises ModelError when it belongs to another fit or cannot be read."""
        hint = "run with --restart to begin anew"
        try:
            saved: dict[str, Any] = torch.load(path, weights_only=True)
        except Exception as error:  # torch.load raises whatever the unpickler meets
            raise ModelError("the unfinished fit cannot be read", where=path, hint=hint) from error
        same = saved["config"] == self.config.model_dump_json() and saved["images"] == _fingerprint(
            self.images
        )
        if not same:
            raise ModelError(
                "an unfinished fit with other settings or images lies here", where=path.parent, hint=hint
            )
        self.student.load_state_dict(saved["student"])
        if self.autoencoder is not None:
            self.autoencoder.load_state_dict(saved["autoencoder"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.random.set_state(saved["random"])
        torch.set_rng_state(saved["dropout"])
        self.state = TrainingState(**saved["state"])


def hardware_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _jitter(pixels: Tensor, random: torch.Generator) -> Tensor:
    """Brightness, contrast or saturation changed by a factor in U(0.8, 1.2); pixels 0..255 in and out."""
    kind = int(torch.randint(3, (), generator=random))
    factor = 0.8 + 0.4 * float(torch.rand((), generator=random))
    grey = (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    base = (torch.zeros_like(pixels), grey.mean().expand_as(pixels), grey.expand_as(pixels))[kind]
    return (factor * pixels + (1 - factor) * base).clamp(0, 255)


def _fingerprint(images: Tensor) -> list[int]:
    return [len(images), int(images.long().sum()), int((images[:, :, ::7, ::5].long() ** 2).sum())]
