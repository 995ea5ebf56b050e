"""Series and scans as sources: every window comes, gaps are told, and what a bundle cannot take is refused by name."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.errors import DataError, SourceError
from edge_ad.runtime.preprocess import resize_spec
from edge_ad.runtime.scan_images import range_image_spec
from edge_ad.runtime.series.standardise import standardise_spec
from edge_ad.runtime.sources import open_source

WINDOW = WindowSpec(length=4, hop=2, rate_hz=1.0, channels=["a", "b"])
SERIES = InputSpec(
    modality="series",
    shape=(1, 2, 4),
    dtype="float32",
    preprocess=standardise_spec([0, 0], [1, 1]),
    window=WINDOW,
)
SCANS = InputSpec(
    modality="scan", shape=(1, 5, 8, 8), dtype="float32",
    preprocess=range_image_spec(
        rows=8, columns=8, elevation_deg=(-20.0, 2.0), max_range_m=50.0, points_per_cell=1.0, rings=None
    ),
)  # fmt: skip
IMAGES = InputSpec(modality="image", shape=(1, 3, 8, 8), dtype="uint8", preprocess=resize_spec(8, 8))


def write(path: Path, stamps: list[float], header: str = "time,b,a") -> Path:
    path.write_text("\n".join([header, *(f"{s},{10 * s},{s}" for s in stamps)]) + "\n")
    return path


def test_a_file_is_one_stream_and_the_next_another(tmp_path: Path) -> None:
    write(tmp_path / "1.csv", [0, 1, 2, 3, 4, 5])
    write(tmp_path / "2.csv", [0, 1, 2, 3, 4])  # its clock begins anew: no gap, another stream
    source = open_source(str(tmp_path), input=SERIES)
    samples = list(source)
    assert [s.name for s in samples] == ["1.csv#3", "1.csv#5", "2.csv#3"]
    assert samples[0].data[:, 0].tolist() == [0, 1, 2, 3] and samples[0].data[:, 1].tolist() == [
        0,
        10,
        20,
        30,
    ]
    assert [s.ts.timestamp() for s in samples] == [3, 5, 3]
    assert (source.acquired, source.dropped, source.unreadable) == (3, 0, 0)


def test_gaps_are_told_and_counted_and_nothing_is_filled_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "s.csv", [0, 1, 2, 3, 9, 10, 11, 12])
    lines = path.read_text().splitlines()
    lines.append("13,,13")
    path.write_text("\n".join(lines) + "\n")
    with caplog.at_level(logging.WARNING):
        source = open_source(f"series:{path}", input=SERIES)
        names = [s.name for s in source]
    assert names == ["s.csv#3", "s.csv#7"] and source.unreadable == 2
    told = " ".join(r.getMessage() for r in caplog.records)
    assert "gap at row 4: missing rows (6 s)" in told and "gap at row 8: not a number (1 rows)" in told


def test_a_stream_that_never_holds_a_window_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gives no window of 4 rows without a gap; give a longer series"):
        list(open_source(str(write(tmp_path / "s.csv", [0, 1, 2])), input=SERIES))


def test_a_clock_that_goes_back_ends_the_stream_with_its_line(tmp_path: Path) -> None:
    source = open_source(str(write(tmp_path / "s.csv", [0, 1, 2, 1.5])), input=SERIES)
    with pytest.raises(DataError, match=r"s.csv: line 5: goes back by 0.5 s in time"):
        list(source)


def test_scans_are_replayed_and_a_broken_one_is_counted(tmp_path: Path) -> None:
    points = np.array([[5, 0, 0, 0.5], [0, 7, 1, 0.5]], np.float32)
    points.tofile(tmp_path / "0.bin")
    (tmp_path / "1.bin").write_bytes(b"\0" * 15)
    np.save(tmp_path / "2.npy", points)
    for url in (str(tmp_path), f"scans:{tmp_path}"):
        source = open_source(url, input=SCANS)
        samples = list(source)
        assert [s.name for s in samples] == ["0.bin", "2.npy"] and source.unreadable == 1
        np.testing.assert_array_equal(samples[0].data, points)


@pytest.mark.parametrize(
    ("url", "wanted", "message"),
    [
        ("series:{}", SCANS, "gives series, this bundle takes scans"),
        ("scans:{}", IMAGES, "gives scans, this bundle takes images"),
        ("images:{}", SERIES, "gives images, this bundle takes series"),
        ("camera:0", SERIES, "gives images, this bundle takes series"),
        ("rtsp://host/stream", SCANS, "gives images, this bundle takes scans"),
        ("{}", SERIES, "holds images, no series"),
        ("{}", SCANS, "there are no scans in it"),
    ],
)
def test_another_modality_is_refused(tmp_path: Path, url: str, wanted: InputSpec, message: str) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(SourceError, match=message):
        open_source(url.format(tmp_path), input=wanted)
