"""Cameras and streams: the newest frame wins, drops are counted, silence and refusal are errors."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from mjpeg_camera import MjpegCamera, number_of

from edge_ad.errors import MissingDependencyError, SourceError
from edge_ad.runtime.images import import_cv2
from edge_ad.runtime.sources import open_source
from edge_ad.runtime.sources.capture import open_gstreamer
from edge_ad.runtime.sources.live import LiveSource


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera()
    yield camera
    camera.close()


def test_a_slow_reader_gets_the_newest_frame_and_every_drop_is_counted(camera: MjpegCamera) -> None:
    source = open_source(camera.url, stall_s=10)
    numbers = []
    for sample in source:
        numbers.append(number_of(sample.data))
        before = source.acquired
        while source.acquired < before + 4:  # frames that come while this one is being judged
            time.sleep(0.01)
        if len(numbers) == 6:
            source.close()
    assert source.live and numbers == sorted(set(numbers))
    assert min(b - a for a, b in pairwise(numbers)) >= 4  # the newest, not the oldest of a queue
    assert source.acquired - source.dropped == 6 and source.dropped >= 5 * 3 + 4


def test_a_quick_reader_gets_each_frame_once(camera: MjpegCamera) -> None:
    source = open_source(camera.url, stall_s=10)
    numbers = []
    for sample in source:
        numbers.append(number_of(sample.data))
        if len(numbers) == 10:
            source.close()
    assert numbers == sorted(set(numbers)) and len(numbers) == 10


def test_a_stream_that_ends_is_an_error_after_its_last_frame(camera: MjpegCamera) -> None:
    source = open_source(camera.url, stall_s=10)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:\d+/video: the stream ended after \d+ frames"):
        for _ in source:
            camera.ended.set()
    source.close()


def test_a_stream_that_falls_silent_is_an_error_and_no_endless_wait(camera: MjpegCamera) -> None:
    source = open_source(camera.url, stall_s=1.0)
    with pytest.raises(SourceError, match=r"no frame for 1 s|the stream ended"):
        for _ in source:
            camera.silent.set()
    source.close()


def test_closing_from_another_thread_ends_a_reader_that_waits(camera: MjpegCamera) -> None:
    source = open_source(camera.url, stall_s=30)
    for _ in source:
        if not camera.silent.is_set():
            camera.silent.set()
            threading.Timer(
                0.5, source.close
            ).start()  # by then the reader waits for a frame that never comes
    camera.ended.set()


def test_a_refused_stream_is_an_error_without_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(
        SourceError, match=f"rtsp://127.0.0.1:{port}/live: the stream cannot be opened"
    ) as caught:
        open_source(f"rtsp://admin:secret@127.0.0.1:{port}/live")
    assert "secret" not in str(caught.value) and "admin" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_accepts_and_then_says_nothing_is_an_error(scheme: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(SourceError, match="cannot be opened within 1 s"),
    ):
        open_source(f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/x", stall_s=1.0)


@pytest.mark.parametrize("camera", ["camera:7", "camera:{}/video7"])
def test_a_missing_camera_names_those_that_exist(
    camera: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_ad.runtime.sources.capture.DEVICES", tmp_path)
    with pytest.raises(SourceError, match="video7: there is no such camera; cameras here: none"):
        open_source(camera.format(tmp_path))
    (tmp_path / "video0").touch()
    with pytest.raises(SourceError, match=r"cameras here: .*/video0"):
        open_source(camera.format(tmp_path))


def test_a_device_file_that_is_no_camera_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "video0").write_bytes(b"x")
    with pytest.raises(SourceError, match="the camera cannot be opened; another program may hold it"):
        open_source(f"camera:{tmp_path}/video0")


class FlakyCapture:
    """A USB camera of which some reads fail, as V4L2 reports broken frames."""

    def __init__(self, reads: str) -> None:
        self.reads = iter(reads)
        self.released = False

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(0.01)
        return (True, np.zeros((8, 8, 3), np.uint8)) if next(self.reads, "-") == "+" else (False, None)

    def release(self) -> None:
        self.released = True


def test_a_usb_camera_may_lose_single_frames_but_not_many_in_a_row() -> None:
    capture = FlakyCapture("+-+--+")
    source = LiveSource("camera:0", capture, stall_s=5, tolerated_failures=3)
    with pytest.raises(SourceError, match="ended after 3 frames"):
        list(source)
    source.close()
    assert capture.released and source.acquired == 3 and source.unreadable == 1 + 2 + 3


def test_a_pipeline_without_gstreamer_names_what_is_missing_and_what_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(import_cv2(), "getBuildInformation", lambda: "  FFMPEG:  YES\n  GStreamer:    NO\n")
    with pytest.raises(
        MissingDependencyError, match="was built without GStreamer; use camera:N, rtsp://"
    ) as caught:
        open_gstreamer("rtspsrc location=rtsp://admin:secret@cam/1 user-id=admin user-pw='secret' ! appsink")
    assert "secret" not in str(caught.value) and "admin" not in str(caught.value)


def test_a_pipeline_without_an_appsink_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_cv2(), "getBuildInformation", lambda: "    GStreamer:    YES (1.22.0)\n")
    with pytest.raises(
        SourceError, match="gst:videotestsrc: the pipeline has no appsink; end it with '! videoconv"
    ):
        open_gstreamer("videotestsrc")


def test_frames_of_a_gstreamer_pipeline_come_as_rgb_to_its_end() -> None:
    if "GStreamer:                   NO" in import_cv2().getBuildInformation():
        pytest.skip("this OpenCV was built without GStreamer")
    pipeline = "videotestsrc pattern=red num-buffers=20 ! video/x-raw,width=64,height=48 ! videoconvert"
    capture = open_gstreamer(f"{pipeline} ! video/x-raw,format=BGR ! appsink")
    source = LiveSource("gst", capture, stall_s=10)
    with pytest.raises(SourceError, match="the stream ended after 20 frames"):
        for sample in source:
            assert sample.data.shape == (48, 64, 3)
            assert sample.data[..., 0].min() > 200 and sample.data[..., 1:].max() < 40
    source.close()
    with pytest.raises(SourceError, match="the pipeline does not start"):
        open_gstreamer("nosuchelement ! appsink")


def test_a_driver_that_throws_ends_the_stream_instead_of_stalling_it() -> None:
    class Throwing(FlakyCapture):
        def read(self) -> tuple[bool, np.ndarray | None]:
            whole, frame = super().read()
            if not whole:
                raise import_cv2().error("device is gone")
            return whole, frame

    source = LiveSource("camera:0", Throwing("++"), stall_s=60)
    with pytest.raises(SourceError, match="ended after 2 frames"):
        list(source)
    source.close()
