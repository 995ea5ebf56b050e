"""Events as boards send them."""

from __future__ import annotations

from datetime import datetime, timezone

from edge_ad.firmware_bridge.frames import Frame, FrameType, encode
from edge_ad.runtime.events import Event, EventWriter

NOW = datetime(2026, 11, 24, tzinfo=timezone.utc)


def event(
    seq: int = 1, *, kind: str = "new", stream: str = "pump", number: int = 1, boot: str = "b"
) -> Event:
    writer = EventWriter(stream, threshold=1.0, bundle="ab" * 32, boot_id=boot)
    made = writer.write(
        kind, writer.event_id(number), ts=NOW, score=2.0 + seq, latency_us=5, sample=f"row {seq}", where=None
    )  # type: ignore[arg-type]
    return made.model_copy(update={"seq": seq})


def framed(*events: Event) -> bytes:
    return b"".join(
        encode(Frame(FrameType.EVENT, i, each.to_json().encode())) for i, each in enumerate(events)
    )
