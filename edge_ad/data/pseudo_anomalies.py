"""Altered copies of normal inputs: pseudo-anomalies, to choose between forms of a network where no label may be seen.

They stand in for anomalies when a form is chosen by how well it still ranks; all that they say about real anomalies is
that a form reacts to the same things as the network that it was made from. Images get the local defects of
`edge_ad.data.defects`, scans the weather and the vibration of `edge_ad.data.scan_corruptions`, series the disturbances
of `edge_ad.data.sample_series` in their newest rows, vectors a block of foreign values.

Inputs are altered as they are acquired. What a pruned network learns from again (`edge_ad.data.altered`) is altered
after preprocessing, in other ways and in another split, so that a form is not judged by what it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import InputSpec
from edge_ad.data.defects import defective
from edge_ad.data.inputs import Acquired, Inputs
from edge_ad.data.sample_series import ANOMALIES
from edge_ad.data.scan_corruptions import SEVERITIES, corrupt

Rng = np.random.Generator
Window = npt.NDArray[np.floating[Any]]

MOST_DEFECTS = 3  # of one image
_SCAN_KINDS = ("crosstalk", "motion-blur", "fog", "snow")  # those that take points in any order
_LEAST_ROWS = 8  # below, a window is a vector: too short for what needs a course in time
_VECTOR_SHARE = 4  # a block is at most this part of a vector


def pseudo_anomalies(inputs: Inputs, spec: InputSpec, *, seed: int, copies: int = 1) -> Inputs:
    """`copies` altered copies of each of `inputs`, the same for the same arguments.

    spec: of the inputs, as they are acquired: images (H, W, 3) uint8, scans (N, 4) or windows (length, channels). All
    copies of an input follow each other, in the order of `inputs`.
    """
    alter = _alteration(inputs, spec)

    def read() -> Iterator[Acquired]:
        for index, acquired in enumerate(inputs):
            for copy in range(copies):
                yield alter(acquired, np.random.default_rng((seed, index, copy)))

    files = None if inputs.files is None else [path for path in inputs.files for _ in range(copies)]
    return Inputs(len(inputs) * copies, read, files)


def _alteration(inputs: Inputs, spec: InputSpec) -> Callable[[Acquired, Rng], Acquired]:
    if spec.window is None:
        if spec.modality != "image":
            return _scan
        height, width = spec.shape[-2:]
        return lambda image, rng: _image(
            image, max(1.0, min(image.shape[0] / height, image.shape[1] / width)), rng
        )
    spread = _spread(inputs)
    newest = min(spec.window.length, max(spec.window.hop, _LEAST_ROWS))
    return lambda window, rng: _window(window, newest, spread, rng)


def _image(image: Acquired, reduced: float, rng: Rng) -> Acquired:
    """(H, W, 3) uint8 with one to MOST_DEFECTS local defects, of full size after the image is reduced so many times: a
    network that looks at 64 px is not asked about what it cannot see."""
    seed, count = int(rng.integers(1 << 31)), int(rng.integers(1, MOST_DEFECTS + 1))
    changed, _ = defective(image[None], seed, count, scale=reduced)
    return changed[0]


def _scan(points: Acquired, rng: Rng) -> Acquired:
    """(N, 4) with one corruption, lightly or moderately."""
    kind, severity = rng.choice(_SCAN_KINDS), rng.choice(SEVERITIES[:2])
    return corrupt(points, str(kind), str(severity), rng)


def _spread(inputs: Inputs) -> Window:
    """(channels,) standard deviations of all rows of all windows; 1 for a channel that never moves."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for window in inputs:
        rows = window.astype(np.float64)
        count, total, squares = count + len(rows), total + rows.sum(0), squares + (rows**2).sum(0)
    spread = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0))
    return np.where(spread > 0, spread, 1.0)


def _window(window: Acquired, newest: int, spread: Window, rng: Rng) -> Acquired:
    """(length, channels) with its last `newest` rows disturbed in one channel; a vector in a block of channels."""
    changed = window.astype(np.float64)
    part = changed[-newest:]
    if len(part) < _LEAST_ROWS:
        _vector(part, spread, rng)
    else:
        channel = int(rng.integers(part.shape[1]))
        ANOMALIES[str(rng.choice(sorted(ANOMALIES)))](part, channel, rng)
        if np.array_equal(part, window[-newest:]):  # a stretch that does not move has no spread of its own
            part[:, channel] += float(rng.choice([-1, 1])) * rng.uniform(2, 4) * spread[channel]
    return changed.astype(window.dtype)


def _vector(rows: Window, spread: Window, rng: Rng) -> None:
    """Shift, noise or another order of values, in place, in a block of neighbouring channels of (n, channels)."""
    channels = rows.shape[1]
    width = int(rng.integers(1, max(1, channels // _VECTOR_SHARE) + 1))
    first = int(rng.integers(channels - width + 1))
    block = np.s_[:, first : first + width]
    unit = spread[first : first + width]
    kind = rng.integers(3)
    if kind == 0 or width == 1:
        rows[block] += float(rng.choice([-1, 1])) * rng.uniform(1, 4) * unit
    elif kind == 1:
        rows[block] += rng.uniform(0.5, 2) * unit * rng.standard_normal((len(rows), width))
    else:
        rows[block] = np.roll(rows, int(rng.integers(1, channels)), axis=1)[block]
