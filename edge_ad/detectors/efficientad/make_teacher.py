"""Train the built-in teacher on generated images: python -m edge_ad.detectors.efficientad.make_teacher

Each step is an imaginary inspection task (`episodes`). A Gaussian is fitted to the teacher's outputs on normal
crops, differentiably, and the teacher learns to rank defective crops above other normal ones by their
Mahalanobis distance: that is what a whitened teacher is used for. A wide teacher is two halves that share no
weights and learn together, one begun at random, one at cosine filters: half the arithmetic and half the file.
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
from edge_ad.detectors.efficientad.episodes import Counts, affected_positions, draw_episode
from edge_ad.detectors.efficientad.network import PDN
from edge_ad.detectors.efficientad.simplify import normalise
from edge_ad.detectors.efficientad.statistics import DEFAULT_FLOOR
from edge_ad.detectors.efficientad.teacher import procedural_file, random_dct_pdn

STEPS = {"small": 700, "tiny": 2000, "micro": 2000}
IN_HALVES = ("small",)
LEARNING_RATE = 1e-3
AVERAGING = 0.998  # decay of the exponential moving average of weights, which is what is kept
TEMPERATURE = 0.3  # of the ranking loss, in units of the logarithm of the distance
TOP_SHARE = 0.02  # positions of a crop that make its score
HARD_SHARE = 0.2  # normal positions that count in the loss by position
MIN_POSITIONS = 20


def train(
    preset: str, steps: int, seed: int, *, log_every: int = 100, snapshots: Path | None = None
) -> tuple[nn.ModuleList, list[dict[str, float]]]:
    """Train the parts of a preset's teacher; returns them (averaged weights) and the log of running means."""
    counts = Counts()
    torch.manual_seed(seed)
    parts = untrained(preset).to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(parts).requires_grad_(False)
    optimizer = torch.optim.AdamW(parts.parameters(), LEARNING_RATE, weight_decay=1e-4)
    log: list[dict[str, float]] = []
    running: npt.NDArray[np.float64] | None = None
    begun = time.monotonic()
    for step in range(steps):
        rate = LEARNING_RATE * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate + 1e-6
        values = _step(parts, optimizer, seed * 10_000_000 + step, counts)
        if values is None:
            continue
        with torch.no_grad():
            decay = min(AVERAGING, (step + 1) / (step + 20))
            for kept, current in zip(averaged.parameters(), parts.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)
        running = values if running is None else 0.98 * running + 0.02 * values
        if (step + 1) % log_every == 0 or step + 1 == steps:
            entry = {"step": step + 1, "auroc": round(running[0], 4), "loss": round(running[1], 4)}
            log.append(entry)
            if snapshots is not None:
                snapshots.mkdir(parents=True, exist_ok=True)
                torch.save(averaged.state_dict(), snapshots / f"{preset}-{seed}-{step + 1}.pt")
            print(preset, json.dumps(entry), f"{time.monotonic() - begun:.0f} s", flush=True)
    return averaged.eval(), log


def _step(
    parts: nn.ModuleList, optimizer: torch.optim.Optimizer, seed: int, counts: Counts
) -> npt.NDArray[np.float64] | None:
    """Learn from one episode; its AUROC and loss, or None when it teaches nothing."""
    scored = _scored(parts, seed, counts)
    if scored is None:
        return None
    loss, auroc = scored
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
    optimizer.step()
    return np.array([auroc, loss.item()])


def _scored(parts: nn.ModuleList, seed: int, counts: Counts) -> tuple[Tensor, float] | None:
    """Loss and AUROC of one episode; None when its defects touch too few positions."""
    episode = draw_episode(seed, counts)
    affected = affected_positions(episode.masks).flatten(1)
    if affected.sum() < MIN_POSITIONS:
        return None
    x = normalise(torch.from_numpy(episode.crops).permute(0, 3, 1, 2) * 255)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = torch.cat([part(x).float() for part in parts], 1).flatten(2).transpose(1, 2)
    white = _whitened(outputs[: counts.support].flatten(0, 1), outputs[counts.support :])
    scores = torch.log(white.square().mean(2) + 1e-3)
    return _ranking_loss(scores[: counts.normal], scores[counts.normal :], affected)


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


def untrained(preset: str) -> nn.ModuleList:
    """The parts as they are before training, from torch's global generator."""
    widths, channels = PRESETS[preset].widths, PRESETS[preset].channels
    if preset not in IN_HALVES:
        return nn.ModuleList([random_dct_pdn(widths, channels)])
    half = (widths[0] // 2, widths[1] // 2, widths[2] // 2), channels // 2
    first = PDN(*half)
    for conv in (first.conv1, first.conv2, first.conv3, first.conv4):
        nn.init.orthogonal_(conv.weight, math.sqrt(2))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.ModuleList([first, random_dct_pdn(*half)])


@torch.no_grad()
def evaluate(parts: nn.ModuleList, episodes: int = 60) -> dict[str, float]:
    """Mean loss and AUROC over episodes that no training draws; untrained parts give the figures to compare."""
    torch.manual_seed(0)
    results = [_scored(parts, -1 - i, Counts()) for i in range(episodes)]
    loss, auroc = np.mean([(float(r[0]), r[1]) for r in results if r is not None], axis=0)
    return {"loss": round(float(loss), 4), "auroc": round(float(auroc), 4)}


def write(parts: nn.ModuleList, path: Path, card: dict[str, object]) -> None:
    """Write the weights in float16 and, beside them, the card that says how they were made."""
    content = save({k: v.detach().half().contiguous() for k, v in parts.state_dict().items()})
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
        parts, log = train(preset, steps, options.seed, snapshots=options.snapshots)
        torch.manual_seed(options.seed)
        before = evaluate(untrained(preset))
        path = procedural_file(config.widths, config.channels)
        card: dict[str, object] = {
            "what": "EfficientAD's built-in teacher; it has seen generated images only",
            "made_by": "python -m edge_ad.detectors.efficientad.make_teacher "
            f"--preset {preset} --steps {steps} --seed {options.seed} --threads {options.threads}",
            "held_out": {"untrained": before, "trained": evaluate(parts)},
            "torch": torch.__version__,
            "log": log[:: max(1, len(log) // 20)] + log[-1:],
        }
        write(parts, path if options.out is None else options.out / path.name, card)


if __name__ == "__main__":
    main()
