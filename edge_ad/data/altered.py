"""Copies of normal inputs that something is wrong with, for where real anomalies may not be seen.

They are made of preprocessed inputs, as the network takes them, and change what its score is about: a part of an
image, of a scan's features, of a window's newest rows. Images get the defects of `edge_ad.data.defects`; series the
kinds of change that anomaly injection knows: spike, level, amplitude, noise, stuck value, reversal, foreign piece
(Lai et al., "Revisiting Time Series Outlier Detection", NeurIPS 2021 data sets, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import InputSpec
from edge_ad.data.defects import defective

Batch = npt.NDArray[Any]

_SMALL_PX = 128  # images below hold one defect, others two


def altered(spec: InputSpec, batch: Batch, seed: int) -> Batch:
    """A changed copy of one preprocessed input (1, …); `seed` alone decides what is changed and how far."""
    rng = np.random.default_rng(seed)
    if spec.modality == "image" and batch.dtype == np.uint8:
        rows = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
        changed, _ = defective(rows, seed, per_image=1 if min(rows.shape[1:3]) < _SMALL_PX else 2)
        return np.ascontiguousarray(changed.transpose(0, 3, 1, 2))
    if spec.modality == "series" and batch.ndim == 3:
        hop = spec.window.hop if spec.window is not None else batch.shape[-1]
        return _series(batch, min(hop, batch.shape[-1]), rng)
    return _features(batch, rng)


def blended(batches: Sequence[Batch], count: int, seed: int) -> list[Batch]:
    """These normal inputs (1, …) and, behind them, as many mixtures of two as make it `count`: what mixup trains on
    (Zhang et al., arXiv 1710.09412), for a network that is to give what another one gives, whatever the input."""
    rng = np.random.default_rng(seed)
    made = list(batches)
    while len(made) < count:
        a, b = (batches[i].astype(np.float32) for i in rng.integers(len(batches), size=2))
        share = np.float32(rng.random())
        made.append((share * a + (1 - share) * b).astype(batches[0].dtype))
    return made


def _series(batch: Batch, newest: int, rng: np.random.Generator) -> Batch:
    """Windows (1, C, rows): the newest rows of some channels."""
    made = batch.astype(np.float32)
    channels = batch.shape[1]
    hit = rng.permutation(channels)[: int(rng.integers(1, max(2, channels // 2) + 1))]
    length = newest if newest < 4 else int(rng.integers(max(2, newest // 4), newest + 1))
    begin = batch.shape[-1] - newest + int(rng.integers(newest - length + 1))
    kind, size = int(rng.integers(7)), float(np.exp(rng.uniform(np.log(0.3), np.log(3.0))))
    for channel in hit:
        piece = made[0, channel, begin : begin + length]
        changed = _changed(piece, made[0, channel], kind, size, rng)
        # Some changes of a constant or single value are none.
        made[0, channel, begin : begin + length] = piece + size if np.allclose(changed, piece) else changed
    return made.astype(batch.dtype)


def _changed(piece: Batch, whole: Batch, kind: int, size: float, rng: np.random.Generator) -> Batch:
    """piece: part of the row `whole`, in standard deviations; size: of the change, likewise."""
    n = len(piece)
    if kind == 0:
        spike = np.zeros(n, np.float32)
        spike[int(rng.integers(n))] = rng.choice([-2, 2]) * size
        return piece + spike
    if kind == 1:
        return piece + rng.choice([-1, 1]) * size
    if kind == 2:
        centre = piece.mean()
        return centre + (piece - centre) * (1 + size if rng.random() < 0.5 else 1 / (1 + size))
    if kind == 3:
        return piece + size * rng.standard_normal(n).astype(np.float32)
    if kind == 4:
        return np.full_like(piece, piece[0])
    if kind == 5:
        return piece[::-1] if n > 1 else -piece
    begin = int(rng.integers(len(whole) - n + 1))
    return whole[begin : begin + n]


def _features(batch: Batch, rng: np.random.Generator) -> Batch:
    """Features of a scan (1, C, H, W) or any tensor: noise, another gain, missing cells, a misplaced block."""
    made = batch.astype(np.float32)
    spread = made.std() + 1e-6
    size = float(np.exp(rng.uniform(np.log(0.05), np.log(0.5))))
    kind = int(rng.integers(4))
    if kind == 0:
        made += size * spread * rng.standard_normal(made.shape).astype(np.float32)
    elif kind == 1:
        made *= 1 + rng.choice([-1, 1]) * size
    elif kind == 2:
        lost = rng.random((1, 1, *made.shape[2:])) < size
        made[np.broadcast_to(lost, made.shape)] = 0
    else:
        block = tuple(slice(int(rng.integers(n - n // 2 + 1)), None) for n in made.shape[2:])
        shifts = tuple(int(rng.integers(1, max(2, n // 2))) for n in made.shape[2:])
        rolled = np.roll(made, shifts, axis=tuple(range(2, made.ndim)))
        whole = (slice(None), slice(None), *block)
        made[whole] = rolled[whole]
    return made.astype(batch.dtype)
