"""The training loop of every detector: steps or a time budget, resumable to the bit."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_ad.bundle.atomic import write_atomic
from edge_ad.errors import ModelError

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY_S = 30.0

Progress = Callable[[float, str], None]
Losses = Mapping[str, Tensor]


@dataclass
class LoopState:
    """Where a training stands. `decay_step` is the step from which the learning rate is a tenth."""

    step: int = 0
    elapsed_s: float = 0.0
    decay_step: int | None = None
    last_step: int | None = None
    losses: dict[str, float] = field(default_factory=dict)
    stopped_by: str = ""


@dataclass
class Loop:
    """One training, with all that a step changes.

    modules: what the optimizer changes, by name; None for one that this configuration lacks. identity: what
    another fit would differ in (settings, data), as plain values: a checkpoint is only resumed when it is equal.
    random: the only source of randomness of a step besides torch's global one (dropout); both are resumed.
    """

    modules: Mapping[str, nn.Module | None]
    optimizer: torch.optim.Optimizer
    identity: list[Any]
    steps: int
    learning_rate: float
    decay_at: float
    random: torch.Generator
    state: LoopState = field(default_factory=LoopState)

    def run(
        self, losses: Callable[[], Losses], budget_s: float | None, checkpoint: Path, progress: Progress | None = None
    ) -> LoopState:  # fmt: skip
        """Minimise the sum of `losses()` for the configured steps or until the budget is spent, whichever is first.

        losses: draws a batch and gives its loss terms, scalars by name. budget_s: wall-clock seconds. The learning
        rate falls to a tenth for the last share (1 - decay_at) of either. Interrupting saves `checkpoint`.
        progress: told the share done, 0 to 1, and a line of text.
        """
        begun = time.monotonic() - self.state.elapsed_s
        saved = time.monotonic()
        try:
            while not self._finished(budget_s):
                self._schedule(budget_s)
                self._step(losses)
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

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on."""
        buffer = io.BytesIO()
        torch.save(
            {
                "identity": self.identity,
                "modules": {k: None if m is None else m.state_dict() for k, m in self.modules.items()},
                "optimizer": self.optimizer.state_dict(),
                "random": self.random.get_state(),
                "global_random": torch.get_rng_state(),
                "state": vars(self.state),
            },
            buffer,
        )
        write_atomic(path, buffer.getvalue())

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint. Raises ModelError when it belongs to another fit or cannot be read."""
        hint = "run with --restart to begin anew"
        try:
            saved: dict[str, Any] = torch.load(path, weights_only=True)
            same = saved["identity"] == self.identity
        except Exception as error:  # torch.load raises whatever the unpickler meets
            raise ModelError("the unfinished fit cannot be read", where=path, hint=hint) from error
        if not same:
            raise ModelError(
                "an unfinished fit with other settings or data lies here", where=path.parent, hint=hint
            )
        for name, module in self.modules.items():
            if module is not None:
                module.load_state_dict(saved["modules"][name])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.random.set_state(saved["random"])
        torch.set_rng_state(saved["global_random"])
        self.state = LoopState(**saved["state"])

    def _finished(self, budget_s: float | None) -> bool:
        if self.state.step >= (self.state.last_step or self.steps):
            self.state.stopped_by = self.state.stopped_by or "steps"
            return True
        if budget_s is not None and self.state.elapsed_s >= budget_s:
            self.state.stopped_by = "budget"
            return True
        return False

    def _schedule(self, budget_s: float | None) -> None:
        state = self.state
        if state.decay_step is not None:
            return
        out_of_time = budget_s is not None and state.elapsed_s >= self.decay_at * budget_s
        if state.step < int(self.decay_at * self.steps) and not out_of_time:
            return
        state.decay_step = state.step
        if out_of_time:
            state.stopped_by = "budget"
            state.last_step = min(self.steps, max(state.step + 1, round(state.step / self.decay_at)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * 0.1

    def _step(self, losses: Callable[[], Losses]) -> None:
        found = losses()
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.state.step += 1
        for name, value in found.items():
            now = float(value.detach())
            before = self.state.losses.get(name, now)
            self.state.losses[name] = 0.98 * before + 0.02 * now

    def _fraction(self, budget_s: float | None) -> float:
        by_steps = self.state.step / (self.state.last_step or self.steps)
        by_time = 0.0 if budget_s is None else self.state.elapsed_s / budget_s
        return min(1.0, max(by_steps, by_time))

    def _status(self) -> str:
        losses = " ".join(f"{name} {value:.3f}" for name, value in self.state.losses.items())
        return f"step {self.state.step} {losses}"


def fingerprint(inputs: Tensor) -> str:
    """A digest of training inputs of any shape and dtype, which tells one set from another."""
    return hashlib.sha256(inputs.contiguous().numpy().tobytes()).hexdigest()


def hardware_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
