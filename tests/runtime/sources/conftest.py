"""Sources that are read by a thread, as a stream reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from watched_folder import Read, Reading


@pytest.fixture
def read() -> Iterator[Read]:
    """Starts to read a source, and closes it in the end."""
    begun: list[Reading] = []

    def start(source: Any) -> Reading:
        begun.append(Reading(source))
        return begun[-1]

    yield start
    for reading in begun:
        reading.close()
