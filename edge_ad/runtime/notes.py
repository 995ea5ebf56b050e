"""What a device says of itself, beside its events: whether its sources are there, how its streams fare.

Field by field: docs/events.md. Of each kind and stream only the newest counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from edge_ad.runtime.events import Message, Score, State, Timestamp, TopicId

AVAILABILITY_SCHEMA: Final = "edge-ad/availability/1"
HEALTH_SCHEMA: Final = "edge-ad/health/1"

Count = Annotated[int, Field(ge=0)]


class Availability(Message):
    """Whether a stream's source gives samples. reason: a clause for people, empty when it does."""

    schema_: Literal["edge-ad/availability/1"] = Field(default=AVAILABILITY_SCHEMA, alias="schema")
    ts: Timestamp
    stream: TopicId
    online: bool
    reason: str = ""


class Health(Message):
    """How a stream fares; counts are since the start of this run. A bridge, which sees no frames, leaves out what it
    cannot know.

    latency_us: median from acquisition to verdict of the last frames. drifted: whether the scores no longer look like
    those of the calibration, distance: how far off they are, 0 to 1 (Kolmogorov-Smirnov); both absent while that cannot
    be told. backlog: records that wait in the outbox; lost_events, lost_scores: dropped from it because its bound was
    hit, since it was made.
    """

    schema_: Literal["edge-ad/health/1"] = Field(default=HEALTH_SCHEMA, alias="schema")
    ts: Timestamp
    stream: TopicId
    online: bool
    paused: bool = False
    frames: Count | None = None
    anomalous: Count | None = None
    uncertain: Count = 0
    events: Count
    dropped: Count
    unreadable: Count
    gaps: Count = 0
    latency_us: Count | None = None
    drifted: bool | None = None
    distance: float | None = None
    backlog: Count = 0
    lost_events: Count = 0
    lost_scores: Count = 0


Note = State | Score | Availability | Health


@dataclass(frozen=True)
class Crop:
    """A JPEG of the part of the image that an event is about (the whole image where that is not known)."""

    stream: str
    event_id: str
    jpeg: bytes
