"""Two rigs never have one device at the same time, and a rig that died holds none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import run_here
from rig_bundles import write_rig

from edge_ad.errors import LockedError
from edge_ad.rig import load_rig, lock_devices

HOLD = """
import sys, time
from pathlib import Path
from edge_ad.rig import load_rig, lock_devices
with lock_devices(load_rig(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    devices = {"a": {"kind": "posix"}, "b": {"kind": "serial", "port": "/dev/ttyACM7"}}
    return write_rig(tmp_path, devices, {"pump": tmp_path / "pump.edgead"}, "")


@pytest.fixture
def holder(file: Path) -> subprocess.Popen[str]:
    """Another process that holds the devices of the rig."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, file], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_rig_is_told_who_holds_the_device(holder: subprocess.Popen[str], file: Path) -> None:
    done = run_here("rig", "run", file)
    assert done.code == 1 and f"(process {holder.pid}, " in done.error and "is held by " in done.error
    assert str(file) in done.error and "--wait" in done.error


def test_what_is_one_device_is_one_however_it_is_called(
    holder: subprocess.Popen[str], file: Path, tmp_path: Path
) -> None:
    other, link = tmp_path / "other", tmp_path / "link"
    other.mkdir()
    link.symlink_to("/dev/ttyACM7")
    devices = {"same": {"kind": "serial", "port": str(link)}}
    rig = load_rig(write_rig(other, devices, {"pump": tmp_path / "pump.edgead"}, ""))
    with pytest.raises(LockedError, match="device 'same'"), lock_devices(rig):
        pass
    devices = {"another": {"kind": "serial", "port": "/dev/ttyACM8"}}
    rig = load_rig(write_rig(other, devices, {"pump": tmp_path / "pump.edgead"}, ""))
    with lock_devices(rig):
        pass


def test_the_lock_of_a_rig_that_died_is_gone(holder: subprocess.Popen[str], file: Path) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock_devices(load_rig(file)):
        pass


def test_one_that_waits_gets_the_device_when_it_is_free(holder: subprocess.Popen[str], file: Path) -> None:
    told: list[str] = []

    def free(text: str) -> None:
        told.append(text)
        holder.kill()

    with lock_devices(load_rig(file), wait_s=60, waiting=free):
        pass
    assert len(told) == 1 and f"process {holder.pid}" in told[0]


def test_waiting_ends(holder: subprocess.Popen[str], file: Path) -> None:
    with pytest.raises(LockedError, match="is held by"), lock_devices(load_rig(file), wait_s=0.3):
        pass


def test_two_rigs_with_the_same_devices_in_another_order_both_get_on(file: Path, tmp_path: Path) -> None:
    rig = load_rig(file)
    done: list[int] = []

    def use(devices: list) -> None:
        for _ in range(20):
            with lock_devices(rig, wait_s=60, devices=devices):
                time.sleep(0.001)
        done.append(1)

    both = [
        threading.Thread(target=use, args=(list(order),)) for order in (rig.devices, reversed(rig.devices))
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert done == [1, 1]


def test_the_lock_file_tells_who_holds_it_and_since_when(file: Path, tmp_path: Path) -> None:
    with lock_devices(load_rig(file)):
        told = [json.loads(path.read_text()) for path in (tmp_path / "locks").iterdir()]
    assert [t["pid"] for t in told] == [os.getpid()] * 2 and all(t["rig"] == str(file) for t in told)
    assert {t["device"] for t in told} == {f"state:{tmp_path / 'boards' / 'a'}", "port:/dev/ttyACM7"}
    assert all(path.read_text() == "" for path in (tmp_path / "locks").iterdir())


def test_a_folder_of_locks_that_cannot_be_used_is_named(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGE_AD_LOCKS", str(tmp_path / "file"))
    done = run_here("rig", "run", file)
    assert done.code == 1 and "cannot be locked there" in done.error and "EDGE_AD_LOCKS" in done.error
