"""Sources of inputs, chosen by URL."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.errors import SourceError
from edge_ad.runtime.sources.base import Source
from edge_ad.runtime.sources.capture import open_camera, open_gstreamer, open_stream, without_login
from edge_ad.runtime.sources.live import LiveSource
from edge_ad.runtime.sources.reconnect import Reconnecting
from edge_ad.runtime.sources.replay import Array, Images, ReplayOptions, Scans, VideoFile
from edge_ad.runtime.sources.rows.live import BURST
from edge_ad.runtime.sources.series import SeriesReplay
from edge_ad.runtime.sources.watch import open_watch, split_options

__all__ = ["FORMS", "Source", "open_source"]

FORMS = (
    "a folder, images:PATH, video:PATH, npy:PATH, scans:PATH, series:PATH, watch:FOLDER, camera:0, rtsp://…, http://…, "
    "gst:PIPELINE, velodyne://:2368?model=VLP16, ouster://:7502?metadata=FILE, pcap:FILE?model=VLP16, stdin:, "
    "rows:PATH, lines:/dev/ttyUSB0, link:/dev/ttyACM0, mqtt://host/topic"
)
STALL_S = 10.0
BACKOFF_S = (1.0, 30.0)
CAMERA_FAILURES = 10

_VIDEO_SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv"}


_SCHEME = re.compile(r"[a-z][a-z+]*(?=:)")
_LIVE = {
    "camera", "rtsp", "rtsps", "http", "https", "gst", "watch", "velodyne", "ouster", "lines", "link", "mqtt", "mqtts",
}  # fmt: skip
_LIDAR = {"velodyne", "ouster", "pcap"}
_ROWS = {"stdin", "rows", "lines", "link", "mqtt", "mqtts"}
_GIVES = {
    "images": "image", "video": "image", "camera": "image", "rtsp": "image", "rtsps": "image", "http": "image",
    "https": "image", "gst": "image", "scans": "scan", "series": "series", **dict.fromkeys(_LIDAR, "scan"),
    **dict.fromkeys(_ROWS, "series"),
}  # fmt: skip


def is_live(url: str) -> bool:
    """Whether what `url` names goes on for ever, so that an end of it is a failure."""
    return _scheme(url) in _LIVE


def open_source(
    url: str, *, input: InputSpec | None = None, stall_s: float = STALL_S, reconnect: bool = False,
    on_attempt: Callable[[], None] | None = None,
) -> Source:  # fmt: skip
    """Open a source; `FORMS` lists what `url` may be.

    input: what the network takes: a plain path is read as that, and series are cut into its windows; None takes
    images. stall_s: how long a live source may stay silent, also while it is opened. reconnect: a live source that
    cannot be opened, ends or stalls is opened again for ever; without, that raises. on_attempt: called before each.

    Raises SourceError when there is no such folder, file, camera or stream, for another scheme, and for a source of
    another modality; MissingDependencyError without a package that it needs.
    """
    modality = "image" if input is None else input.modality
    scheme = _scheme(url)
    if scheme in _GIVES:
        _require(_GIVES[scheme], modality, without_login(url))
    if not (reconnect and scheme in _LIVE):
        return _open(url, scheme, modality, input, stall_s)

    def attempt() -> Source:
        if on_attempt is not None:
            on_attempt()
        return _open(url, scheme, modality, input, stall_s)

    return Reconnecting(
        without_login(url),
        attempt,
        live=scheme != "watch",
        burst=BURST if scheme in _ROWS else 1,
        backoff_s=BACKOFF_S,
    )


def _scheme(url: str) -> str:
    """The scheme of a source's URL; empty for a plain path."""
    if url.partition("?")[0] == "-":
        return "stdin"
    found = _SCHEME.match(url)
    return "" if found is None or Path(url).exists() else found.group()


def _open(url: str, scheme: str, modality: str, input: InputSpec | None, stall_s: float) -> Source:
    """One attempt."""
    rest = url.partition(":")[2]
    if not scheme:
        return _open_path(Path(url), modality, input)
    if scheme in ("rtsp", "rtsps", "http", "https"):
        return LiveSource(without_login(url), open_stream(url, timeout_s=stall_s), stall_s=stall_s)
    if scheme == "camera":
        return LiveSource(url, open_camera(rest), stall_s=stall_s, tolerated_failures=CAMERA_FAILURES)
    if scheme == "gst":
        return LiveSource("gst", open_gstreamer(rest), stall_s=stall_s)
    if scheme == "npy":
        return Array(Path(rest))
    if scheme in ("video", "series"):
        path, options = split_options(Path(rest), ReplayOptions)
        if scheme == "video":
            return VideoFile(path, pace=options.pace)
        return SeriesReplay(path, _window(input, url), pace=options.pace)
    if scheme in ("images", "scans"):
        return _open_files(Path(rest), modality, input)
    if scheme == "watch":
        return open_watch(Path(rest), input)
    if scheme in _LIDAR:
        from edge_ad.runtime.sources.lidar import open_lidar

        return open_lidar(url, _needed(input, url), stall_s=stall_s)
    if scheme in _ROWS:
        from edge_ad.runtime.sources.rows import open_rows

        return open_rows(url, _needed(input, url), stall_s=stall_s)
    raise SourceError(f"unknown kind of source '{scheme}'", where=without_login(url), hint=f"try {FORMS}")


def _window(input: InputSpec | None, url: str) -> WindowSpec:
    if input is None or input.window is None:
        raise SourceError("gives windows of series, this bundle takes none", where=url)
    return input.window


def _needed(input: InputSpec | None, url: str) -> InputSpec:
    if input is None:
        raise SourceError("gives no images", where=without_login(url))
    return input


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
