"""Sources of inputs, chosen by URL."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from edge_ad.errors import SourceError
from edge_ad.runtime.sources.base import Source
from edge_ad.runtime.sources.capture import open_camera, open_stream, without_login
from edge_ad.runtime.sources.live import LiveSource
from edge_ad.runtime.sources.replay import Array, Images, VideoFile

__all__ = ["FORMS", "Source", "open_source"]

FORMS = "a folder, images:PATH, video:PATH, npy:PATH, camera:0, camera:/dev/video0, rtsp://…, http://…"
STALL_S = 10.0
CAMERA_FAILURES = 10

_FILES: dict[str, Callable[[Path], Source]] = {"images": Images, "video": VideoFile, "npy": Array}
_VIDEO_SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv"}


def open_source(url: str, *, stall_s: float = STALL_S) -> Source:
    """Open a source; `FORMS` lists what `url` may be.

    stall_s: how long a live source may stay silent, also while it is opened. Raises SourceError when there is
    no such folder, file, camera or stream, or for another scheme; MissingDependencyError without OpenCV.
    """
    if re.match(r"(rtsps?|https?)://.", url):
        return LiveSource(without_login(url), open_stream(url, timeout_s=stall_s), stall_s=stall_s)
    scheme, colon, rest = url.partition(":")
    if not colon or Path(url).exists():
        return _open_path(Path(url))
    if scheme in _FILES:
        return _FILES[scheme](Path(rest))
    if scheme == "camera":
        capture = open_camera(rest)
        return LiveSource(url, capture, stall_s=stall_s, tolerated_failures=CAMERA_FAILURES)
    raise SourceError(f"unknown kind of source '{scheme}'", where=without_login(url), hint=f"try {FORMS}")


def _open_path(path: Path) -> Source:
    """A plain path: what it is shows from its suffix."""
    if not path.exists():
        raise SourceError("there is no such folder or file", where=path, hint=f"a source is {FORMS}")
    suffix = path.suffix.lower()
    if path.is_file() and suffix in _VIDEO_SUFFIXES:
        return VideoFile(path)
    if path.is_file() and suffix == ".npy":
        return Array(path)
    return Images(path)
