"""Power switches: a relay on a serial line, and commands of the user's."""

from __future__ import annotations

import os
import pty
import sys
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_ad.errors import FirmwareError, PortError, UsageError
from edge_ad.rig.devices.power import power_off, power_on
from edge_ad.rig.tables import PowerTable


@pytest.fixture
def relay() -> Iterator[tuple[int, str]]:
    """What listens at the far end of the relay's line, and the port's name."""
    far, near = pty.openpty()
    tty.setraw(far)
    tty.setraw(near)
    yield far, os.ttyname(near)
    os.close(far)
    os.close(near)


def test_a_relay_gets_the_bytes_for_off_and_on(relay: tuple[int, str]) -> None:
    far, port = relay
    power = PowerTable.model_validate(
        {"relay": {"port": port, "baud": 19200, "off": [0xA0, 1, 0, 0xA1], "on": "relay on\r", "pause_s": 0}}
    )
    power_off(power, "pump")
    assert os.read(far, 100) == b"\xa0\x01\x00\xa1"
    power_on(power, "pump")
    assert os.read(far, 100) == b"relay on\r"


def test_a_relay_that_is_not_there_is_named(tmp_path: Path) -> None:
    power = PowerTable.model_validate({"relay": {"port": str(tmp_path / "tty"), "off": "0", "on": "1"}})
    with pytest.raises(PortError, match="there is no such serial port"):
        power_off(power, "pump")


def test_commands_switch_and_one_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write = [sys.executable, "-c", f"import sys; open({str(log)!r}, 'a').write(sys.argv[1])"]
    fail = [sys.executable, "-c", "import sys; print('no hub'); sys.exit(3)"]
    power = PowerTable.model_validate({"off": [*write, "off "], "on": [*write, "on "], "pause_s": 0})
    power_off(power, "pump")
    power_on(power, "pump")
    assert log.read_text() == "off on "
    broken = PowerTable.model_validate({"off": fail, "on": ["/nowhere/hub"]})
    with pytest.raises(FirmwareError, match=r"device 'pump': power.off: .* ended with status 3 \(no hub\)"):
        power_off(broken, "pump")
    with pytest.raises(FirmwareError, match="there is no command '/nowhere/hub'"):
        power_on(broken, "pump")


def test_a_device_without_a_switch_is_said_to_have_none() -> None:
    with pytest.raises(UsageError, match="its power cannot be cut; add a table 'power'"):
        power_off(None, "pump")
