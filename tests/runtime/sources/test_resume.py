"""A replay that was cut off goes on exactly behind the last sample, and can be played as slowly as it was recorded."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scan_files import ring_scan, write_bin

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.errors import SourceError
from edge_ad.runtime.images import import_cv2
from edge_ad.runtime.sample import Position, Sample
from edge_ad.runtime.series import Windower, readers, text_files
from edge_ad.runtime.sources import series as series_source
from edge_ad.runtime.sources.replay import Array, Images, Pacer, Scans, VideoFile
from edge_ad.runtime.sources.series import SeriesReplay

CHANNELS = ["a", "b"]


def told(sample: Sample, *, timed: bool = False) -> tuple[Any, ...]:
    """All that a sample says, for comparing."""
    ts = sample.ts if timed else None
    return sample.data.tobytes(), sample.data.shape, sample.name, ts, sample.position, sample.gap


def stored(position: Position | None) -> Position:
    """A position as it comes back from a disk."""
    assert position is not None
    held: Position = json.loads(json.dumps(position))
    return held


def write_series(
    path: Path, stamps: list[float], *, invalid: set[int] = frozenset(), timed: bool = True
) -> None:  # type: ignore[assignment]
    lines = ["time,a,b" if timed else "a,b"]
    for i, stamp in enumerate(stamps):
        values = f"{'' if i in invalid else i},{-i}"
        lines.append(f"{stamp!r},{values}" if timed else values)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (readers, text_files):
        monkeypatch.setattr(module, "CHUNK_ROWS", 7)


@st.composite
def recordings(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 140))
    rows = st.sets(st.integers(0, count - 1), max_size=6)
    return {
        "count": count,
        "missing": draw(rows),
        "invalid": draw(rows),
        "jitter": draw(st.sampled_from([0.0, 0.3])),
        "timed": draw(st.booleans()),
        "length": draw(st.integers(1, 9)),
        "hop": draw(st.integers(1, 14)),
        "stop": draw(st.floats(0, 1)),
    }


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recordings(), recordings())
def test_after_any_window_the_rest_is_that_of_an_uninterrupted_run(
    tmp_path: Path, small_chunks: None, one: dict[str, Any], two: dict[str, Any]
) -> None:
    for name, how in (("1.csv", one), ("2.csv", two)):
        kept = [i for i in range(how["count"]) if i not in how["missing"]]
        stamps = [1000 + i + how["jitter"] * (i % 3 == 1) for i in kept]
        write_series(tmp_path / name, stamps, invalid=how["invalid"], timed=one["timed"])
    window = WindowSpec(length=one["length"], hop=one["hop"], rate_hz=1.0, channels=CHANNELS)

    def run(position: Position | None = None) -> list[Sample]:
        source = SeriesReplay(tmp_path, window)
        if position is not None:
            source.resume(position)
        return list(source)

    try:
        samples = run()
    except SourceError:
        return  # too short for a window
    place = min(int(one["stop"] * len(samples)), len(samples) - 1)
    rest = run(stored(samples[place].position))
    timed = one["timed"]
    assert [told(s, timed=timed) for s in rest] == [told(s, timed=timed) for s in samples[place + 1 :]]


def test_the_rate_is_that_of_the_beginning_also_for_who_begins_in_the_middle(
    tmp_path: Path, small_chunks: None
) -> None:
    stamps = np.cumsum([1.0] * 60 + [1.4] * 60).tolist()  # slower than it may be, but it was measured before
    write_series(tmp_path / "s.csv", stamps)
    window = WindowSpec(length=4, hop=4, rate_hz=1.0, channels=CHANNELS)
    samples = list(SeriesReplay(tmp_path, window))
    resumed = SeriesReplay(tmp_path, window)
    resumed.resume(stored(samples[15].position))
    assert [s.name for s in resumed] == [s.name for s in samples[16:]]


def test_windows_that_were_given_before_are_not_built_again(
    tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "s.csv", [float(i) for i in range(2000)])
    window = WindowSpec(length=20, hop=1, rate_hz=1.0, channels=CHANNELS)
    pushed = built = 0

    class Counting(Windower):
        def push(self, chunk: readers.Chunk) -> Iterator[Any]:
            nonlocal pushed, built
            pushed += len(chunk.values)
            for found in super().push(chunk):
                built += 1
                yield found

    monkeypatch.setattr(series_source, "Windower", Counting)
    source = SeriesReplay(tmp_path, window)
    source.resume({"file": "s.csv", "row": 1989})
    assert [s.name for s in source] == [f"s.csv#{row}" for row in range(1990, 2000)]
    assert (
        built == 11 and pushed < 100
    )  # the last one before, by which it is known again, and those behind it


def test_samples_behind_missing_rows_say_so_and_carry_the_time_of_their_row(tmp_path: Path) -> None:
    write_series(tmp_path / "s.csv", [100, 101, 102, 103, 110, 111, 112, 113], invalid={6})
    window = WindowSpec(length=2, hop=1, rate_hz=1.0, channels=CHANNELS)
    found = [(s.name, s.gap, s.ts.timestamp()) for s in SeriesReplay(tmp_path, window)]
    expected = [(1, False, 101), (2, False, 102), (3, False, 103), (5, True, 111)]
    assert found == [(f"s.csv#{row}", gap, ts) for row, gap, ts in expected]


# Files, videos, arrays

Make = Callable[[], Any]


def images(folder: Path) -> Make:
    for name in ("b/2.png", "a/10.png", "a/2.png", "c.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        rgb = np.full((16, 16, 3), len(name), np.uint8)
        assert import_cv2().imwrite(str(folder / name), rgb)
    (folder / "b" / "broken.png").write_bytes(b"no image")
    return lambda: Images(folder)


def scans(folder: Path) -> Make:
    for number in range(4):
        write_bin(folder / f"{number}.bin", ring_scan()[number:])
    return lambda: Scans(folder)


def write_video(path: Path, frames: int, fps: float = 25) -> Path:
    cv2 = import_cv2()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (64, 48))
    assert writer.isOpened()
    for i in range(frames):
        writer.write(np.full((48, 64, 3), (0, 0, 8 * i), np.uint8))
    writer.release()
    return path


def video(folder: Path) -> Make:
    path = write_video(folder / "v.mp4", 20)  # one key frame, the others build on those before
    return lambda: VideoFile(path)


def array(folder: Path) -> Make:
    np.save(folder / "x.npy", np.arange(12, dtype=np.float32).reshape(6, 2))
    return lambda: Array(folder / "x.npy")


@pytest.mark.parametrize("kind", [images, scans, video, array])
def test_after_any_sample_the_rest_is_that_of_an_uninterrupted_replay(
    tmp_path: Path, kind: Callable[[Path], Make]
) -> None:
    make = kind(tmp_path)
    samples = list(make())
    assert len(samples) >= 4
    for place, sample in enumerate(samples):
        source = make()
        source.resume(stored(sample.position))
        rest = list(source)
        assert [told(s) for s in rest] == [told(s) for s in samples[place + 1 :]]
        assert source.acquired == len(rest) and source.unreadable <= 1


@pytest.mark.parametrize(
    "position",
    [{}, {"file": "x"}, {"row": 3}, {"file": "c.png", "row": 3}, {"file": 7}, {"file": "x.npy", "row": -1},
     {"file": "x.npy", "row": "3"}, {"file": "x.npy", "row": True}, {"file": "v.mp4", "frame": 1.5}],
)  # fmt: skip
@pytest.mark.parametrize("kind", [images, video, array])
def test_a_position_of_another_source_is_refused(
    tmp_path: Path, kind: Callable[[Path], Make], position: Position
) -> None:
    source = kind(tmp_path)()
    with pytest.raises(SourceError, match="to begin at its start, give the stream another name"):
        source.resume(position)


def test_a_position_behind_what_is_there_is_refused(tmp_path: Path) -> None:
    make_array, make_video = array(tmp_path), video(tmp_path)
    with pytest.raises(SourceError, match=r"x\.npy: has no row 6, only 6"):
        make_array().resume({"file": "x.npy", "row": 6})
    source = make_video()
    source.resume({"file": "v.mp4", "frame": 30})
    with pytest.raises(SourceError, match=r"v\.mp4: ends before frame 30"):
        list(source)
    with pytest.raises(SourceError, match=r"v\.mp4: the position is one in 'w\.mp4'"):
        make_video().resume({"file": "w.mp4", "frame": 3})


def test_files_that_are_gone_are_named(tmp_path: Path) -> None:
    write_series(tmp_path / "s.csv", [float(i) for i in range(30)])
    window = WindowSpec(length=4, hop=1, rate_hz=1.0, channels=CHANNELS)
    with pytest.raises(SourceError, match=r"'r\.csv', where it should go on, is gone"):
        SeriesReplay(tmp_path, window).resume({"file": "r.csv", "row": 9})
    source = SeriesReplay(tmp_path, window)
    source.resume({"file": "s.csv", "row": 100})
    with pytest.raises(SourceError, match=r"s\.csv: no window ends at row 100: it is not the file that was"):
        list(source)


def test_what_comes_behind_the_last_sample_may_all_be_unreadable(tmp_path: Path) -> None:
    source = images(tmp_path)()
    (tmp_path / "c.png").write_bytes(b"")
    source.resume({"file": "b/2.png"})
    assert list(source) == [] and source.unreadable == 2


def test_a_name_that_is_no_utf8_can_be_told_and_found_again(tmp_path: Path) -> None:
    assert import_cv2().imwrite(str(tmp_path / "x.png"), np.zeros((16, 16, 3), np.uint8))
    for name in (b"Pr\xfcfung.png", b"Werkst\xfcck.png"):
        (tmp_path / "x.png").with_name(name.decode("utf-8", "surrogateescape")).write_bytes(
            (tmp_path / "x.png").read_bytes()
        )
    names = [s.name for s in Images(tmp_path)]
    assert names == ["Pr\\xfcfung.png", "Werkst\\xfcck.png", "x.png"]
    source = Images(tmp_path)
    source.resume({"file": names[0]})
    assert [s.name for s in source] == names[1:] and "".join(names).encode("utf-8")


# Pace


class Clock:
    """A clock that only moves while somebody waits."""

    def __init__(self) -> None:
        self.now = 50.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def test_inputs_come_as_far_apart_as_they_were_recorded_and_lateness_is_made_good() -> None:
    clock = Clock()
    pacer = Pacer(clock.wait, clock=clock)
    for recorded_s in (1000.0, 1002.0, 1002.5):
        pacer.hold(recorded_s)
    assert clock.waits == [2.0, 0.5]
    clock.now += 3  # a reader that took its time
    for recorded_s in (1004.0, 1005.0, 1007.0):
        pacer.hold(recorded_s)
    assert clock.waits == [2.0, 0.5, 1.5]
    pacer.begin()
    pacer.hold(5.0)
    assert len(clock.waits) == 3


def ends_when_closed(source: Any, given: int) -> None:
    """The source gives so many samples, then waits for the next one; closing it ends that."""
    names = []
    for sample in source:
        names.append(sample.name)
        if len(names) == given:
            threading.Timer(0.05, source.close).start()
    assert len(names) == given


def test_a_paced_recording_waits_and_can_be_closed_meanwhile(tmp_path: Path) -> None:
    window = WindowSpec(length=1, hop=1, rate_hz=None, channels=CHANNELS)
    write_series(tmp_path / "s.csv", [0, 0.01, 0.02, 86400])
    ends_when_closed(SeriesReplay(tmp_path / "s.csv", window, pace="recorded"), 3)
    np.save(tmp_path / "x.npy", np.zeros((5, 2), np.float32))
    slow = WindowSpec(length=1, hop=1, rate_hz=1e-4, channels=CHANNELS)
    ends_when_closed(SeriesReplay(tmp_path / "x.npy", slow, pace="recorded"), 1)
    ends_when_closed(VideoFile(write_video(tmp_path / "v.mp4", 5, fps=0.01), pace="recorded"), 1)
    with pytest.raises(SourceError, match=r"x\.npy: has no time to be paced by"):
        SeriesReplay(tmp_path / "x.npy", window, pace="recorded")


def test_a_paced_recording_is_the_same_recording(tmp_path: Path) -> None:
    window = WindowSpec(length=3, hop=2, rate_hz=100.0, channels=CHANNELS)
    write_series(tmp_path / "s.csv", [i / 100 for i in range(12)])
    fast, slow = (SeriesReplay(tmp_path, window, pace=pace) for pace in ("fast", "recorded"))
    assert [told(s, timed=True) for s in slow] == [told(s, timed=True) for s in fast]
