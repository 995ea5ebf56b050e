"""Windows hold rows that follow each other in time, at the declared rate; a gap is reported and never filled."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.errors import DataError
from edge_ad.runtime.series import Chunk, Windower
from edge_ad.runtime.series.standardise import MAX_STANDARD, standardise

SPEC = WindowSpec(length=6, hop=2, rate_hz=10.0, channels=["a", "b"])


def rows(n: int, missing: list[int] = (), invalid: list[int] = ()) -> Chunk:  # type: ignore[assignment]
    """n rows at 10 Hz whose values are their numbers; some left out, some not numbers."""
    kept = np.array([i for i in range(n) if i not in missing])
    values = np.stack([kept, -kept], 1).astype(np.float32)
    values[np.isin(kept, invalid), 1] = np.nan
    return Chunk(1000 + kept / 10, values, None, 2)


def cut(chunk: Chunk, sizes: list[int], spec: WindowSpec = SPEC, interrupted: list[int] = ()):  # type: ignore[assignment]
    """The windows of a chunk that comes in pieces, which also end where somebody interrupts."""
    windower, found, begin, sizes = Windower(spec), [], 0, [*sizes, len(chunk.values)]
    while begin < len(chunk.values):
        end = min(begin + sizes.pop(0), len(chunk.values), *(i for i in interrupted if i > begin))
        if begin in interrupted:
            windower.interrupt("unplugged")
        stamps = None if chunk.stamps is None else chunk.stamps[begin:end]
        found += list(windower.push(Chunk(stamps, chunk.values[begin:end], None, chunk.line + begin)))
        begin, sizes = end, sizes or [len(chunk.values)]
    return found, windower


def expected(
    chunk: Chunk,
    spec: WindowSpec = SPEC,
    interrupted: list[int] = (),  # type: ignore[assignment]
) -> list[tuple[list[int], bool]]:
    """The first values of each window's rows and whether it follows a gap, by going through the rows one by one."""
    found, run, since = [], [], 0
    last, gap = None, False
    for i, value in enumerate(chunk.values):
        stamp = None if chunk.stamps is None else chunk.stamps[i]
        broken = stamp is not None and last is not None and (stamp - last) * spec.rate_hz > 1.5
        last = stamp
        if broken or i in interrupted or not np.isfinite(value).all():
            run, since, gap = [], spec.hop, True
        if not np.isfinite(value).all():
            continue
        run.append(int(value[0]))
        since += 1
        if len(run) >= spec.length and since >= spec.hop:
            found.append((run[-spec.length :], gap))
            since, gap = 0, False
    return found


def shown(windows: list) -> list[tuple[list[int], bool]]:
    return [(w.values[:, 0].astype(int).tolist(), w.gap) for w in windows]


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 60),
    st.lists(st.integers(1, 59), max_size=4),
    st.lists(st.integers(0, 59), max_size=4),
    st.lists(st.integers(1, 17), max_size=12),
    st.lists(st.integers(0, 59), max_size=3),
    st.tuples(st.integers(1, 8), st.integers(1, 9)),
    st.booleans(),
)
def test_windows_do_not_depend_on_how_rows_arrive(
    n: int,
    missing: list[int],
    invalid: list[int],
    sizes: list[int],
    interrupted: list[int],
    size: tuple[int, int],
    stamped: bool,
) -> None:
    spec = SPEC.model_copy(update={"length": size[0], "hop": size[1]})
    chunk = rows(n, missing, invalid)
    chunk = chunk if stamped else Chunk(None, chunk.values, None, 2)
    found, windower = cut(chunk, sizes, spec, interrupted)
    at_once, same = cut(chunk, [], spec, interrupted)
    assert shown(found) == expected(chunk, spec, interrupted)
    assert [(w.row, w.stamp, w.gap) for w in found] == [(w.row, w.stamp, w.gap) for w in at_once]
    for a, b in zip(found, at_once, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
    assert list(windower.gaps) == list(same.gaps) and windower.n_gaps == same.n_gaps


@pytest.mark.parametrize("size", [1, 7, 1000, 20_000])
def test_a_long_stream_gives_each_window_once(size: int) -> None:
    spec = SPEC.model_copy(update={"length": 500, "hop": 3})
    found, windower = cut(rows(13_000, missing=[6000]), [size] * (13_000 // size + 1), spec)
    assert [w.values[-1, 0] for w in found] == [*range(499, 6000, 3), *range(6500, 13_000, 3)]
    assert all((np.diff(w.values[:, 0]) == 1).all() for w in found) and windower.n_gaps == 1


def test_a_window_is_the_readers_own() -> None:
    windower = Windower(SPEC)
    first = next(iter(windower.push(rows(6))))
    first.values[:] = 0
    later = rows(8)
    second = next(iter(windower.push(Chunk(later.stamps[6:], later.values[6:], None, 8))))
    assert second.values[:, 0].tolist() == [2, 3, 4, 5, 6, 7]


def test_an_interruption_is_one_gap_and_says_why() -> None:
    windower = Windower(SPEC)
    list(windower.push(rows(7)))
    windower.interrupt("unplugged")
    windower.interrupt("unplugged")
    later = rows(20, missing=list(range(7, 12)))
    list(windower.push(Chunk(later.stamps[7:7], later.values[7:7], None, 1)))  # no rows, nothing said
    found = list(windower.push(Chunk(later.stamps[7:], later.values[7:], None, 1)))
    assert [(g.reason, g.row, g.rows) for g in windower.gaps] == [("unplugged", 7, 0)]
    assert windower.gaps[0].seconds == pytest.approx(0.6)
    assert [w.gap for w in found] == [True, False]


def test_a_gap_is_reported_with_its_place_and_length() -> None:
    _, windower = cut(rows(40, missing=[10, 11, 12], invalid=[20, 21]), [])
    assert [(g.reason, g.row, g.rows) for g in windower.gaps] == [
        ("missing rows", 10, 0),
        ("not a number", 17, 2),
    ]
    assert windower.gaps[0].seconds == pytest.approx(0.4)


def test_the_newest_row_names_a_window() -> None:
    found, _ = cut(rows(9), [])
    assert [w.row for w in found] == [5, 7] and found[0].stamp == pytest.approx(1000.5)


def test_rows_without_time_are_one_stream() -> None:
    spec = WindowSpec(length=3, hop=3, rate_hz=None, channels=["a"])
    chunk = Chunk(None, np.arange(9, dtype=np.float32)[:, None], None, 1)
    assert [w.values[:, 0].tolist() for w in Windower(spec).push(chunk)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def stamped(stamps: list[float]) -> Chunk:
    return Chunk(np.array(stamps, float), np.zeros((len(stamps), 2), np.float32), None, 2)


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        ([0, 0.1, 0.05], r"pump.csv: line 4: goes back by 0.05 s in time; sort the rows"),
        ([0, 0.1, 0.1], r"pump.csv: line 4: repeats the time stamp of the row before"),
        ([i * 0.02 for i in range(40)], r"line 2: has 50 rows a second, the detector was fitted at 10"),
    ],
)
def test_a_clock_that_is_wrong_is_refused_with_its_line(stamps: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(Windower(SPEC, where="pump.csv").push(stamped(stamps)))


def test_a_clock_that_goes_back_between_chunks_is_refused_too() -> None:
    windower = Windower(SPEC)
    list(windower.push(stamped([0, 0.1])))
    with pytest.raises(DataError, match="goes back"):
        list(windower.push(stamped([0.05, 0.15])))


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(DataError, match="line 7: rows of 2 channels are expected, not 3"):
        list(Windower(SPEC).push(Chunk(None, np.zeros((4, 3), np.float32), None, 7)))


def test_standardising_gives_the_same_bytes_everywhere() -> None:
    window = (np.arange(12, dtype=np.float32) ** 3).reshape(6, 2)
    made = standardise(window, mean=[1.0, 100.0], std=[3.0, 70.0])
    assert made.shape == (1, 2, 6) and made.dtype == np.float32
    digest = "0504ab20ef353bf404a9a3ba8b303bff4e357b6c31146a7e9efe7668b15002b7"
    assert hashlib.sha256(made.tobytes()).hexdigest() == digest
    np.testing.assert_array_equal(made[0, 1], ((window[:, 1].astype(float) - 100) / 70).astype(np.float32))
    assert standardise(np.full((1, 1), 1e30), mean=[0.0], std=[1.0])[0, 0, 0] == MAX_STANDARD
    with pytest.raises(DataError, match=r"row 1 of the window holds nan in channel 2"):
        standardise(np.array([[1.0, np.nan]]), mean=[0, 0], std=[1, 1])
    with pytest.raises(DataError, match=r"a window \(length, 2\) of numbers is expected"):
        standardise(np.zeros((3, 3)), mean=[0, 0], std=[1, 1])
