"""Watched folders that go away and come back, and what is remembered of a year of files."""

from __future__ import annotations

import logging
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watched_folder import Clock, Mount, Read, away, png, put, wait_until, watch

from edge_ad.runtime.sources import arrivals
from edge_ad.runtime.sources.arrivals import Arrival, Arrivals


def test_what_came_while_the_folder_was_away_comes_when_it_is_back(tmp_path: Path, read: Read) -> None:
    folder = tmp_path / "mount"
    put(folder / "old.png", png(0))
    mount = Mount(folder, watch)
    reading = read(mount.source)
    wait_until(lambda: mount.opened)
    for outage in range(3):
        hidden = away(folder)
        mount.wait_for(*[False, True] * outage, False)
        put(hidden / f"{outage}.png", png(outage + 1))
        hidden.rename(folder)
        reading.wait_for(outage + 1)
    put(folder / "last.png", png(9))
    assert reading.wait_for(4) == ["0.png", "1.png", "2.png", "last.png"]
    assert [s.gap for s in reading.samples] == [True, True, True, False]
    assert mount.told == [False, True] * 3 and mount.source.acquired == 4


def test_a_mount_that_is_late_is_not_taken_for_new_files(tmp_path: Path, read: Read) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()  # where it is to be mounted
    put(tmp_path / "disk" / "old.png", png(0), at_s=1e9)
    mount = Mount(folder, watch)
    reading = read(mount.source)
    wait_until(lambda: mount.opened)
    away(folder)
    (tmp_path / "disk").rename(folder)
    mount.wait_for(False, True)
    put(folder / "new.png", png(1))
    assert reading.wait_for(1) == ["new.png"]


def test_another_folder_in_its_place_is_an_error(tmp_path: Path, read: Read) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    clock = Clock()
    reading = read(watch(folder, clock=clock))
    clock.wait_for_looks()
    hidden = away(folder)
    folder.mkdir()
    wait_until(lambda: reading.error is not None)
    assert "mount: " in str(reading.error) and hidden.exists()


def test_a_folder_below_that_nobody_may_read_is_passed_over_and_said_once(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lost+found").mkdir()
    scandir = os.scandir

    def refusing(folder: Path) -> Any:
        if Path(folder).name == "lost+found":  # for root no permission is missing
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr("edge_ad.runtime.sources.arrivals.os.scandir", refusing)
    reading = read(watch(tmp_path))
    for number in range(3):
        put(tmp_path / f"{number}.png", png(1))
        reading.wait_for(number + 1)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1 and "lost+found: passed over" in warnings[0]


# Memory


def arrival(instant: int, name: str) -> Arrival:
    return Arrival(instant, name, instant, 100, instant, name)


def test_of_a_year_of_files_only_the_newest_are_remembered(tmp_path: Path) -> None:
    held = Arrivals(tmp_path, (".png",), settle_s=0)
    tracemalloc.start()
    try:
        sizes = []
        for number in range(8 * arrivals.KEPT):
            held.take(arrival(1_700_000_000_000_000_000 + number, f"parts/camera-3/{number:012}.png"))
            if number % arrivals.KEPT == arrivals.KEPT - 1:
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(sizes) - sizes[0] < 500_000 and max(sizes) < 2_000_000, sizes


def test_late_files_are_seen_as_long_as_the_memory_reaches_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "KEPT", 8)
    monkeypatch.setattr(arrivals, "BATCH", 5)
    for number in range(30):
        put(tmp_path / f"{number:02}.png", b"x", at_s=1000 + number)
    held = Arrivals(tmp_path, (".png",), settle_s=0)
    names = []
    while files := held.whole():
        assert len(files) <= 5
        for file in files:
            held.take(file)
            names.append(file.name)
    assert names == [f"{number:02}.png" for number in range(30)]
    put(tmp_path / "late.png", b"y", at_s=1025.5)
    put(tmp_path / "much too late.png", b"y", at_s=1003.5)
    assert [file.name for file in held.whole()] == ["late.png"]


def test_of_more_files_than_are_remembered_none_is_new_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "KEPT", 8)
    rng = np.random.default_rng(0)
    for number, at_s in enumerate(rng.permutation(40)):
        put(tmp_path / str(number % 5) / f"{number:02}.png", b"x", at_s=1000 + float(at_s))
    held = Arrivals(tmp_path, (".png",), settle_s=0)
    held.take_present()
    assert held.whole() == []
    behind = Arrivals(tmp_path, (".png",), settle_s=0)
    behind.take_present(up_to=(1030 * 10**9, "~"))
    assert [file.instant_ns for file in behind.whole()] == [at_s * 10**9 for at_s in range(1031, 1040)]
