"""Timings run alone: nobody works meanwhile, those who work rest for them, and a killed process holds nobody up."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from edge_ad.compile.sweep.locks import alone, busy, give_way


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apart from sweeps that run on this machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_timing_waits_until_nobody_is_busy_and_holds_off_who_comes_later() -> None:
    order: list[str] = []
    working, finish = threading.Event(), threading.Event()

    def first() -> None:
        with busy():
            working.set()
            finish.wait(30)
            order.append("first")

    def timing() -> None:
        with alone():
            order.append("timing")

    def later() -> None:
        with busy():
            order.append("later")

    one = in_thread(first)
    assert working.wait(30)
    two = in_thread(timing)
    two.join(0.3)
    three = in_thread(later)  # others are busy still, but a timing was asked for first
    three.join(0.3)
    assert order == []
    finish.set()
    for thread in (one, two, three):
        thread.join(30)
    assert order == ["first", "timing", "later"]


def test_several_work_at_a_time() -> None:
    both = threading.Barrier(2, timeout=30)

    def work() -> None:
        with busy():
            both.wait()

    threads = [in_thread(work), in_thread(work)]
    for thread in threads:
        thread.join(30)
    assert not both.broken and not any(thread.is_alive() for thread in threads)


def test_long_work_rests_for_a_timing_and_goes_on() -> None:
    timed, working, rested = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        with busy():
            working.set()
            while not timed.is_set():
                give_way()
            rested.set()

    def timing() -> None:
        with alone():
            timed.set()

    one = in_thread(work)
    assert working.wait(30)
    two = in_thread(timing)
    for thread in (one, two):
        thread.join(30)
    assert timed.is_set() and rested.is_set()
    give_way()  # of nobody's business outside


def test_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    program = (
        "import os, signal; from edge_ad.compile.sweep.locks import busy, locked; from pathlib import Path\n"
        "with busy(): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    subprocess.run([sys.executable, "-c", program], env=environment, timeout=120)
    assert list(tmp_path.glob("edge-ad-*/work"))  # it was there

    def timing() -> None:
        with alone():
            pass

    thread = in_thread(timing)
    thread.join(30)
    assert not thread.is_alive()
