"""Opening OpenCV's video capture, quietly: what goes wrong is said once, in our words."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from edge_ad.errors import MissingDependencyError, SourceError
from edge_ad.runtime.images import import_cv2

DEVICES = Path("/dev")
_SILENT = 0  # OpenCV's log level


def without_login(url: str) -> str:
    """A URL or a GStreamer pipeline as it may be shown: no user name, no password."""
    url = re.sub(r"(?<=://)[^/@]*@", "", url)
    return re.sub(r"""\b(user-id|user-pw|password)\s*=\s*("[^"]*"|'[^']*'|\S+)""", r"\1=***", url)


def open_video_file(path: Path) -> Any:
    """A `cv2.VideoCapture` of a file. Raises SourceError."""
    if not path.is_file():
        raise SourceError("there is no such video file", where=path)
    capture = _capture(str(path))
    if not capture.isOpened():
        raise SourceError("is no video that OpenCV can decode", where=path, hint="convert it to MP4 or MKV")
    return capture


def open_camera(camera: str) -> Any:
    """A `cv2.VideoCapture` of a V4L2 camera, by number or device file. Raises SourceError."""
    device = DEVICES / f"video{int(camera)}" if camera.isascii() and camera.isdigit() else Path(camera)
    if not device.exists():
        present = sorted(str(p) for p in DEVICES.glob("video*"))
        raise SourceError(
            "there is no such camera", where=device, hint=f"cameras here: {', '.join(present) or 'none'}"
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError("no permission to open the camera", where=device, hint="join the group 'video'")
    capture = _capture(str(device), import_cv2().CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(
            "the camera cannot be opened",
            where=device,
            hint="another program may hold it, or it is a metadata node: try the next number",
        )
    return capture


def open_stream(url: str, *, timeout_s: float) -> Any:
    """A `cv2.VideoCapture` of an RTSP or MJPEG-over-HTTP stream. Raises SourceError.

    Opening it, and each read from it, takes at most `timeout_s`.
    """
    if url.startswith("rtsp"):  # over UDP lost packets smear the picture, and what is smeared looks anomalous
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    cv2 = import_cv2()
    limit_ms = round(timeout_s * 1000)
    options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
    capture = _capture(url, cv2.CAP_FFMPEG, options)
    if not capture.isOpened():
        raise SourceError(
            f"the stream cannot be opened within {timeout_s:g} s",
            where=without_login(url),
            hint="check address, login and that the camera is reachable from here",
        )
    return capture


def open_gstreamer(pipeline: str) -> Any:
    """A `cv2.VideoCapture` of a GStreamer pipeline in the syntax of gst-launch that ends in `appsink`.

    Raises MissingDependencyError where OpenCV was built without GStreamer (as the wheels of PyPI are), SourceError for
    a pipeline that has no `appsink` or does not start.
    """
    cv2 = import_cv2()
    where = f"gst:{without_login(pipeline)}"
    if not re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()):
        raise MissingDependencyError(
            f"OpenCV {cv2.__version__} was built without GStreamer", where=where,
            hint="use camera:N, rtsp://… or http://…, or an OpenCV that has it (Debian: python3-opencv)",
        )  # fmt: skip
    if not re.search(r"\bappsink\b", pipeline):
        raise SourceError(
            "the pipeline has no appsink", where=where,
            hint="end it with '! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1'",
        )  # fmt: skip
    capture = _capture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise SourceError(
            "the pipeline does not start",
            where=where,
            hint="try it with gst-launch-1.0, fakesink for appsink",
        )
    return capture


def _capture(*arguments: Any) -> Any:
    """`cv2.VideoCapture(...)` with OpenCV's and FFmpeg's own messages off while it opens."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2 = import_cv2()
    logging = getattr(cv2.utils, "logging", cv2)  # OpenCV 5 and 4
    level = logging.getLogLevel()
    logging.setLogLevel(_SILENT)
    try:
        return cv2.VideoCapture(*arguments)
    finally:
        logging.setLogLevel(level)
