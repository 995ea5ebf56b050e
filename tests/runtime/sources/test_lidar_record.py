"""Scans recorded from a LiDAR are, as files, what its live source gives: a detector fitted on them fits the sensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from lidar_packets import drive, free_port, rooms, write_pcap

from edge_ad.runtime.scan_rings import count_rings
from edge_ad.runtime.scans import list_scans, read_scan
from edge_ad.runtime.sources.lidar import open_lidar
from edge_ad.runtime.sources.lidar.record import main

pytest.importorskip("velodyne_decoder", reason="velodyne-decoder is not installed")


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    return result.exit_code, result.output


def test_files_hold_the_points_that_the_source_gives(tmp_path: Path) -> None:
    url = f"pcap:{write_pcap(tmp_path / 'x.pcap', drive(rooms(4)))}?model=VLP16"
    assert run(url, tmp_path / "good") == (0, f"{tmp_path}/good: 4 scans\n")
    given = [sample.data for sample in open_lidar(url, None, stall_s=1)]
    files = list_scans(tmp_path / "good")
    assert [file.name for file in files] == ["000000.bin", "000001.bin", "000002.bin", "000003.bin"]
    for file, data in zip(files, given, strict=True):
        np.testing.assert_array_equal(read_scan(file), data)
        assert count_rings(data) == 16


@pytest.mark.parametrize(("options", "rooms_kept"), [(["--every", "3"], [5, 8]), (["--scans", "2"], [5, 6])])
def test_one_scan_of_several_or_the_first_ones(
    tmp_path: Path, options: list[str], rooms_kept: list[int]
) -> None:
    path = write_pcap(tmp_path / "x.pcap", drive(rooms(5)))
    assert run(f"pcap:{path}?model=VLP16", tmp_path / "good", *options)[0] == 0
    scans = [read_scan(file) for file in list_scans(tmp_path / "good")]
    assert [round(float(np.linalg.norm(scan[0, :3]))) for scan in scans] == rooms_kept


def test_a_live_sensor_needs_a_number_and_a_silent_one_leaves_nothing(tmp_path: Path) -> None:
    url = f"velodyne://127.0.0.1:{free_port()}?model=VLP16"
    code, output = run(url, tmp_path / "good")
    assert (code, output) == (2, "error: a live sensor does not end; say how many scans: --scans 500\n")
    code, output = run(url, tmp_path / "good", "--scans", "2", "--stall", "0.2")
    assert code == 1 and "no packet for 0.2 s" in output
    assert not (tmp_path / "good").exists()
