"""What a host that flashes and `edge-ad receive` on the device say to each other, in JSON."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

import edge_ad.errors
from edge_ad.bundle.manifest import Label, Sha256, Spec, Text
from edge_ad.errors import DeployError, EdgeAdError

PROTOCOL: Final = "edge-ad/receive/1"
MAX_LINE_BYTES = 8 << 20


class Device(Spec):
    """What a device tells of itself before anything is sent.

    engines: name and version of each engine that is installed. live, previous: digests. has: sha256 of the files that
    need not be sent, as they were read. free_bytes: of the folder's file system.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: Literal["edge-ad/receive/1"] = Field(default=PROTOCOL, alias="schema")
    version: Text
    machine: Label
    system: Text
    python: Text
    engines: dict[Label, Text]
    live: Sha256 | None
    previous: Sha256 | None
    has: list[Sha256]
    free_bytes: Annotated[int, Field(ge=0)]


class Header(Spec):
    """The first line that `receive install` reads; the contents of the files in `sent` follow it, in that order.

    manifest: the text of `manifest.json`. signatures: that of `signatures.json`. restart: a systemd unit to restart
    once the bundle is live; it has `wait_s` to come up.
    """

    digest: Sha256
    manifest: str
    signatures: str | None
    target: Label | None
    sent: list[Sha256]
    restart: Label | None = None
    wait_s: Annotated[float, Field(gt=0, le=3600)] = 60.0


class Installed(Spec):
    """What `receive install` and `receive rollback` answer. ran_on: engine and provider that the golden vectors ran on.
    restarted: the unit that came up with it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: Sha256
    previous: Sha256 | None
    target: Label
    vectors: int
    worst_error: float
    allowed: float
    ran_on: Text = ""
    restarted: Label | None = None


class Proved(Spec):
    """What `receive prove` answers: how the live bundle does on its golden vectors. elapsed_s: of all of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: Sha256
    target: Label
    passed: bool
    vectors: int
    worst_output: Text
    worst_vector: int
    worst_error: float | None
    allowed: float
    elapsed_s: float
    ran_on: Text = ""


class Scored(Spec):
    """What `receive score` answers: one score for each input."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: Sha256
    target: Label
    scores: list[float]


def error_json(error: EdgeAdError) -> dict[str, Any]:
    """An error as the device sends it."""
    return {
        "error": {"kind": type(error).__name__, "what": error.what, "where": error.where, "hint": error.hint}
    }


def parse_answer(raw: bytes, *, where: str) -> dict[str, Any]:
    """The JSON object that a device answered with, or the error that it reported, raised.

    Raises DeployError for an answer that is none."""
    import json

    try:
        answer = json.loads(raw)
        told = answer.get("error")
    except (ValueError, AttributeError, RecursionError) as error:
        raise DeployError("the device gave no answer that this version understands", where=where) from error
    if told is None:
        found: dict[str, Any] = answer
        return found
    kind = getattr(edge_ad.errors, str(told.get("kind")), EdgeAdError)
    if not (isinstance(kind, type) and issubclass(kind, EdgeAdError)):
        kind = EdgeAdError
    place = where if told.get("where") is None else f"{where}: {told['where']}"
    raise kind(str(told.get("what")), where=place, hint=told.get("hint"))


def understood(model: type[Spec], answer: dict[str, Any], *, where: str) -> Any:
    """An answer as one of the models above. Raises DeployError."""
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        raise DeployError(
            f"the device's answer is not what this version understands ({key})", where=where,
            hint="install the same version of edge-ad here and there",
        ) from error  # fmt: skip
