"""The demo: the whole way on generated parts in one command."""

from __future__ import annotations

import json
from pathlib import Path


def test_the_demo_goes_from_generated_parts_to_events_over_mqtt(edge_ad, tmp_path: Path) -> None:
    """With a fit too short to be good: what is held here is that every step happened and that they agree."""
    folder = tmp_path / "demo"
    done = edge_ad("demo", "--steps", 60, "--folder", folder, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["found"] + found["false_alarms"] == len(found["events"])
    threshold = found["thresholds"]["compiled"]["value"]
    for event in found["events"]:
        assert event["schema"] == "edge-ad/event/1" and event["kind"] == "new" and event["score"] > threshold
        assert event["bundle"] == found["digest"] and event["threshold"] == threshold
    inspected = edge_ad("inspect", f"dir:{folder / 'line'}", "--json")
    assert json.loads(inspected.out)["manifest"]["payloads"][0]["thresholds"] == found["thresholds"]
    scores = edge_ad("run", f"dir:{folder / 'line'}", "--source", folder / "belt", "--sink", "stdout")
    again = [json.loads(line) for line in scores.out.splitlines()]
    assert [(e["sample"], e["score"]) for e in again if e.get("kind") == "new"] == [
        (e["sample"], e["score"]) for e in found["events"]
    ]
    assert (folder / "part.html").stat().st_size > 10_000


def test_a_folder_that_exists_is_not_written_over(edge_ad, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = edge_ad("demo", "--folder", tmp_path)
    assert done.code == 2 and "exists" in done.error
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
