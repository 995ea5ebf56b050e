"""Results as one JSON object, schema `edge-ad/rig/1`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from edge_ad.rig.config import Rig
from edge_ad.rig.outcome import Outcome, exit_code

SCHEMA: Final = "edge-ad/rig/1"


def as_data(rig: Rig, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What `docs/rigs.md` describes; its schema is `json_schema()`."""
    return {
        "schema": SCHEMA,
        "rig": rig.name,
        "exit_code": exit_code(outcomes),
        "outcomes": [{**asdict(outcome), "seconds": round(outcome.seconds, 3)} for outcome in outcomes],
    }
