"""What the tests of the runtime share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from edge_ad.runtime.events import Event

TS = datetime(2025, 11, 23, 15, 4, 5, 678_000, tzinfo=timezone.utc)


@pytest.fixture
def make_event() -> Callable[..., Event]:
    """`make_event(seq, **changes)`: a whole event."""

    def make(seq: int = 1, **changes: Any) -> Event:
        fields: dict[str, Any] = {
            "event_id": f"line3-00ff-{seq}",
            "kind": "new",
            "ts": TS,
            "stream": "cam0",
            "score": 0.75,
            "threshold": 0.5,
            "bundle": "ab" * 32,
            "seq": seq,
            "boot_id": "00ff",
            "latency_us": 1234,
            "sample": f"{seq}.png",
        }
        return Event(**{**fields, **changes})

    return make
