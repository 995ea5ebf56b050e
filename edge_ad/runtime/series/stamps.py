"""Reading points in time as files write them."""

from __future__ import annotations

import math
from datetime import datetime, timezone

_MILLISECONDS_FROM = 1e11  # as seconds this would be the year 5138
_MICROSECONDS_FROM = 1e14
_NANOSECONDS_FROM = 1e17


def parse_stamp(text: str) -> float:
    """Seconds since 1970 (UTC) of an ISO 8601 time, UTC where it names no zone, or of a plain number: seconds, or from
    1e11 on milli-, from 1e14 on micro-, from 1e17 on nanoseconds. Raises ValueError for anything else."""
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        stamp = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
        return (stamp if stamp.tzinfo else stamp.replace(tzinfo=timezone.utc)).timestamp()
    if not math.isfinite(number):
        raise ValueError("is not finite")
    for limit, unit in ((_NANOSECONDS_FROM, 1e9), (_MICROSECONDS_FROM, 1e6), (_MILLISECONDS_FROM, 1e3)):
        if abs(number) >= limit:
            return number / unit
    return number
