"""Results as one JSON object, schema `edge-ad/rig/1`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field

from edge_ad.bundle.manifest import Spec
from edge_ad.rig.config import Rig
from edge_ad.rig.outcome import Kind, Outcome, Status, exit_code

SCHEMA: Final = "edge-ad/rig/1"


class Told(Spec):
    """One check of one bundle on one device."""

    check: str = Field(description="its name in the rig file")
    device: str
    bundle: str
    status: Status
    kind: Kind | None = Field(
        description="of a failure: parity, quality, or error for what could not be checked"
    )
    message: str = Field(description="one line for people")
    figures: dict[str, Any] = Field(description="what was measured, with units in the names")
    properties: dict[str, str] = Field(
        description="what was tested: bundle_digest, firmware, board, board_serial, address"
    )
    seconds: float = Field(ge=0, description="that the check took")


class Results(Spec):
    """What `edge-ad rig run --json` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["edge-ad/rig/1"] = Field(default=SCHEMA, alias="schema")
    rig: str = Field(description="its name")
    exit_code: Literal[0, 1, 3, 4]
    outcomes: list[Told]


def as_data(rig: Rig, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The object, of JSON's own types."""
    told = [Told(**{**asdict(outcome), "seconds": round(outcome.seconds, 3)}) for outcome in outcomes]
    results = Results(rig=rig.name, exit_code=exit_code(outcomes), outcomes=told)  # type: ignore[arg-type]
    return results.model_dump(mode="json", by_alias=True)


def json_schema() -> dict[str, Any]:
    """The schema of that object."""
    return Results.model_json_schema(by_alias=True)
