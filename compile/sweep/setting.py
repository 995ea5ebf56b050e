"""What all forms of a sweep share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_ad.compile.sensitivity.agreement import Tolerance
    from edge_ad.compile.target import Target


@dataclass(frozen=True)
class Setting:
    """What all forms of a sweep share. Pickled, so it names things: models and data by their folders, targets by name.

    reference: model folder of the reference. work: the sweep's folder, where pruned models are kept. resolve: from a
    target's name to the target, a function of a module. seed: of altered inputs and of pruning. steps: of the recovery
    from pruning, None for pruning's own number. tolerance: what forms that keep layers by themselves hold, None for the
    usual one. count: whether emulated boards count instructions. test: whether labelled test inputs are scored, for the
    report.
    """

    reference: Path
    data: Path
    work: Path
    resolve: Callable[[str], Target]
    seed: int = 0
    steps: int | None = None
    tolerance: Tolerance | None = None
    count: bool = True
    test: bool = True
