"""The outbox: what is committed survives, in order, within its bound, and what was dropped is counted."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import OutboxError
from edge_ad.runtime.events import Event, Score
from edge_ad.runtime.outbox.queue import Limits, Outbox

MakeEvent = Callable[..., Event]
QUICK = Limits(commit_delay_s=0.0, lazy_delay_s=0.0)


@dataclass(frozen=True)
class At:
    """A stream's state that is a number."""

    number: int

    def as_dict(self) -> dict[str, Any]:
        return {"at": self.number}


def seqs(outbox: Outbox, receiver: str = "a") -> list[int]:
    return [record.seq or 0 for record in outbox.read(receiver, after=0, limit=100_000)]


@pytest.mark.parametrize("durable", [True, False])
def test_records_are_numbered_and_wait_for_each_receiver(
    tmp_path: Path, make_event: MakeEvent, durable: bool
) -> None:
    outbox = Outbox(tmp_path / "o.db" if durable else None, ["a", "b"], QUICK)
    numbered = outbox.append([make_event(9), make_event(9)], stream="s")
    assert [event.seq for event in numbered] == [1, 2]
    assert outbox.flush(30)
    assert outbox.read("a", after=0, limit=10) == numbered
    outbox.confirm("a", [1, 2])
    assert seqs(outbox, "a") == [] and seqs(outbox, "b") == [1, 2]
    assert outbox.backlog("a") == 0 and outbox.backlog("b") == 2
    outbox.confirm("b", [1])
    assert outbox.flush(30) and seqs(outbox, "b") == [2] and outbox.stats().depth == 1
    outbox.close()


def test_numbers_states_and_what_waits_survive_a_restart(tmp_path: Path, make_event: MakeEvent) -> None:
    outbox = Outbox(tmp_path / "o.db", ["a", "b"])
    outbox.append([make_event(1)] * 3, stream="s", state=At(7))
    outbox.confirm("a", [1])
    outbox.close()
    outbox = Outbox(tmp_path / "o.db", ["b", "a", "new"])
    assert outbox.committed_seq == 3 and outbox.state("s") == {"at": 7} and outbox.state("t") is None
    assert seqs(outbox, "a") == [2, 3] and seqs(outbox, "b") == [1, 2, 3] and seqs(outbox, "new") == []
    assert [event.seq for event in outbox.append([make_event(1)], stream="s")] == [4]
    outbox.close()


def test_a_receiver_that_is_gone_holds_nothing_back(
    tmp_path: Path, make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(tmp_path / "o.db", ["a", "b"])
    outbox.append([make_event(1)] * 3, stream="s")
    outbox.confirm("b", [1])
    outbox.close()
    outbox = Outbox(tmp_path / "o.db", ["b"])
    assert "a is no receiver any more; 3 records that waited for it are given up" in caplog.messages
    assert outbox.stats().depth == 2
    outbox.close()


def test_nothing_is_read_before_it_is_committed(tmp_path: Path, make_event: MakeEvent) -> None:
    outbox = Outbox(tmp_path / "o.db", ["a"], Limits(commit_delay_s=3600))
    outbox.append([make_event(1)], stream="s")
    assert seqs(outbox) == [] and outbox.backlog("a") == 1
    assert outbox.flush(30) and seqs(outbox) == [1]
    outbox.close()


def test_a_commit_is_told_to_listeners(make_event: MakeEvent) -> None:
    told = threading.Event()
    outbox = Outbox(None, ["a"])
    outbox.on_commit(told.set)
    outbox.append([make_event(1)], stream="s")
    assert told.wait(30) and seqs(outbox) == [1]
    outbox.close()


def test_at_the_bound_the_oldest_scores_go_before_any_event(tmp_path: Path, make_event: MakeEvent) -> None:
    outbox = Outbox(tmp_path / "o.db", ["a"], Limits(max_bytes=1 << 18))
    event = make_event(1)
    score = Score(ts=event.ts, stream="cam0", score=0.5, threshold=1.0)
    outbox.append([event] * 100, stream="s")
    for _ in range(30):
        outbox.append([score] * 100, stream="s")
        assert outbox.flush(30)
    stats = outbox.stats()
    assert stats.lost_scores > 0 and stats.lost_events == 0 and stats.error is None
    kept = seqs(outbox)
    assert kept[:100] == list(range(1, 101)) and kept[-1] == 3100
    assert kept[100:] == list(range(3100 - len(kept) + 101, 3101))  # the newest scores
    for _ in range(20):  # without scores, the oldest events
        outbox.append([event] * 100, stream="s")
        assert outbox.flush(30)
    stats, kept = outbox.stats(), seqs(outbox)
    assert stats.lost_events > 0 and kept == list(range(5101 - len(kept), 5101))
    assert stats.lost_scores + stats.lost_events + len(kept) == 5100
    outbox.close()
    assert (tmp_path / "o.db").stat().st_size <= 1 << 18
    again = Outbox(tmp_path / "o.db", ["a"])
    assert again.stats().lost_events == stats.lost_events and seqs(again) == kept
    again.close()


WRITER = """
import sys
from pathlib import Path
from edge_ad.runtime.events import parse_event
from edge_ad.runtime.outbox.queue import Limits, Outbox

class At:
    def __init__(self, number): self.number = number
    def as_dict(self): return {"at": self.number}

event = parse_event(sys.stdin.readline())
outbox = Outbox(Path(sys.argv[1]), ["a"], Limits(commit_delay_s=0.002, lazy_delay_s=0.002))
state = outbox.state("s")
number = state["at"] if state else 0
print(outbox.committed_seq, number, flush=True)
while True:
    number += 1
    records = [event.model_copy(update={"sample": str(number)})] if number % 3 == 0 else []
    outbox.append(records, stream="s", state=At(number))
    outbox.confirm("a", [outbox.committed_seq - 50])
    print(".", end="", flush=True)
"""


def test_killed_at_any_moment_records_and_state_agree(tmp_path: Path, make_event: MakeEvent) -> None:
    """Every third step makes a record: however the writer ends, the state tells exactly which there are."""
    path = tmp_path / "o.db"
    for round_ in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert writer.stdin is not None and writer.stdout is not None
        writer.stdin.write(make_event(1).to_json().encode() + b"\n")
        writer.stdin.flush()
        committed, number = map(int, writer.stdout.readline().split())
        assert committed == number // 3
        writer.stdout.read(200 + 37 * round_)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        writer.stdin.close()
    outbox = Outbox(path, ["a"])
    last = outbox.state("s")["at"]
    records = outbox.read("a", after=0, limit=10**6)
    assert outbox.committed_seq == last // 3 > 0
    assert [int(r.sample) for r in records if isinstance(r, Event)] == [3 * (r.seq or 0) for r in records]
    outbox.close()


def test_a_file_that_is_no_database_is_set_aside_and_work_goes_on(
    tmp_path: Path, make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "o.db").write_bytes(b"not a database at all" * 1000)
    outbox = Outbox(tmp_path / "o.db", ["a"], QUICK)
    outbox.append([make_event(1)], stream="s")
    assert outbox.flush(30) and seqs(outbox) == [1]
    outbox.close()
    (aside,) = tmp_path.glob("o.db.damaged-*")
    assert aside.read_bytes().startswith(b"not a database") and "set aside" in caplog.text


def test_an_outbox_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    Outbox(tmp_path / "o.db", ["a"]).close()
    with sqlite3.connect(tmp_path / "o.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(OutboxError, match="version 99"):
        Outbox(tmp_path / "o.db", ["a"])
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutboxError, match="cannot be opened"):
        Outbox(tmp_path / "no" / "o.db", ["a"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_on_a_full_disk_the_newest_events_are_kept_and_the_loss_is_counted(
    small_disk: Path, make_event: MakeEvent
) -> None:
    path = small_disk / "o.db"
    outbox = Outbox(path, ["a"], QUICK)
    outbox.append([make_event(1)] * 500, stream="s", state=At(1))
    assert outbox.flush(30)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    for number in range(2, 102):  # far more than the reserve holds
        outbox.append([make_event(1)] * 100, stream="s", state=At(number))
        outbox.flush(0.5)
    stats = outbox.stats()
    kept = seqs(outbox)
    assert stats.lost_events > 0 and stats.error is None, stats
    assert kept == list(range(10_501 - len(kept), 10_501)) and len(kept) > 1000
    assert stats.lost_events + len(kept) == 10_500
    outbox.confirm("a", kept)
    assert outbox.flush(30) and outbox.stats().depth == 0
    outbox.close()
    outbox = Outbox(path, ["a"], QUICK)  # starts on the full disk, too
    assert outbox.state("s") == {"at": 101} and outbox.committed_seq == 10_500
    filler.unlink()
    outbox.append([make_event(1)] * 5000, stream="s")  # more than before fitted
    assert outbox.flush(30) and len(seqs(outbox)) == 5000
    assert (small_disk / "o.db.reserve").exists()
    outbox.close()
