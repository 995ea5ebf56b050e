"""What a user types for a LiDAR, and what is said about a slip in it."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from lidar_packets import drive, rooms, scan_input, write_pcap

from edge_ad.errors import MissingDependencyError, SourceError
from edge_ad.runtime.sources.lidar import open_lidar

pytest.importorskip("velodyne_decoder", reason="velodyne-decoder is not installed")

KNOWN = "HDL64E_S1, HDL64E_S2, HDL64E_S3, HDL32E, VLP32A, VLP32B, VLP32C, VLP16, PuckLite, PuckHiRes, VLS128"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("velodyne://:2368?model=VLP17", f"unknown model 'VLP17'; known: {KNOWN}, AlphaPrime"),
        ("velodyne://:2368", r"the option 'model' is missing; add \?model=VLP16"),
        (
            "velodyne://:2368?model=VLP16&colour=red",
            "unknown option 'colour'; known: .*model.*calibration.*interface",
        ),
        ("velodyne://:2368?model=VLP16&min_share=2", "option 'min_share' is '2': .* less than or equal to 1"),
        ("velodyne://:2368?model=VLP16&intensity_max=0", "option 'intensity_max' is '0'"),
        ("velodyne://:2368?model=VLP16&intensity_max=inf", "option 'intensity_max' is 'inf'"),
        ("velodyne://:2368?model=VLP16&fov=90", "option 'fov' is '90'"),
        ("velodyne://:2368?model=VLP16&fov=90-400", "fov=90-400 goes beyond 360 degrees"),
        ("velodyne://:2368?model=VLP16&model=VLP16", "gives an option twice"),
        ("velodyne://:2368?model", "'model' is no list of options"),
        ("velodyne://:99999?model=VLP16", "is no address .*[Pp]ort"),
        ("velodyne://:2368/VLP16", "is no address and port; velodyne://.address.:2368"),
        (
            "velodyne://:2368?model=HDL64E_S3",
            "HDL64E_S3 needs the calibration of its lasers; add calibration=",
        ),
        (
            "velodyne://:2368?model=VLP16&calibration=/nope.yml",
            "/nope.yml: is no calibration that can be read",
        ),
        ("ouster://:7502", r"the option 'metadata' is missing; add \?metadata=FILE.json"),
        ("ouster://:7502?model=VLP16", "unknown option 'model'|the option 'metadata' is missing"),
        ("pcap:x.pcap", r"says not which sensor was recorded; add \?model=VLP16"),
        ("pcap:x.pcap?model=VLP16&metadata=m.json", "says not which sensor"),
        ("pcap:x.pcap?model=VLP16&pace=slow", "option 'pace' is 'slow': .*'fast' or 'recorded'"),
        ("pcap:x.pcap?model=VLP16&port=0", "option 'port' is '0'"),
        ("pcap:x.pcap?model=VLP16&interface=127.0.0.1", "unknown option 'interface'"),
        ("lidar:eth0", "'lidar' is no LiDAR; try velodyne://"),
    ],
)
def test_a_slip_is_named_in_one_line(url: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_lidar(url, scan_input(), stall_s=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("modality", ["image", "series"])
def test_a_bundle_of_another_modality_is_refused(modality: str) -> None:
    other = scan_input().model_copy(update={"modality": modality})
    with pytest.raises(SourceError, match="gives scans, this bundle takes"):
        open_lidar("velodyne://:2368?model=VLP16", other, stall_s=1)


@pytest.mark.parametrize("name", ["VLP16", "vlp-16", "VLP_16", "Puck Lite"])
def test_a_model_is_known_by_its_usual_spellings(tmp_path: Path, name: str) -> None:
    path = write_pcap(tmp_path / "x.pcap", drive(rooms(2)))
    assert len(list(open_lidar(f"pcap:{path}?model={name}", scan_input(), stall_s=1))) == 2


@pytest.mark.parametrize("name", ["a b.pcap", "a?b.pcap", "a%20b.pcap"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    path = write_pcap(tmp_path / name, drive(rooms(2)))
    (sample, *_) = open_lidar(f"pcap:{path}?model=VLP16", scan_input(), stall_s=1)
    assert sample.name == f"{name}#0"


def test_a_calibration_of_another_sensor_is_refused(tmp_path: Path) -> None:
    import velodyne_decoder

    of_16 = velodyne_decoder.Calibration.default_calibs[velodyne_decoder.Model.VLP16]
    of_16.write(str(tmp_path / "c.yml"))
    with pytest.raises(SourceError, match=r"c\.yml: holds 16 lasers, the sensor has 64"):
        open_lidar(f"pcap:x?model=HDL64E_S2&calibration={tmp_path}/c.yml", scan_input(), stall_s=1)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [("velodyne://:2368?model=VLP16", "velodyne_decoder", "velodyne"),
     ("ouster://:7502?metadata=m.json", "ouster", "ouster")],
)  # fmt: skip
def test_a_decoder_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, url: str, package: str, extra: str
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **keys: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest, **keys)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'edge-ad\[{extra}\]'"):
        open_lidar(url, scan_input(), stall_s=1)
