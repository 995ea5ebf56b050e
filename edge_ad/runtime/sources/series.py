"""Replaying series files as a stream of windows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.errors import SourceError
from edge_ad.runtime.images import list_images
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.series import EXTENSIONS, Windower, list_series, open_series
from edge_ad.runtime.sources.replay import Replay

log = logging.getLogger(__name__)


class SeriesReplay(Replay):
    """One series file, or all below a folder one after the other, each a stream of its own, cut into windows.

    `unreadable` counts gaps, each of which is logged: no window spans one.
    """

    def __init__(self, path: Path, window: WindowSpec):
        """Raises SourceError when there is no series, DataError for one without the window's channels."""
        super().__init__(path)
        if not path.exists():
            raise SourceError("there is no such folder or file", where=path)
        self._files = list_series(path) if path.is_dir() else [path]
        if not self._files:
            held = "holds images, no series" if list_images(path) else "there are no series in it"
            raise SourceError(held, where=path, hint=f"known: {', '.join(EXTENSIONS)}")
        self._window = window
        self._opened = [open_series(file, window.channels) for file in self._files]

    def _read(self) -> Iterator[Sample]:
        for series in self._opened:
            windower = Windower(self._window, where=str(series.path))
            told = rows = 0
            for chunk in series.chunks():
                rows += len(chunk.values)
                for window in windower.push(chunk):
                    now = window.stamp
                    ts = (
                        datetime.now(timezone.utc)
                        if now is None
                        else datetime.fromtimestamp(now, timezone.utc)
                    )
                    yield Sample(window.values, f"{series.path.name}#{window.row}", ts)
                told = self._tell(windower, told, series.path)
            if rows < self._window.length:
                log.warning("%s: has %d rows, a window takes %d", series.path, rows, self._window.length)
        if self.acquired == 0 and not self._closed:
            raise SourceError(
                f"gives no window of {self._window.length} rows without a gap", where=self.name,
                hint="give a longer series, or close its gaps where it is recorded",
            )  # fmt: skip

    def _tell(self, windower: Windower, told: int, path: Path) -> int:
        new = windower.n_gaps - told
        for gap in list(windower.gaps)[-new:] if new else []:
            length = f"{gap.seconds:g} s" if gap.seconds else f"{gap.rows} rows"
            log.warning("%s: gap at row %d: %s (%s)", path, gap.row, gap.reason, length)
        self.unreadable += new
        return windower.n_gaps
