"""The stored baseline: what each bundle cost on each device when somebody said that this is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from edge_ad.bundle.atomic import write_atomic
from edge_ad.bundle.manifest import Label, Sha256, Spec
from edge_ad.errors import QualityError, RigError
from edge_ad.rig.config import Rig
from edge_ad.rig.outcome import Outcome

SCHEMA: Final = "edge-ad/rig-baseline/1"
Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Entry(Spec):
    """costs: by name with its unit. bundle_digest, firmware: what was measured."""

    bundle_digest: Sha256
    firmware: Label
    costs: dict[Label, Cost]


class Baseline(Spec):
    """Entries by device, then bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["edge-ad/rig-baseline/1"] = Field(alias="schema")
    devices: dict[str, dict[str, Entry]] = Field(default_factory=dict)

    def entry(self, device: str, bundle: str) -> Entry | None:
        """What is stored of a bundle on a device."""
        return self.devices.get(device, {}).get(bundle)


def read_baseline(path: Path) -> Baseline:
    """Raises RigError for a file that is not there or is none."""
    hint = "write it: edge-ad rig baseline RIG.toml"
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise RigError("there is no baseline", where=path, hint=hint) from error
    except OSError as error:
        raise RigError(f"the baseline cannot be read ({error.strerror})", where=path) from error
    try:
        return Baseline.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RigError(f"is no baseline ({key}: {first['msg']})", where=path, hint=hint) from error


def write_baseline(path: Path, found: Mapping[tuple[str, str], Entry]) -> Baseline:
    """Store what was found by (device, bundle); what else is in the file stays. Raises RigError."""
    before = read_baseline(path) if path.exists() else Baseline(schema_=SCHEMA)
    devices = {device: dict(entries) for device, entries in before.devices.items()}
    for (device, bundle), entry in found.items():
        devices.setdefault(device, {})[bundle] = entry
    after = Baseline(schema_=SCHEMA, devices=devices)
    text = json.dumps(after.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True)
    write_atomic(path, text.encode() + b"\n")
    return after


def measure_baseline(
    rig: Rig, *, devices: Sequence[str] = (), bundles: Sequence[str] = (), wait_s: float = 0.0,
    waiting: Callable[[str], None] = lambda told: None, done: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[Path, dict[tuple[str, str], Entry]]:  # fmt: skip
    """Measure what the rig's budget check looks at, and store it; where, and what was found by (device, bundle).

    Raises UsageError for a rig without that check, QualityError, and stores nothing, when one cannot be measured.
    """
    from edge_ad.rig.checks.budget import measure
    from edge_ad.rig.run import cells, run_rig

    matrix = [
        replace(c, function=measure) for c in cells(rig, devices=devices, bundles=bundles, checks=["budget"])
    ]
    found: dict[tuple[str, str], Entry] = {}
    for outcome in run_rig(rig, matrix, wait_s=wait_s, waiting=waiting, done=done):
        if outcome.status == "skipped":
            continue
        if outcome.status != "passed":
            raise QualityError(outcome.message, where=f"{outcome.device} {outcome.bundle}")
        found[outcome.device, outcome.bundle] = Entry(
            bundle_digest=outcome.properties["bundle_digest"], firmware=outcome.properties["firmware"],
            costs=outcome.figures,
        )  # fmt: skip
    assert rig.checks.budget is not None
    path = rig.resolve(rig.checks.budget.baseline)
    write_baseline(path, found)
    return path, found
