"""Sources of inputs, chosen by URL."""

from __future__ import annotations

import re
from pathlib import Path

from edge_ad.bundle.manifest import InputSpec
from edge_ad.errors import SourceError
from edge_ad.runtime.sources.base import Source
from edge_ad.runtime.sources.capture import open_camera, open_stream, without_login
from edge_ad.runtime.sources.live import LiveSource
from edge_ad.runtime.sources.replay import Array, Images, Scans, VideoFile
from edge_ad.runtime.sources.series import SeriesReplay

__all__ = ["FORMS", "Source", "open_source"]

FORMS = (
    "a folder, images:PATH, video:PATH, npy:PATH, scans:PATH, series:PATH, camera:0, camera:/dev/video0, rtsp://…, "
    "http://…"
)
STALL_S = 10.0
CAMERA_FAILURES = 10

_VIDEO_SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv"}


def open_source(url: str, *, input: InputSpec | None = None, stall_s: float = STALL_S) -> Source:
    """Open a source; `FORMS` lists what `url` may be.

    input: what the network takes: a plain path is read as that, and series are cut into its windows; None takes
    images. stall_s: how long a live source may stay silent, also while it is opened. Raises SourceError when there is
    no such folder, file, camera or stream, for another scheme, and for a source of another modality;
    MissingDependencyError without OpenCV.
    """
    modality = "image" if input is None else input.modality
    if re.match(r"(rtsps?|https?)://.", url):
        _require("image", modality, without_login(url))
        return LiveSource(without_login(url), open_stream(url, timeout_s=stall_s), stall_s=stall_s)
    scheme, colon, rest = url.partition(":")
    if not colon or Path(url).exists():
        return _open_path(Path(url), modality, input)
    if scheme == "camera":
        _require("image", modality, url)
        capture = open_camera(rest)
        return LiveSource(url, capture, stall_s=stall_s, tolerated_failures=CAMERA_FAILURES)
    if scheme == "npy":
        return Array(Path(rest))
    if scheme in _GIVES:
        _require(_GIVES[scheme], modality, url)
        return VideoFile(Path(rest)) if scheme == "video" else _open_files(Path(rest), modality, input)
    raise SourceError(f"unknown kind of source '{scheme}'", where=without_login(url), hint=f"try {FORMS}")


_GIVES = {"images": "image", "video": "image", "scans": "scan", "series": "series"}


def _require(given: str, wanted: str, where: str) -> None:
    if given != wanted and wanted not in ("vector", "tensor"):
        several = {"series": "series"}
        what, taken = several.get(given, f"{given}s"), several.get(wanted, f"{wanted}s")
        raise SourceError(f"gives {what}, this bundle takes {taken}", where=where, hint=f"try {FORMS}")


def _open_path(path: Path, modality: str, input: InputSpec | None) -> Source:
    """A plain path: what it is shows from its suffix and from what the network takes."""
    if not path.exists():
        raise SourceError("there is no such folder or file", where=path, hint=f"a source is {FORMS}")
    suffix = path.suffix.lower()
    if modality in ("scan", "series"):
        return _open_files(path, modality, input)
    if path.is_file() and suffix in _VIDEO_SUFFIXES:
        return VideoFile(path)
    if path.is_file() and suffix == ".npy":
        return Array(path)
    return Images(path)


def _open_files(path: Path, modality: str, input: InputSpec | None) -> Source:
    if modality == "scan":
        return Scans(path)
    if modality == "series" and input is not None and input.window is not None:
        return SeriesReplay(path, input.window)
    return Images(path)
