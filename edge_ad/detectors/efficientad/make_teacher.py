"""Train the built-in teacher on generated images: python -m edge_ad.detectors.efficientad.make_teacher

Each step is an imaginary inspection task (`episodes`). A Gaussian is fitted to the teacher's outputs on normal
crops, differentiably, and the teacher learns to rank defective crops above other normal ones by their
Mahalanobis distance: that is what a whitened teacher is used for. Two halves that do not share weights learn
together, one begun at random, one at cosine filters: half the arithmetic and half the file of one wide network.
Episodic training as in Vinyals et al., "Matching Networks", NeurIPS 2016.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ad.bundle.atomic import write_atomic
from edge_ad.detectors.efficientad.config import PRESETS
from edge_ad.detectors.efficientad.emphasis import affected_positions
from edge_ad.detectors.efficientad.episodes import Counts, draw_episode
from edge_ad.detectors.efficientad.network import PDN
from edge_ad.detectors.efficientad.simplify import normalise
from edge_ad.detectors.efficientad.statistics import DEFAULT_FLOOR
from edge_ad.detectors.efficientad.teacher import procedural_file, random_dct_pdn

STEPS = {"small": 2000, "tiny": 2000, "micro": 2000}
LEARNING_RATE = 1e-3
AVERAGING = 0.998  # decay of the exponential moving average of weights, which is what is kept
TEMPERATURE = 0.3  # of the ranking loss, in units of the logarithm of the distance
TOP_SHARE = 0.02  # positions of a crop that make its score
HARD_SHARE = 0.2  # normal positions that count in the loss by position
MIN_POSITIONS = 20
CHANCE = 1.5 * math.log(2)  # of one ranking loss, when defective and normal crops score alike


def train(
    preset: str, steps: int, seed: int, *, log_every: int = 100, snapshots: Path | None = None
) -> tuple[nn.ModuleList, list[dict[str, float]]]:
    """Train the two halves of a preset's teacher; returns them (averaged weights) and the log.

    The log's losses are running means; learning shows in that they fall below `CHANCE`.
    """
    config, counts = PRESETS[preset], Counts()
    widths = (config.widths[0] // 2, config.widths[1] // 2, config.widths[2] // 2)
    torch.manual_seed(seed)
    halves = nn.ModuleList(
        [_orthogonal_pdn(widths, config.channels // 2), random_dct_pdn(widths, config.channels // 2)]
    )
    halves = halves.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(halves).requires_grad_(False)
    optimizer = torch.optim.AdamW(halves.parameters(), LEARNING_RATE, weight_decay=1e-4)
    log: list[dict[str, float]] = []
    running: npt.NDArray[np.float64] | None = None
    begun = time.monotonic()
    for step in range(steps):
        rate = LEARNING_RATE * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate + 1e-6
        values = _step(halves, optimizer, seed * 10_000_000 + step, counts)
        if values is None:
            continue
        with torch.no_grad():
            decay = min(AVERAGING, (step + 1) / (step + 20))
            for kept, current in zip(averaged.parameters(), halves.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)
        running = values if running is None else 0.98 * running + 0.02 * values
        if (step + 1) % log_every == 0 or step + 1 == steps:
            names = ("auroc", "loss", "auroc_weighted", "loss_weighted")
            entry = {"step": step + 1} | {n: round(float(v), 4) for n, v in zip(names, running, strict=True)}
            log.append(entry)
            if snapshots is not None:
                snapshots.mkdir(parents=True, exist_ok=True)
                torch.save(averaged.state_dict(), snapshots / f"{preset}-{seed}-{step + 1}.pt")
            print(preset, json.dumps(entry), f"{time.monotonic() - begun:.0f} s", flush=True)
    return averaged.eval(), log


def _step(
    halves: nn.ModuleList, optimizer: torch.optim.Optimizer, seed: int, counts: Counts
) -> npt.NDArray[np.float64] | None:
    """One episode; None when its defects touch too few positions to learn from."""
    episode = draw_episode(seed, counts)
    affected = affected_positions(episode.masks)
    if min(affected[: counts.weighting].sum(), affected[counts.weighting :].sum()) < MIN_POSITIONS:
        return None
    x = normalise(torch.from_numpy(episode.crops).permute(0, 3, 1, 2) * 255)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = torch.cat([half(x).float() for half in halves], 1)
    loss, values = _episode_loss(outputs.flatten(2).transpose(1, 2), affected.flatten(1), counts)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(halves.parameters(), 1.0)
    optimizer.step()
    return values


def _episode_loss(
    outputs: Tensor, affected: Tensor, counts: Counts
) -> tuple[Tensor, npt.NDArray[np.float64]]:
    """Ranking losses of the plain Mahalanobis distance and of the one weighted towards defects.

    outputs: (crops, positions, C) in the episode's order. affected: (defective crops, positions).
    """
    support, normal, weighting, _ = torch.split(
        outputs, [counts.support, counts.normal, counts.weighting, counts.defective]
    )
    white = _whitened(support.flatten(0, 1), outputs[counts.support :])
    normal, weighting, defective = torch.split(white, [counts.normal, counts.weighting, counts.defective])
    shown = weighting[affected[: counts.weighting]]
    moment = shown.T @ shown / len(shown)
    moment = moment / moment.diagonal().mean()
    scored = torch.cat([normal, defective])
    affected = affected[counts.weighting :]
    plain = torch.log(scored.square().mean(2) + 1e-3)
    weighted = torch.log(((scored @ moment) * scored).mean(2) + 1e-3)
    loss_plain, auroc_plain = _ranking_loss(plain[: counts.normal], plain[counts.normal :], affected)
    loss_weighted, auroc_weighted = _ranking_loss(
        weighted[: counts.normal], weighted[counts.normal :], affected
    )
    values = np.array([auroc_plain, loss_plain.item(), auroc_weighted, loss_weighted.item()])
    return 0.5 * (loss_plain + loss_weighted), values


def _whitened(support: Tensor, outputs: Tensor) -> Tensor:
    """`outputs` (..., C) whitened by the statistics of `support` (positions, C); Cholesky, not ZCA: cheaper."""
    mean, deviation = support.mean(0), support.std(0) + 1e-4
    z = (support - mean) / deviation
    channels = z.shape[1]
    lower = torch.linalg.cholesky(z.T @ z / len(z) + DEFAULT_FLOOR * torch.eye(channels))
    rows = ((outputs - mean) / deviation).flatten(0, -2)
    return torch.linalg.solve_triangular(lower, rows.T, upper=False).T.reshape(outputs.shape)


def _ranking_loss(normal: Tensor, defective: Tensor, affected: Tensor) -> tuple[Tensor, float]:
    """Logistic ranking of crops by their highest positions, plus half of the same by position; and the AUROC.

    normal, defective: scores (crops, positions).
    """
    top = max(1, int(TOP_SHARE * normal.shape[1]))
    of_normal = normal.topk(top, 1).values.mean(1)
    of_defective = torch.stack(
        [s[a].topk(min(top, int(a.sum()))).values.mean() for s, a in zip(defective, affected) if a.any()]  # noqa: B905
    )
    by_crop = F.softplus((of_normal[:, None] - of_defective[None]) / TEMPERATURE).mean()
    hard = normal.flatten().topk(int(HARD_SHARE * normal.numel())).values[::5]
    shown = defective[affected]
    shown = shown[torch.randperm(len(shown))[:256]]
    by_position = F.softplus((hard[:, None] - shown[None]) / TEMPERATURE).mean()
    auroc = float((of_normal[:, None] < of_defective[None]).float().mean())
    return by_crop + 0.5 * by_position, auroc


def _orthogonal_pdn(widths: tuple[int, int, int], channels: int) -> PDN:
    pdn = PDN(widths, channels)
    for conv in (pdn.conv1, pdn.conv2, pdn.conv3, pdn.conv4):
        nn.init.orthogonal_(conv.weight, math.sqrt(2))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return pdn


def write(halves: nn.ModuleList, path: Path, card: dict[str, object]) -> None:
    """Write the weights in float16 and, beside them, the card that says how they were made."""
    content = save({k: v.detach().half().contiguous() for k, v in halves.state_dict().items()})
    write_atomic(path, content)
    text = json.dumps(card | {"sha256": hashlib.sha256(content).hexdigest()}, indent=1)
    write_atomic(path.with_suffix(".json"), (text + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train the built-in EfficientAD teacher on generated images."
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), action="append", help="all unless given")
    parser.add_argument("--steps", type=int, help=f"default: {STEPS}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--snapshots", type=Path, help="folder for the weights at each line of the log")
    parser.add_argument("--out", type=Path, help="folder to write to; the package's own unless given")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for preset in options.preset or sorted(PRESETS):
        config, steps = PRESETS[preset], options.steps or STEPS[preset]
        halves, log = train(preset, steps, options.seed, snapshots=options.snapshots)
        path = procedural_file(config.widths, config.channels)
        card: dict[str, object] = {
            "what": "EfficientAD's built-in teacher as two halves; it has seen generated images only",
            "made_by": "python -m edge_ad.detectors.efficientad.make_teacher "
            f"--preset {preset} --steps {steps} --seed {options.seed} --threads {options.threads}",
            "loss_at_chance": round(CHANCE, 4),
            "torch": torch.__version__,
            "log": log[:: max(1, len(log) // 20)] + log[-1:],
        }
        write(halves, path if options.out is None else options.out / path.name, card)


if __name__ == "__main__":
    main()
