"""What became of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "skipped", "error"]
Kind = Literal["parity", "quality", "error"]

EXIT_CODES: dict[Kind, int] = {"error": 1, "quality": 3, "parity": 4}


@dataclass(frozen=True)
class Outcome:
    """One check of one bundle on one device.

    kind: what sort of failure, None where there is none. message: one line for people. figures: what was measured,
    numbers, texts and lists of numbers, with units in their names. properties: which bundle, firmware and board it was.
    """

    check: str
    device: str
    bundle: str
    status: Status
    kind: Kind | None = None
    message: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 when nothing failed, else the worst: 1 something could not be checked, 3 quality, 4 parity."""
    return max((EXIT_CODES[o.kind] for o in outcomes if o.kind is not None), default=0)
