"""A Velodyne that sends to this machine: its turns become scans, what is lost or foreign is counted and said."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from lidar_packets import (
    VLP16_ELEVATIONS_DEG,
    VLP16_RINGS,
    Sender,
    drive,
    free_port,
    rooms,
    scan_input,
    wall,
)

from edge_ad.errors import SourceError
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scan_rings import ring_ids
from edge_ad.runtime.scans import Points, read_scan
from edge_ad.runtime.sources.lidar import LiveLidar, open_lidar

pytest.importorskip("velodyne_decoder", reason="velodyne-decoder is not installed")

Open = Callable[..., tuple[LiveLidar, Sender]]


@pytest.fixture
def sensor() -> Iterator[Open]:
    """`sensor(query, stall_s=…)`: an open source, and the sensor that sends to it."""
    opened: list[LiveLidar | Sender] = []

    def open_both(
        query: str = "model=VLP16", *, stall_s: float = 20, address: str = ""
    ) -> tuple[LiveLidar, Sender]:
        port = free_port()
        source = open_lidar(f"velodyne://{address}:{port}?{query}", scan_input(), stall_s=stall_s)
        assert isinstance(source, LiveLidar)
        sender = Sender(port, address or "127.0.0.1")
        opened.extend((source, sender))
        return source, sender

    yield open_both
    for each in opened:
        each.close()


def ranges_of(scan: Points) -> list[float]:
    return sorted(set(np.linalg.norm(scan[:, :3], axis=1).round(1).tolist()))


def take(source: LiveLidar, sender: Sender, batches: list[list[bytes]]) -> list[Sample]:
    """One sample a batch of packets, taken as soon as it is there."""
    samples, iterator = [], iter(source)
    for batch in batches:
        sender.send(batch)
        samples.append(next(iterator))
    return samples


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_each_turn_is_a_scan_of_its_own(sensor: Open) -> None:
    source, sender = sensor()
    packets = drive([*rooms(3), wall()])
    batches = [packets[:76], packets[76:151], packets[151:226]]
    samples = take(source, sender, batches)
    assert [ranges_of(s.data) for s in samples] == [[5.0], [6.0], [7.0]]
    assert [s.data.shape for s in samples] == [(28800, 4)] * 3 and samples[0].data.dtype == np.float32
    assert [s.name for s in samples] == ["0", "1", "2"]
    assert [s.ts for s in samples] == sorted(s.ts for s in samples) and samples[0].ts.utcoffset() is not None
    assert not any(s.gap for s in samples) and {s.position for s in samples} == {None}
    assert (source.live, source.acquired, source.dropped, source.unreadable, source.lost) == (
        True,
        3,
        0,
        0,
        0,
    )


def test_points_are_where_the_beams_went_x_ahead_y_left_z_up(sensor: Open) -> None:
    source, sender = sensor()
    ranges = np.zeros_like(wall())
    aimed = {(0, 1): 8.0, (450, 15): 7.0, (1350, 0): 6.0}  # column (0.2 degrees, clockwise), laser
    for place, distance in aimed.items():
        ranges[place] = distance
    (sample,) = take(source, sender, [drive([ranges, ranges], intensity=51)[:76]])
    azimuth = np.radians([-0.2 * column for column, _ in aimed])
    elevation = np.radians([VLP16_ELEVATIONS_DEG[laser] for _, laser in aimed])
    distance = np.array(list(aimed.values()))
    level = distance * np.cos(elevation)
    wanted = np.column_stack((level * np.cos(azimuth), level * np.sin(azimuth), distance * np.sin(elevation)))
    found = sample.data[np.argsort(-np.linalg.norm(sample.data[:, :3], axis=1))]
    np.testing.assert_allclose(
        found[:, :3], wanted, atol=0.03
    )  # the sensor turns while its lasers fire in turn
    np.testing.assert_allclose(found[:, 3], 0.2)  # of 255


def test_points_stand_ring_by_ring_from_straight_ahead_as_in_kitti(sensor: Open) -> None:
    source, sender = sensor()
    (sample,) = take(source, sender, [drive(rooms(2))[:76]])
    elevation = np.degrees(np.arcsin(sample.data[:, 2] / np.linalg.norm(sample.data[:, :3], axis=1)))
    rings = ring_ids(sample.data)
    assert rings.max() == 15
    assert [elevation[rings == ring].round().mean() for ring in range(16)] == list(range(15, -16, -2))
    azimuth = np.degrees(np.arctan2(sample.data[:, 1], sample.data[:, 0])) % 360
    assert all((np.diff(azimuth[rings == ring]) > 0).all() for ring in range(16))


def test_intensities_can_stay_as_the_sensor_gives_them(sensor: Open) -> None:
    source, sender = sensor("model=vlp-16&intensity_max=1")
    (sample,) = take(source, sender, [drive(rooms(2), intensity=77)[:76]])
    assert set(sample.data[:, 3]) == {77.0}


def test_a_slow_reader_gets_the_newest_turn_and_every_drop_is_counted(sensor: Open) -> None:
    source, sender = sensor()
    packets = drive(rooms(8))
    samples, iterator = [], iter(source)
    for turns, dropped in ((range(3), 2), (range(3, 7), 5)):
        sender.send(packets[75 * turns[0] + 1 : 75 * turns[-1] + 76])
        until(lambda dropped=dropped: source.dropped == dropped)
        samples.append(next(iterator))
    assert [ranges_of(s.data) for s in samples] == [[7.0], [11.0]]
    assert (source.acquired, source.dropped) == (7, 5)
    sender.send(drive(rooms(3))[:76])
    source.close()
    assert source.acquired - source.dropped == 2 and not any(s.gap for s in samples)


def test_a_turn_that_lacks_one_packet_is_passed_on_and_the_packet_counted(sensor: Open) -> None:
    source, sender = sensor()
    packets = drive(rooms(4))
    del packets[105]
    first, second, third = take(source, sender, [packets[:76], packets[76:150], packets[150:225]])
    assert [len(s.data) for s in (first, second, third)] == [28800, 28800 - 24 * 16, 28800]
    assert (source.lost, source.unreadable, third.gap) == (1, 0, False)


@pytest.mark.parametrize("missing", [(30, 31), (10, 50), (0, 1), (73, 74)])
def test_a_turn_that_lacks_more_is_no_scan_and_the_next_one_says_so(
    sensor: Open, missing: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    source, sender = sensor()
    packets = drive(rooms(4))
    kept = [packet for i, packet in enumerate(packets) if i - 75 not in missing]
    with caplog.at_level(logging.WARNING):
        first, third = take(source, sender, [kept[:76], kept[76:224]])
    assert [ranges_of(s.data) for s in (first, third)] == [[5.0], [7.0]]
    assert (source.lost, source.unreadable, third.gap) == (2, 1, True)
    assert ["less than 98 % arrived" in line for line in caplog.messages] == [True]


def test_min_share_says_how_much_of_a_turn_may_be_missing(sensor: Open) -> None:
    source, sender = sensor("model=VLP16&min_share=1")
    packets = drive(rooms(4))
    del packets[105]
    first, third = take(source, sender, [packets[:76], packets[76:225]])
    assert [ranges_of(s.data) for s in (first, third)] == [[5.0], [7.0]]
    assert third.gap and source.unreadable == 1


def test_the_turn_under_way_at_the_start_is_no_loss(sensor: Open) -> None:
    source, sender = sensor()
    packets = drive(rooms(3))
    (second,) = take(source, sender, [packets[40:151]])
    assert ranges_of(second.data) == [6.0]
    assert (source.acquired, source.unreadable, source.lost, second.gap) == (1, 0, 0, False)


def test_foreign_packets_are_counted_said_once_and_leave_the_scans_as_they_are(
    sensor: Open, caplog: pytest.LogCaptureFixture
) -> None:
    source, sender = sensor()
    packets = drive(rooms(2))
    rng = np.random.default_rng(0)
    noise = [b"", b"hello", bytes(1206), b"\xff" * 1206, rng.bytes(1206), rng.bytes(1248)]
    damaged = bytearray(packets[7])
    damaged[302:304] = b"\xff\xff"  # an azimuth of 655 degrees
    position = bytes(512)  # the sensor's own, no points in it
    mixed = [*packets[:20], *noise, bytes(damaged), *packets[20:50], position, *noise, *packets[50:76]]
    with caplog.at_level(logging.WARNING):
        (sample,) = take(source, sender, [mixed])
    assert len(sample.data) == 28800 and ranges_of(sample.data) == [5.0]
    assert (source.unreadable, source.lost) == (2 * len(noise) + 1, 0)
    assert [line.split(": ", 1)[1] for line in caplog.messages] == [
        "packets that are not of the VLP16: 0 bytes instead of 1206"
    ]


@pytest.mark.parametrize(
    ("model", "product", "message"),
    [
        (
            "VLP32C",
            0x22,
            "no packet of the VLP32C for 0.2 s, but .* others: they are of VLP16 .*: give its name",
        ),
        ("VLP16", 0x28, "no packet of the VLP16 for 0.2 s, but .* others: they are of VLP32C"),
        ("VLP16", 0x77, "they are of no model that is known .product byte 0x77"),
    ],
)
def test_a_wrong_model_is_told_as_such_and_not_as_silence(
    sensor: Open, model: str, product: int, message: str
) -> None:
    source, sender = sensor(f"model={model}", stall_s=0.2)
    sender.send(drive(rooms(1), product=product))
    with pytest.raises(SourceError, match=message):
        list(source)


def test_silence_is_an_error_and_no_endless_wait(sensor: Open) -> None:
    source, sender = sensor(stall_s=2)
    iterator = iter(source)
    sender.send(drive(rooms(2))[:76])
    assert ranges_of(next(iterator).data) == [5.0]
    with pytest.raises(
        SourceError, match=r"no packet for 2 s|no whole scan for 2 s, of 1 packets: no revolution ended"
    ):
        next(iterator)


def test_a_sensor_of_which_never_a_whole_turn_arrives_is_told_from_a_silent_one(sensor: Open) -> None:
    source, sender = sensor(stall_s=0.2)
    sender.send(drive(rooms(4))[::2])
    with pytest.raises(
        SourceError, match=r"no whole scan for 0\.2 s, of \d+ packets: 2 revolutions were not whole"
    ):
        list(source)


def test_a_sensor_that_sees_nothing_is_an_error_in_the_end(
    sensor: Open, caplog: pytest.LogCaptureFixture
) -> None:
    source, sender = sensor(stall_s=0.2)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sender.send(drive([wall(0.0)]))

    spinning = threading.Thread(target=spin)
    spinning.start()
    try:
        with pytest.raises(
            SourceError, match=r"no scan with points for 0\.2 s: holds no echoes; check the sensor"
        ):
            list(source)
    finally:
        stop.set()
        spinning.join()
    assert source.unreadable >= 1 and len([m for m in caplog.messages if "skipped" in m]) == 1


def test_closing_from_another_thread_ends_a_reader_that_waits(sensor: Open) -> None:
    source, _ = sensor(stall_s=600)
    samples: list[Sample] = []
    reader = threading.Thread(target=lambda: samples.extend(source))
    reader.start()
    source.close()
    reader.join(20)
    assert not reader.is_alive() and samples == []
    source.close()  # once more does no harm


def test_a_multicast_group_is_joined(sensor: Open) -> None:
    try:
        source, sender = sensor("model=VLP16&interface=127.0.0.1", address="239.255.42.7")
    except SourceError as error:
        pytest.skip(f"no multicast on this machine: {error}")
    (sample,) = take(source, sender, [drive(rooms(2))[:76]])
    assert ranges_of(sample.data) == [5.0]


def test_a_port_that_another_program_holds_is_an_error(sensor: Open) -> None:
    _, sender = sensor()
    with pytest.raises(SourceError, match=r"cannot be listened to \(Address already in use\)"):
        open_lidar(f"velodyne://:{sender.port}?model=VLP16", scan_input(), stall_s=1)


@pytest.mark.parametrize(
    ("address", "message"),
    [("203.0.113.9", "cannot be listened to"), ("lidar.example", "is no IPv4 address")],
)
def test_an_address_that_is_not_this_machines_is_an_error(address: str, message: str) -> None:
    with pytest.raises(SourceError, match=f"velodyne://{address}:2368: {message}"):
        open_lidar(f"velodyne://{address}:2368?model=VLP16", scan_input(), stall_s=1)


def test_a_real_scan_comes_back_through_the_sensors_packets(sensor: Open, data_folder: Path) -> None:
    folder = data_folder / "lidar" / "kitti_drive_a"
    if not folder.is_dir():
        pytest.skip("the real scans are not on this machine (set EDGE_AD_DATA)")
    real = read_scan(sorted(folder.rglob("*.bin"))[0])
    distance = np.linalg.norm(real[:, :3], axis=1)
    azimuth = np.degrees(np.arctan2(-real[:, 1], real[:, 0])) % 360
    elevation = np.degrees(np.arcsin(real[:, 2] / distance))
    laser = np.abs(elevation[:, None] - VLP16_ELEVATIONS_DEG).argmin(axis=1)
    near = np.abs(elevation - VLP16_ELEVATIONS_DEG[laser]) < 0.25
    ranges = np.zeros_like(wall())
    ranges[(azimuth / 0.2).astype(int)[near] % 1800, laser[near]] = distance[near]
    ranges[0] = 0  # straight ahead, where a ring's first point may also be its last
    source, sender = sensor()
    (sample,) = take(source, sender, [drive([ranges, ranges])[:76]])

    lasers, columns = np.nonzero(ranges.T)
    assert len(sample.data) == len(columns) > 5000
    order = np.lexsort((-columns % 1800, VLP16_RINGS[lasers]))  # rings from the top, counter-clockwise
    sent = ranges[columns[order], lasers[order]]
    received = np.linalg.norm(sample.data[:, :3], axis=1)
    assert np.mean(np.abs(received - sent) < 0.01) > 0.99

    spec = scan_input().preprocess
    again = preprocess(spec, sample.data)
    direct = np.column_stack(
        (
            sent
            * np.cos(np.radians(VLP16_ELEVATIONS_DEG[lasers[order]]))
            * np.cos(-np.radians(columns[order] * 0.2)),
            sent
            * np.cos(np.radians(VLP16_ELEVATIONS_DEG[lasers[order]]))
            * np.sin(-np.radians(columns[order] * 0.2)),
            sent * np.sin(np.radians(VLP16_ELEVATIONS_DEG[lasers[order]])),
            np.full(len(sent), 100 / 255),
        )
    ).astype(np.float32)
    assert np.abs(again - preprocess(spec, direct))[:, :3].mean() < 0.005
