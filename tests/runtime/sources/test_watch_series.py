"""Watched folders of series, and what the URL of a watched folder says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scan_files import ring_scan, write_bin
from watched_folder import POLL_S, WINDOW, Mount, Read, away, png, put, stored, wait_until

from edge_ad.bundle.manifest import InputSpec
from edge_ad.errors import SourceError
from edge_ad.runtime.preprocess import resize_spec
from edge_ad.runtime.scan_images import range_image_spec
from edge_ad.runtime.series.standardise import standardise_spec
from edge_ad.runtime.sources.series import SeriesReplay
from edge_ad.runtime.sources.watch import WatchSeries, open_watch

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
