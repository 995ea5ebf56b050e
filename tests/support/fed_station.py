"""A station that reports over MQTT, fed row by row."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from edge_ad.runtime.station.config import read_station
from edge_ad.runtime.station.station import Station, StationSummary

STATION = """
node = "line3"
{more}
state = "{folder}/keep"
[[stream]]
name = "pump"
bundle = "{folder}/b.edgead"
source = "rows:{folder}/rows?format=csv"
[[sink]]
url = "mqtt://127.0.0.1:{port}"
"""


class Running:
    """A station in a thread, fed through a FIFO, and somebody who listens."""

    def __init__(self, folder: Path, port: int, more: str = "") -> None:
        """folder: holds the bundle `b.edgead`. port: of the broker. more: lines of the station file's top."""
        self.folder = folder
        if not (folder / "rows").exists():
            os.mkfifo(folder / "rows")
        (folder / "s.toml").write_text(STATION.format(folder=folder, port=port, more=more))
        self.station = Station(read_station(folder / "s.toml"), retry=True)
        self.summary: StationSummary | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self.pipe = (folder / "rows").open("w")
        self.pipe.write("a,b\n")

    def _run(self) -> None:
        with self.station:
            self.summary = self.station.run()

    def feed(self, *values: float) -> None:
        self.pipe.write("".join(f"{value},{value}\n" for value in values))
        self.pipe.flush()

    def stop(self) -> None:
        self.station.stop()
        self.thread.join(60)
        self.pipe.close()
        assert not self.thread.is_alive()
