"""Watched folders: every file comes once, whole and in order."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from watched_folder import POLL_S, WINDOW, Clock, Read, png, put, red, stored, wait_until, watch

from edge_ad.errors import SourceError
from edge_ad.runtime.images import EXTENSIONS, read_image
from edge_ad.runtime.sample import Position
from edge_ad.runtime.sources.watch import WatchFolder, WatchSeries


def test_what_appears_comes_in_the_order_in_which_it_was_written(tmp_path: Path, read: Read) -> None:
    put(tmp_path / "old.png", png(1))
    reading = read(watch(tmp_path))
    put(tmp_path / "z.png", png(2))
    assert reading.wait_for(1) == ["z.png"]
    put(tmp_path / "day" / "a.png", png(3))
    put(tmp_path / "notes.txt", b"no image")
    assert reading.wait_for(2) == ["z.png", "day/a.png"]
    source = reading.source
    assert [red(s) for s in reading.samples] == [2, 3] and not source.live
    assert (source.acquired, source.dropped, source.unreadable) == (2, 0, 0)
    assert [s.ts.timestamp() for s in reading.samples] == pytest.approx(
        [(tmp_path / name).stat().st_mtime for name in reading.names]
    )


def test_all_that_is_there_comes_by_time_then_name(tmp_path: Path, read: Read) -> None:
    for name, at_s in (("b.png", 300), ("a.png", 300), ("c.png", 100), ("sub/d.png", 200)):
        put(tmp_path / name, png(0), at_s)
    assert read(watch(tmp_path, begin="all")).wait_for(4) == ["c.png", "sub/d.png", "a.png", "b.png"]


def test_a_file_that_is_written_slowly_comes_once_and_whole(tmp_path: Path, read: Read) -> None:
    clock, content = Clock(), png(9)
    reading = read(watch(tmp_path, settle_s=1.0, clock=clock))
    with (tmp_path / "slow.png").open("wb") as file:
        for begin in range(0, len(content), 20):
            file.write(content[begin : begin + 20])
            file.flush()
            clock.wait_for_looks()
            clock.now += 0.9  # not quite long enough
    clock.wait_for_looks()
    assert reading.samples == []
    clock.now += 1.0
    assert reading.wait_for(1) == ["slow.png"] and red(reading.samples[0]) == 9
    clock.now += 10
    clock.wait_for_looks(3)
    assert len(reading.samples) == 1 and reading.source.unreadable == 0


def test_a_younger_file_waits_for_an_older_one_that_is_still_written(tmp_path: Path, read: Read) -> None:
    clock = Clock()
    reading = read(watch(tmp_path, settle_s=1.0, clock=clock))
    put(tmp_path / "younger.png", png(2), at_s=200)
    clock.wait_for_looks()
    clock.now += 0.9
    put(tmp_path / "older.png", png(1), at_s=100)
    clock.wait_for_looks()
    clock.now += 0.9  # the younger one is whole by now
    clock.wait_for_looks()
    assert reading.samples == []
    clock.now += 0.9
    assert reading.wait_for(2) == ["older.png", "younger.png"]


def test_a_file_that_is_cut_off_is_counted_once_and_read_again_when_it_has_changed(
    tmp_path: Path, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    with caplog.at_level(logging.WARNING):
        reading = read(watch(tmp_path, clock=clock))
        put(tmp_path / "a.png", png(1)[:40])
        wait_until(lambda: reading.source.unreadable)
        clock.wait_for_looks(3)
        put(tmp_path / "b.png", png(2))
        reading.wait_for(1)
        with (tmp_path / "a.png").open("ab") as file:
            file.write(png(1)[40:])
        reading.wait_for(2)
    assert reading.names == ["b.png", "a.png"] and reading.source.unreadable == 1
    assert [
        m for m in caplog.messages if "skipped" in m and "a.png: the image is truncated" in m
    ] == caplog.messages


def test_a_file_that_is_written_while_it_is_read_is_read_again(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.png"
    calls = []

    def reader(file: Path) -> Any:
        data = read_image(file)
        calls.append(file)
        if len(calls) == 1:
            put(path, png(2) + b"longer")
        return data

    reading = read(WatchFolder(tmp_path, reader, "image", EXTENSIONS, poll_s=POLL_S, settle_s=0))
    put(path, png(1))
    reading.wait_for(1)
    put(tmp_path / "b.png", png(3))
    assert reading.wait_for(2) == ["a.png", "b.png"]
    assert [red(s) for s in reading.samples] == [2, 3] and len(calls) == 3


def test_a_file_that_is_gone_before_it_is_read_is_told(
    tmp_path: Path, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    def reader(file: Path) -> Any:
        if file.name == "a.png":
            file.unlink()
        return read_image(file)

    reading = read(WatchFolder(tmp_path, reader, "image", EXTENSIONS, poll_s=POLL_S, settle_s=0))
    put(tmp_path / "a.png", png(1))
    wait_until(lambda: reading.source.unreadable)
    put(tmp_path / "b.png", png(2))
    assert reading.wait_for(1) == ["b.png"] and reading.source.unreadable == 1
    assert "a.png: gone before it could be read" in caplog.text


def test_what_is_handled_comes_again_when_it_is_written_anew_and_not_when_it_is_moved(
    tmp_path: Path, read: Read
) -> None:
    clock = Clock()
    reading = read(watch(tmp_path, clock=clock))
    put(tmp_path / "latest.png", png(1))
    reading.wait_for(1)
    put(tmp_path / "latest.png", png(2))
    reading.wait_for(2)
    (tmp_path / "done").mkdir()
    (tmp_path / "latest.png").rename(tmp_path / "done" / "1.png")
    (tmp_path / "done" / "1.png").chmod(0o600)
    clock.wait_for_looks(3)
    put(tmp_path / "next.png", png(3))
    assert reading.wait_for(3) == ["latest.png", "latest.png", "next.png"]
    assert [red(s) for s in reading.samples] == [1, 2, 3]


def test_files_with_the_times_of_another_clock_are_not_lost(tmp_path: Path, read: Read) -> None:
    reading = read(watch(tmp_path))
    put(tmp_path / "ahead.png", png(1), at_s=4e9)  # the year 2096
    reading.wait_for(1)
    put(tmp_path / "now.png", png(2))
    reading.wait_for(2)
    put(tmp_path / "before.png", png(3), at_s=1e9)  # brought in with its time, as rsync -t does
    reading.wait_for(3)
    reading.close()
    resumed = watch(tmp_path, begin="all")
    resumed.resume(stored(reading.samples[-1]))
    put(tmp_path / "later.png", png(4))
    assert read(resumed).wait_for(1) == ["later.png"]


def test_after_a_restart_it_goes_on_behind_the_last_file(tmp_path: Path, read: Read) -> None:
    for number in range(6):
        put(tmp_path / f"{9 - number}.png", png(number), at_s=1000 + number // 2)
    first = read(watch(tmp_path, begin="all"))
    first.wait_for(6)
    first.close()
    (tmp_path / first.names[2]).unlink()
    for place, sample in enumerate(first.samples):
        source = watch(tmp_path)
        source.resume(stored(sample))
        reading = read(source)
        rest = [name for name in first.names[place + 1 :] if name != first.names[2]]
        put(tmp_path / f"after{place}.png", png(0), at_s=2000 + place)
        expected = [*rest, *(f"after{earlier}.png" for earlier in range(place + 1))]
        assert reading.wait_for(len(expected)) == expected
        reading.close()


@pytest.mark.parametrize(
    "position",
    [{}, {"file": "a.png"}, {"mtime_ns": -1, "newest": "a"}, {"mtime_ns": 1.5, "newest": ""}],
)
def test_a_position_of_another_source_is_refused(tmp_path: Path, position: Position) -> None:
    with pytest.raises(SourceError, match="is no position of this source"):
        watch(tmp_path).resume(position)
    with pytest.raises(SourceError, match="is no position of this source"):
        WatchSeries(tmp_path, WINDOW).resume(position)


def test_closing_ends_a_wait_at_once(tmp_path: Path, read: Read) -> None:
    clock = Clock()
    reading = read(watch(tmp_path, poll_s=3600, clock=clock))
    wait_until(lambda: clock.looks)
    reading.close()
    assert reading.samples == [] and reading.error is None


def test_no_such_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"nope: there is no such folder; create it, or mount what holds it"
    ):
        watch(tmp_path / "nope")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a\.png: is no folder"):
        watch(tmp_path / "a.png")
