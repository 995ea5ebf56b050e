"""What leaves the runtime: events, the state of a stream, and single scores, each as one flat JSON object.

Field by field: docs/events.md. The same JSON goes to MQTT, to a serial line and to JSON-lines files.
"""

from __future__ import annotations

import json
import re
import secrets
from datetime import datetime, timezone
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.functional_validators import AfterValidator, model_validator

from edge_ad.bundle.manifest import Finite, Sha256
from edge_ad.errors import DataError, UsageError

EVENT_SCHEMA: Final = "edge-ad/event/1"
STATE_SCHEMA: Final = "edge-ad/state/1"
SCORE_SCHEMA: Final = "edge-ad/score/1"
MAX_SAMPLE_CHARS = 255
NOT_NUMBERED: Final = 0  # of a record that has not been through the outbox: it never leaves the device

Kind = Literal["new", "update", "end"]
Verdict = Literal["normal", "uncertain", "anomalous"]
EventVerdict = Literal["uncertain", "anomalous"]


def _utc_milliseconds(ts: datetime) -> datetime:
    ts = ts.astimezone(timezone.utc)
    return ts.replace(microsecond=ts.microsecond // 1000 * 1000)


def rfc3339(ts: datetime) -> str:
    """`ts`, which knows its offset, in UTC with milliseconds, e.g. 2025-11-23T15:04:05.678Z (RFC 3339)."""
    return ts.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[AwareDatetime, AfterValidator(_utc_milliseconds), PlainSerializer(rfc3339)]
# Node and stream names stand in MQTT topics, where '/', '+' and '#' have a meaning.
TOPIC_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
TopicId = Annotated[str, Field(pattern=TOPIC_ID)]
Pixel = Annotated[int, Field(ge=0)]
Extent = Annotated[int, Field(gt=0)]
Band = tuple[Finite, Finite]


class Message(BaseModel):
    """A frozen flat record. Unknown keys are ignored on reading: a later version may add fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    def to_json(self) -> str:
        """One line of ASCII: keys sorted, no blanks, no fields that are None. Equal records, equal bytes."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Where(BaseModel):
    """Where the anomaly is; what is set depends on the modality.

    Images, in pixels of the source: box: [x, y, width, height]; peak: [x, y] of the maximum. Scans: azimuth_deg (0
    ahead, 90 left) and elevation_deg, from and to. Series: channel, the name of the one that is furthest off.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    box: tuple[Pixel, Pixel, Extent, Extent] | None = None
    peak: tuple[Pixel, Pixel] | None = None
    azimuth_deg: tuple[Finite, Finite] | None = None
    elevation_deg: tuple[Finite, Finite] | None = None
    channel: str | None = None


class Event(Message):
    """One record of an anomaly: its beginning (`new`), a rise or sign of life (`update`), or its `end`.

    `score`, `sample` and `where` are those of the event's highest frame so far, so that `end` sums it up;
    `ts` and `latency_us` are those of the frame at which the record was made. `seq` rises by one from record to record
    of a device, over restarts too where it has a state folder: receivers drop what they have seen. boot_id: the run
    that made the record; an event that a restart cut through keeps its `event_id`.

    verdict: what the event is by now; `uncertain` only where there is a `band`, (lower, upper], of scores that are
    neither normal nor anomalous. Records from before there were bands are anomalous.
    """

    schema_: Literal["edge-ad/event/1"] = Field(default=EVENT_SCHEMA, alias="schema")
    event_id: Annotated[str, Field(min_length=1, max_length=128)]
    kind: Kind
    verdict: EventVerdict = "anomalous"
    ts: Timestamp
    stream: TopicId
    score: Finite
    threshold: Finite
    band: Band | None = None
    bundle: Sha256
    seq: Annotated[int, Field(ge=1)] = NOT_NUMBERED
    boot_id: Annotated[str, Field(min_length=1, max_length=64)]
    historical: bool = False
    latency_us: Annotated[int, Field(ge=0)]
    sample: Annotated[str, Field(max_length=MAX_SAMPLE_CHARS)]
    where: Where | None = None


class State(Message):
    """What a stream is at now: written when it starts and whenever an event begins, ends, or turns from uncertain
    into anomalous. anomalous: whether `verdict` is that, and all that older records say."""

    schema_: Literal["edge-ad/state/1"] = Field(default=STATE_SCHEMA, alias="schema")
    ts: Timestamp
    stream: TopicId
    anomalous: bool
    verdict: Verdict
    score: Finite
    threshold: Finite
    band: Band | None = None
    bundle: Sha256
    event_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _verdict_of_older_records(cls, data: Any) -> Any:
        if isinstance(data, dict) and "verdict" not in data:
            return {**data, "verdict": "anomalous" if data.get("anomalous") else "normal"}
        return data

    @model_validator(mode="after")
    def _says_one_thing(self) -> State:
        if self.anomalous != (self.verdict == "anomalous"):
            raise ValueError(f"'anomalous' contradicts the verdict '{self.verdict}'")
        return self


class Score(Message):
    """The score of one frame. seq, historical: only of one that is kept until its receivers have it, as an event's."""

    schema_: Literal["edge-ad/score/1"] = Field(default=SCORE_SCHEMA, alias="schema")
    ts: Timestamp
    stream: TopicId
    score: Finite
    threshold: Finite
    seq: Annotated[int, Field(ge=1)] | None = None
    historical: bool | None = None


Record = Event | Score


def parse_event(raw: str | bytes, *, where: str | None = None) -> Event:
    """Read one event from its JSON. Raises DataError, naming the key that is wrong."""
    try:
        data: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is no event: no JSON ({error})", where=where) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != EVENT_SCHEMA:
        raise DataError(
            f"is no event: unknown schema {str(schema)[:60]!r}",
            where=where,
            hint=f"this version reads {EVENT_SCHEMA}",
        )
    try:
        event = Event.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"event key '{key}': {first['msg']}", where=where) from error
    if event.seq == NOT_NUMBERED:
        raise DataError("event key 'seq': Field required", where=where)
    return event


def new_boot_id() -> str:
    """A fresh random identity for one run of the runtime: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def topic_id(text: str) -> str:
    """`text` made fit for a node or stream name (`camera:0` to `camera-0`); `stream` if nothing is left."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[-64:].strip("-._") or "stream"


def sample_name(text: str) -> str:
    """A sample's name as events carry it: valid Unicode, and of a long path its end, after an ellipsis."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= MAX_SAMPLE_CHARS else "…" + text[1 - MAX_SAMPLE_CHARS :]


class EventWriter:
    """Writes the records of one stream; the outbox numbers them.

    A boot_id that is given must not be used twice for one stream: event ids are made from it. Raises
    UsageError for a stream name that does not fit into a topic.
    """

    def __init__(
        self, stream: str, *, threshold: float, bundle: str, boot_id: str | None = None,
        band: Band | None = None,
    ):  # fmt: skip
        if not re.fullmatch(TOPIC_ID, stream):
            raise UsageError(f"'{stream}' is no stream name", hint="use letters, digits, '.', '_' and '-'")
        self.stream = stream
        self.threshold = threshold
        self.band = band
        self.bundle = bundle
        self.boot_id = boot_id or new_boot_id()

    def event_id(self, number: int) -> str:
        """The id that all records of event `number` share; unique among all streams and runs."""
        return f"{self.stream}-{self.boot_id}-{number}"

    def write(
        self, kind: Kind, event_id: str, *, ts: datetime, score: float, latency_us: int, sample: str,
        where: Where | None, verdict: EventVerdict = "anomalous",
    ) -> Event:  # fmt: skip
        """A record without its number."""
        return Event(
            event_id=event_id,
            kind=kind,
            verdict=verdict,
            ts=ts,
            stream=self.stream,
            score=score,
            threshold=self.threshold,
            band=self.band,
            bundle=self.bundle,
            boot_id=self.boot_id,
            latency_us=latency_us,
            sample=sample_name(sample),
            where=where,
        )
