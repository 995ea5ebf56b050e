"""Watched folders: every file comes once, whole and in order, whatever happens to the folder meanwhile."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scan_files import ring_scan, write_bin

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.errors import SourceError
from edge_ad.runtime.images import EXTENSIONS, import_cv2, read_image
from edge_ad.runtime.preprocess import resize_spec
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.scan_images import range_image_spec
from edge_ad.runtime.series.standardise import standardise_spec
from edge_ad.runtime.sources import arrivals
from edge_ad.runtime.sources.arrivals import Arrival, Arrivals
from edge_ad.runtime.sources.reconnect import Reconnecting
from edge_ad.runtime.sources.series import SeriesReplay
from edge_ad.runtime.sources.watch import WatchFolder, WatchSeries, open_watch

POLL_S = 0.01
WINDOW = WindowSpec(length=4, hop=2, rate_hz=1.0, channels=["a", "b"])


def png(red: int) -> bytes:
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[..., 2] = red
    return bytes(import_cv2().imencode(".png", rgb)[1])


def red(sample: Sample) -> int:
    return int(np.asarray(sample.data)[0, 0, 0])


def put(path: Path, content: bytes, at_s: float | None = None) -> Path:
    """Bring a file in whole: written elsewhere, then renamed into place. at_s: the time that it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_bytes(content)
    if at_s is not None:
        os.utime(aside, (at_s, at_s))
    return aside.rename(path)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


class Clock:
    """Stands still until it is moved; knows how often it was looked at, which is once a look at the folder."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now

    def wait_for_looks(self, count: int = 2) -> None:
        """The last of two looks has begun after this was called."""
        wanted = self.looks + count
        wait_until(lambda: self.looks >= wanted)


def watch(folder: Path, **options: Any) -> WatchFolder:
    options = {"poll_s": POLL_S, "settle_s": 0, **options}
    return WatchFolder(folder, read_image, "image", EXTENSIONS, **options)


class Reading:
    """A source that is read by a thread, as a stream does."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.samples: list[Sample] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for sample in self.source:
                self.samples.append(sample)
        except SourceError as error:
            self.error = error

    @property
    def names(self) -> list[str]:
        return [sample.name for sample in self.samples]

    def wait_for(self, count: int) -> list[str]:
        wait_until(lambda: len(self.samples) >= count)
        return self.names

    def close(self) -> None:
        self.source.close()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def read() -> Iterator[Callable[[Any], Reading]]:
    """Starts to read a source, and closes it in the end."""
    begun: list[Reading] = []

    def start(source: Any) -> Reading:
        begun.append(Reading(source))
        return begun[-1]

    yield start
    for reading in begun:
        reading.close()


Read = Callable[[Any], Reading]


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


def stored(sample: Sample) -> Position:
    """A sample's position as it comes back from a disk."""
    position: Position = json.loads(json.dumps(sample.position))
    return position


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


# Folders that go away


def away(folder: Path) -> Path:
    """A mount that goes away, as far as one without mounts can show it."""
    return folder.rename(folder.with_name(folder.name + " away"))


class Mount:
    """A folder that comes and goes, watched again whenever it is back."""

    def __init__(self, folder: Path, watch_it: Callable[[Path], Any]) -> None:
        self.opened = 0
        self.told: list[bool] = []

        def open_() -> Any:
            source = watch_it(folder)
            self.opened += 1
            return source

        self.source = Reconnecting(str(folder), open_, live=False, backoff_s=(0.01, 0.05))
        self.source.on_availability = lambda online, reason: self.told.append(online)

    def wait_for(self, *told: bool) -> None:
        wait_until(lambda: self.told == list(told))


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


# Series


def rows(begin: int, end: int) -> str:
    return "".join(f"{1000 + i},{i},{-i}\n" for i in range(begin, end))


HEAD = "time,a,b\n"


def test_series_files_are_cut_into_windows_as_a_replay_cuts_them(tmp_path: Path, read: Read) -> None:
    reading = read(WatchSeries(tmp_path, WINDOW, poll_s=POLL_S, settle_s=0))
    put(tmp_path / "1.csv", (HEAD + rows(0, 9) + rows(15, 30)).encode())
    put(tmp_path / "broken.csv", b"time,a,b\n1,2\n")
    put(tmp_path / "other.csv", b"time,x\n1,2\n")
    wait_until(lambda: reading.source.unreadable == 3)
    put(tmp_path / "2.csv", (HEAD + rows(0, 8)).encode())
    reading.wait_for(3 + 6 + 3)
    for name in ("broken.csv", "other.csv"):
        (tmp_path / name).unlink()
    replay = list(SeriesReplay(tmp_path, WINDOW))
    assert [(s.name, s.gap, s.ts, s.data.tobytes()) for s in reading.samples] == [
        (s.name, s.gap, s.ts, s.data.tobytes()) for s in replay
    ]
    assert sum(s.gap for s in replay) == 1 and reading.source.unreadable == 3  # the gap and two files


def test_a_file_that_grows_goes_on_behind_its_last_window(tmp_path: Path, read: Read) -> None:
    reading = read(WatchSeries(tmp_path, WINDOW, poll_s=POLL_S, settle_s=0))
    path = put(tmp_path / "day.csv", (HEAD + rows(0, 3)).encode())
    for begin in range(3, 40, 5):
        with path.open("a") as file:
            file.write(rows(begin, begin + 5))
        wanted = (begin + 5 - 4) // 2 + 1
        reading.wait_for(wanted)
    assert [s.name for s in SeriesReplay(path, WINDOW)] == reading.names
    put(path, (HEAD + rows(0, 6)).encode())  # another one under its name
    assert reading.wait_for(len(reading.names) + 2)[-2:] == ["day.csv#3", "day.csv#5"]


def test_after_a_restart_it_goes_on_in_the_middle_of_a_file(tmp_path: Path, read: Read) -> None:
    for number in range(3):
        put(tmp_path / f"{number}.csv", (HEAD + rows(0, 9) + rows(12, 20)).encode(), at_s=1000 + number)
    first = read(WatchSeries(tmp_path, WINDOW, poll_s=POLL_S, settle_s=0, begin="all"))
    first.wait_for(18)
    first.close()
    for place, sample in enumerate(first.samples[:-1]):
        source = WatchSeries(tmp_path, WINDOW, poll_s=POLL_S, settle_s=0)
        source.resume(stored(sample))
        reading = read(source)
        reading.wait_for(17 - place)
        reading.close()
        assert [(s.name, s.gap, s.position) for s in reading.samples] == [
            (s.name, s.gap, s.position) for s in first.samples[place + 1 :]
        ]


def test_a_file_that_goes_away_while_it_is_read_is_gone_on_with(tmp_path: Path, read: Read) -> None:
    folder = tmp_path / "mount"
    folder.mkdir()
    mount = Mount(folder, lambda path: WatchSeries(path, WINDOW, poll_s=POLL_S, settle_s=0))
    put(tmp_path / "1.csv", (HEAD + rows(0, 10_000)).encode())
    reading = read(mount.source)
    wait_until(lambda: mount.opened)
    (tmp_path / "1.csv").rename(folder / "1.csv")
    reading.wait_for(1)
    hidden = away(folder)
    wait_until(lambda: mount.told or len(reading.samples) == 4999)
    hidden.rename(folder)
    names = reading.wait_for(4999)
    assert names == [f"1.csv#{row}" for row in range(3, 10_000, 2)]


# What a URL says

SERIES = InputSpec(
    modality="series", shape=(1, 2, 4), dtype="float32", preprocess=standardise_spec([0, 0], [1, 1]), window=WINDOW
)  # fmt: skip
SCANS = InputSpec(
    modality="scan", shape=(1, 5, 8, 8), dtype="float32",
    preprocess=range_image_spec(
        rows=8, columns=8, elevation_deg=(-20.0, 2.0), max_range_m=50.0, points_per_cell=1.0, rings=None
    ),
)  # fmt: skip
IMAGES = InputSpec(modality="image", shape=(1, 3, 8, 8), dtype="uint8", preprocess=resize_spec(8, 8))


def test_what_a_bundle_takes_is_watched_for(tmp_path: Path, read: Read) -> None:
    put(tmp_path / "a.png", png(7))
    put(tmp_path / "b.csv", (HEAD + rows(0, 4)).encode())
    write_bin(tmp_path / "c.bin", ring_scan())
    path = Path(f"{tmp_path}?begin=all&settle_s=0&poll_s=0.01")
    for wanted, name in ((None, "a.png"), (IMAGES, "a.png"), (SERIES, "b.csv#3"), (SCANS, "c.bin")):
        reading = read(open_watch(path, wanted))
        assert reading.wait_for(1) == [name]
        reading.close()
    np.testing.assert_array_equal(reading.samples[0].data, ring_scan())


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("begin=never", r"option 'begin': Input should be 'new' or 'all'; known: poll_s, settle_s, begin"),
        ("poll_s=0", "option 'poll_s': Input should be greater than 0"),
        ("speed=3", "option 'speed': Extra inputs are not permitted"),
        ("fast", "'fast' are no options; write them as key=value"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, query: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_watch(Path(f"{tmp_path}?{query}"))


def test_a_folder_may_have_a_question_mark_in_its_name(tmp_path: Path, read: Read) -> None:
    put(tmp_path / "what?" / "a.png", png(1))
    with pytest.raises(SourceError, match="there is no such folder"):
        open_watch(Path(f"{tmp_path}/who?"))
    reading = read(open_watch(tmp_path / "what?"))
    wait_until(lambda: reading.thread.is_alive())
    assert reading.source.name.endswith("what?")
