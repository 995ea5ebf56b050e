"""Structured pruning: from a fitted detector to one with fewer channels, recovered from the unpruned one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import cycle, islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_ad.compile.prune.anatomies import anatomy_of
from edge_ad.compile.prune.anatomy import Anatomy, Targets
from edge_ad.compile.prune.choose import choose
from edge_ad.compile.prune.equalise import equalise
from edge_ad.compile.prune.groups import Channels, cost_of
from edge_ad.compile.prune.importance import Pairs, importances
from edge_ad.compile.prune.recover import error_of, recover, remaining, renew_batch_norms, targets_of
from edge_ad.compile.scores import batches
from edge_ad.data.altered import altered, blended
from edge_ad.data.inputs import Inputs, find_normals, fit_inputs
from edge_ad.detectors.base import Detector
from edge_ad.detectors.widths import PRUNED, pruned_sentence
from edge_ad.errors import ModelError, UsageError

MOST_VALUES = 3 << 21  # in the inputs of the fit split for recovery, each of which has an altered copy
FEWEST_NORMALS, FEWEST_SCANS, MOST_NORMALS = 32, 1024, 2048
MOST_CALIBRATION = 1000
PAIRS, PAIRS_OF_LARGE, LARGE = 48, 6, 1 << 16  # of those, for importance; of inputs of so many values
MOST_TARGET_BYTES = 1 << 29
ROUNDS = 3  # importance is a first-order figure, true of small steps

Tick = Callable[[], None]
Stage = Callable[[str, int], Tick]


@dataclass(frozen=True)
class PruningData:
    """Normal inputs of a detector, as acquired: those that it was fitted on, and those kept for calibration."""

    fit: Inputs
    calibration: Inputs


@dataclass(frozen=True)
class Pruned:
    """What pruning made. macs, parameters: of the layers whose widths can change, for one input. loss: relative error
    of what the score is made of against the unpruned network, after recovery. decisions: what was done, sentences."""

    detector: Detector
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int
    loss: float
    decisions: list[str] = field(default_factory=list)


def normals_of(detector: Detector, data: Path) -> PruningData:
    """The normal inputs that the detector set aside, where they lie in `data` now. Raises DataError."""
    normals = find_normals(detector.splits, data, detector.input)
    return PruningData(fit_inputs(detector.splits, data, detector.input), normals.calibration)


def prune(
    detector: Detector, share: float, normals: PruningData, *, seed: int = 0, steps: int | None = None,
    multiple: int = 8, digest: str | None = None, stage: Stage | None = None,
) -> Pruned:  # fmt: skip
    """A detector with a share `share` (0 to 1) of the multiply-accumulates less, its channels physically removed.

    Channels are chosen by what the score loses (`importance`) for what they save (`choose`), in ROUNDS rounds, each
    followed by part of the recovery (`recover`). seed: of altered copies and batches. steps: of the recovery, None for
    the detector's own number. multiple: what layers' widths are multiples of where they are wide enough. digest: of the
    unpruned model, for the manifest. stage: told what begins and how many ticks it has. `detector` is not changed.

    Raises UsageError for a share that is none, ModelError for a detector that cannot be pruned, or not so far.
    """
    if not 0 < share < 1:
        raise UsageError(f"the share of the work to take away must lie between 0 and 1, not {share:g}")
    stage = stage or (lambda what, total: lambda: None)
    normal, changed, calibration = _inputs(detector, normals, seed)
    anatomy = anatomy_of(detector, normal, changed, calibration)
    steps = steps or anatomy.steps
    channels = Channels(anatomy, normal[:1])
    before = cost_of(anatomy, normal[:1])
    most = (1 - share) * before[0]
    _require_reachable(channels, most, before[0], multiple, _least(anatomy, multiple))
    done = stage("unpruned network", 2 * len(normal))
    targets = _targets(anatomy, normal, changed, done)
    loss = _rounds(anatomy, channels, targets, _pairs(normal, changed), most, steps, multiple, seed, stage)
    after = channels.macs(), channels.parameters()
    return _finished(detector, anatomy, channels, calibration, before, after, loss, steps, digest)


def _rounds(
    anatomy: Anatomy, channels: Channels, targets: Targets, pairs: Pairs, most: float, steps: int, multiple: int,
    seed: int, stage: Stage,
) -> float:  # fmt: skip
    """Prune down to `most` multiply-accumulates in ROUNDS equal parts; half of the steps follow the last one. Gives the
    last recovery's error."""
    begin, loss = channels.macs(), float("nan")
    widths = {group.root: group.width for group in channels.groups()}
    for number in range(1, ROUNDS + 1):
        groups = channels.groups()
        done = stage(f"importance, round {number} of {ROUNDS}", 1)
        found = importances(anatomy, groups, pairs)
        done()
        goal = begin - (begin - most) * number / ROUNDS
        choice = choose(channels, groups, found, widths, goal, multiple, _least(anatomy, multiple))
        _remove(channels, {groups[i].root: gone for i, gone in choice.channels.items()})
        renew_batch_norms(anatomy.network, targets.inputs, anatomy.batch)
        last = number == ROUNDS
        part = max(1, steps // 2 if last else steps // (2 * ROUNDS - 2))
        done = stage(f"recovery, round {number} of {ROUNDS}", part)
        wanted = remaining(anatomy, targets, channels.kept)
        if last:
            _refit(anatomy, wanted)
        loss = recover(anatomy, wanted, part, seed + number, done)
        if last:
            done = stage("ready for 8 bits", 1)
            loss = _settle(anatomy, wanted, loss)
            done()
    return loss


def _settle(anatomy: Anatomy, wanted: Targets, loss: float) -> float:
    """What makes the network ready for 8 bits. Gives the error that is left, `loss` where nothing was changed."""
    equalise(anatomy.network, anatomy.links, wanted.inputs)
    if anatomy.rounded is not None:
        anatomy.rounded(anatomy.network, wanted.inputs)
    return loss if anatomy.refit is None else _refit(anatomy, wanted)


def _refit(anatomy: Anatomy, wanted: Targets) -> float:
    """Solve for what has a closed form, unless that is worse than what there is. Gives the error that is left."""
    if anatomy.refit is None:
        return float("nan")
    before, kept = error_of(anatomy, wanted), deepcopy(anatomy.network.state_dict())
    anatomy.refit(anatomy.network, wanted)
    after = error_of(anatomy, wanted)
    if after <= before:
        return after
    anatomy.network.load_state_dict(kept)
    return before


def _least(anatomy: Anatomy, multiple: int) -> int:
    """What narrow layers' channels are a multiple of at least: anything, but where kernels compute so few at once."""
    return multiple if multiple <= anatomy.least_step else 1


def _require_reachable(channels: Channels, most: float, begin: int, multiple: int, least: int) -> None:
    """Raises ModelError where no more than `most` multiply-accumulates is less than the narrowest layers need."""
    groups = channels.groups()
    alike = [torch.zeros(group.width) for group in groups]
    widths = {g.root: g.width for g in groups}
    left = choose(channels, groups, alike, widths, 0.0, multiple, least).macs
    if left > most:
        raise ModelError(
            f"cannot be pruned by {1 - most / begin:.3g} of its multiply-accumulates: at the narrowest that its layers "
            f"may be {left / begin:.2g} of them are left",
            hint=f"take {0.99 - left / begin:.2f} or less",
        )


def _finished(
    detector: Detector, anatomy: Anatomy, channels: Channels, calibration: Tensor, before: tuple[int, int],
    after: tuple[int, int], loss: float, steps: int, digest: str | None,
) -> Pruned:  # fmt: skip
    told: dict[str, Any] = {
        "macs_before": before[0], "macs_after": after[0],
        "parameters_before": before[1], "parameters_after": after[1],
        "steps": steps, "loss": round(loss, 5), "from_sha256": digest,
    }  # fmt: skip
    for parameter in anatomy.network.parameters():
        parameter.data = parameter.data.contiguous()
    fit_info = {**detector.info().fit, PRUNED: told}
    made = anatomy.rebuilt(anatomy.network.eval().requires_grad_(False), channels.kept, calibration, fit_info)
    decisions = [*anatomy.notes, pruned_sentence(told)]
    return Pruned(made, before[0], after[0], before[1], after[1], loss, decisions)


def _inputs(detector: Detector, normals: PruningData, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Preprocessed normal inputs of the fit split, evenly spaced, of few scans mixtures of two as well, altered copies
    of all of them, and the calibration split."""
    most = min(MOST_NORMALS, max(FEWEST_NORMALS, MOST_VALUES // prod(detector.input.shape)))
    step = max(1, -(-len(normals.fit) // most))
    spaced = Inputs(
        -(-len(normals.fit) // step), lambda: islice(normals.fit.read(), 0, None, step),
        None if normals.fit.files is None else normals.fit.files[::step],
    )  # fmt: skip
    spec = detector.input
    usual = list(batches(spaced, spec))
    if spec.modality == "scan":  # a recovery from few scans fits those alone
        usual = blended(usual, min(FEWEST_SCANS, most), seed)
    usual = list(islice(cycle(usual), max(len(usual), FEWEST_NORMALS)))  # of few, several altered copies each
    copies = [altered(spec, batch, seed * MOST_NORMALS + i) for i, batch in enumerate(usual)]
    kept = list(islice(batches(normals.calibration, spec), MOST_CALIBRATION))
    usual_, copies_, kept_ = (torch.from_numpy(np.concatenate(found)) for found in (usual, copies, kept))
    return usual_, copies_, kept_


def _pairs(normal: Tensor, changed: Tensor) -> Pairs:
    """Some of the inputs, evenly spaced, each with its altered copy."""
    most = PAIRS_OF_LARGE if normal[0].numel() > LARGE else PAIRS
    step = max(1, -(-len(normal) // most))
    return list(zip(normal[::step].split(1), changed[::step].split(1), strict=True))


def _targets(anatomy: Anatomy, normal: Tensor, changed: Tensor, tick: Tick) -> Targets:
    """Of as many inputs as memory should hold the targets of."""
    with torch.no_grad():
        each = 2 * sum(part.numel() for part in anatomy.network(normal[:1]))
    most = max(8, MOST_TARGET_BYTES // (2 * each))
    return targets_of(anatomy, normal[:most], changed[:most], tick)


def _remove(channels: Channels, chosen: Mapping[str, list[int]]) -> None:
    """Take channels out of groups; each removal makes the groups anew, which are found again by their root."""
    for root, gone in chosen.items():
        group = next(g for g in channels.groups() if g.root == root)
        channels.prune(group, gone)
