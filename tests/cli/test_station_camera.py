"""A station with real images: a camera that is faster than the engine, and pictures of what was found."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from mjpeg_camera import MjpegCamera, number_of
from mosquitto import Mosquitto, Subscriber, wait_until

from edge_ad.runtime.events import parse_event
from edge_ad.runtime.images import import_cv2
from edge_ad.runtime.station.config import StationConfig
from edge_ad.runtime.station.station import Station
from edge_ad.runtime.stream.judge import Result

pytest.importorskip("cv2")


def test_a_slow_engine_under_a_fast_camera_judges_new_frames_and_counts_the_rest(
    bundle: Path, tmp_path: Path
) -> None:
    """A frame is judged while those before it are under way: three at most, however long it goes on."""
    camera = MjpegCamera()
    judged: list[tuple[datetime, datetime, int]] = []  # acquired, judged, number

    def slow(name: str, result: Result) -> None:
        judged.append(
            (result.sample.ts, datetime.now(timezone.utc), number_of(np.asarray(result.sample.data)))
        )
        time.sleep(0.1)

    table = {"name": "door", "bundle": str(bundle), "source": camera.url}
    config = {"node": "line3", "stream": [table], "sink": [{"url": f"jsonl:{tmp_path}/e.jsonl"}]}
    with Station(StationConfig.model_validate(config), retry=True, on_result=slow) as station:
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(station.run()))
        thread.start()
        wait_until(lambda: len(judged) >= 40)
        station.stop()
        thread.join(60)
    camera.close()
    summary = station.streams[0].summary
    assert summary is not None and summary.frames == len(judged)
    numbers = [number for _, _, number in judged]
    assert numbers == sorted(set(numbers)) and numbers[-1] - numbers[0] > 2 * len(
        numbers
    )  # it is faster indeed
    assert summary.dropped >= numbers[-1] - numbers[0] + 1 - len(numbers)
    late = [i for i in range(4, len(judged)) if judged[i][0] < judged[i - 4][1]]
    assert late == []  # each was acquired only after the fourth before it had been judged


def test_pictures_of_what_was_found_come_on_a_topic_of_their_own(
    bundle: Path, parts: Path, tmp_path: Path
) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    subscriber = Subscriber(broker.port)
    table = {
        "name": "parts",
        "bundle": str(bundle),
        "source": str(parts / "test"),
        "crops": True,
        "threshold": 0.0,
    }
    sink = {"url": f"mqtt://127.0.0.1:{broker.port}", "crops": True}
    config = {"node": "line3", "stream": [table], "sink": [sink]}
    with Station(StationConfig.model_validate(config), retry=False) as station:
        summary = station.run()
    base = "edge-ad/line3/parts"
    wait_until(lambda: len(subscriber.on(f"{base}/event")) == 2 * summary.streams["parts"].events)
    begun = [e for e in map(parse_event, subscriber.on(f"{base}/event")) if e.kind == "new"]
    assert len(begun) >= 3
    pictures = {topic: payload for topic, payload, _ in subscriber.messages if "/crop/" in topic}
    assert set(pictures) <= {f"{base}/crop/{event.event_id}" for event in begun} and pictures
    for event in begun:
        jpeg = pictures.get(f"{base}/crop/{event.event_id}")
        if jpeg is not None:  # of many at once the newest are kept
            image = import_cv2().imdecode(np.frombuffer(jpeg, np.uint8), 1)
            assert image is not None and min(image.shape[:2]) >= 16 and max(image.shape[:2]) <= 96
    subscriber.close()
    broker.stop()
