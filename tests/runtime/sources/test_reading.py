"""Files that another thread closes."""

import os
import sys
import threading
from collections.abc import Iterator

import pytest

from edge_ad.runtime.sources.rows.reading import FileReader


@pytest.fixture
def _threads_change_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_threads_change_often")
def test_two_threads_may_close_at_once() -> None:
    failures: list[BaseException] = []

    def close(reader: FileReader, start: threading.Barrier) -> None:
        start.wait()
        try:
            reader.close()
        except OSError as error:
            failures.append(error)

    for _ in range(1000):
        end, other_end = os.pipe()
        reader, start = FileReader(end, "a pipe"), threading.Barrier(2)
        threads = [threading.Thread(target=close, args=(reader, start)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.close(other_end)
    assert failures == []
