"""Recovery: the pruned network learns to give what the unpruned one gives, on normal inputs and altered copies of them.

Distillation (Hinton, Vinyals, Dean, arXiv 1503.02531) of what the score is made of rather than of the score: the
anomaly map is a sum of squares of hundreds of values, of which the score alone says little. Errors are relative to
the size that a tensor has for this input and for normal ones, so that an altered copy, whose tensors are larger,
does not drown the normal input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomy import Anatomy, Kept, Parts, Targets
from edge_ad.errors import ModelError

_WARM_STEPS = 20


@torch.no_grad()
def targets_of(anatomy: Anatomy, normal: Tensor, changed: Tensor, tick: Callable[[], None]) -> Targets:
    """Run the unpruned network once over normal inputs and altered copies, (n, …) each."""
    inputs = torch.cat([normal, changed])
    rows: list[list[Tensor]] = []
    for x in inputs:
        rows.append([part.half() for part in anatomy.network(x[None])])
        tick()
    parts = tuple(torch.cat(column) for column in zip(*rows, strict=True))
    size = tuple(max(float(part[: len(normal)].float().square().mean()), 1e-12) for part in parts)
    return Targets(inputs, parts, size)


def recover(anatomy: Anatomy, targets: Targets, steps: int, seed: int, tick: Callable[[], None]) -> float:
    """Train the pruned network for `steps` steps of Adam, the rate rising at first and falling to zero along half a
    cosine (Loshchilov, Hutter, arXiv 1608.03983). Gives the mean relative error over the last tenth of the steps.

    Raises ModelError when the error is no number any more.
    """
    network, parts = anatomy.network, targets.parts
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=anatomy.rate)
    last: list[float] = []
    for step in range(steps):
        share = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = anatomy.rate * min(share, (step + 1) / _WARM_STEPS)
        chosen = torch.randint(len(targets.inputs), (anatomy.batch,), generator=random)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=anatomy.bfloat16):
            made = network(targets.inputs[chosen])
        loss = _relative(made, [part[chosen].float() for part in parts], targets.size)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError("the recovery diverged", hint="prune less, or take another --seed")
        last.append(value)
        tick()
    tenth = last[-max(1, len(last) // 10) :]
    return sum(tenth) / len(tenth) if tenth else float("nan")


@torch.no_grad()
def error_of(anatomy: Anatomy, targets: Targets) -> float:
    """The mean relative error over all inputs."""
    errors = []
    for index in range(0, len(targets.inputs), anatomy.batch):
        rows = slice(index, index + anatomy.batch)
        made = anatomy.network(targets.inputs[rows])
        errors.append(float(_relative(made, [part[rows].float() for part in targets.parts], targets.size)))
    return sum(errors) / len(errors)


def remaining(anatomy: Anatomy, targets: Targets, kept: Kept) -> Targets:
    """Targets without the channels that were pruned."""
    parts = tuple(
        part if source is None else part[:, kept[source]]
        for part, source in zip(targets.parts, anatomy.sources, strict=True)
    )
    return replace(targets, parts=parts)


def _relative(made: Parts, wanted: Sequence[Tensor], size: Sequence[float]) -> Tensor:
    """The squared error of each tensor relative to its size, averaged over inputs and tensors."""
    terms = []
    for found, target, usual in zip(made, wanted, size, strict=True):
        error = (found.float() - target).square().flatten(1).mean(1)
        own = target.square().flatten(1).mean(1)
        terms.append((error / (0.5 * (own + usual))).mean())
    return torch.stack(terms).mean()


@torch.no_grad()
def renew_batch_norms(network: nn.Module, inputs: Tensor, batch: int) -> None:
    """Take the statistics of batch norms anew from (n, …) inputs: a sum over fewer channels has another mean."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # type: ignore[assignment]  # a plain average over all batches
        norm.train()
    for chunk in inputs.split(max(batch, 2)):
        if len(chunk) > 1:
            network(chunk)
    network.eval()
