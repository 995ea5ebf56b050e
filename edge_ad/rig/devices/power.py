"""Cutting and giving a device's power: by commands of the user's, or by a relay on a serial line."""

from __future__ import annotations

import time

import serial

from edge_ad.errors import PortError, UsageError
from edge_ad.firmware_bridge.ports import open_port
from edge_ad.rig.devices.base import run_command
from edge_ad.rig.tables import PowerTable, RelayTable


def power_off(power: PowerTable | None, device: str) -> None:
    """Cut it, and wait until it is gone. Raises UsageError for a device without a switch, PortError, FirmwareError."""
    power = _switch(power, device)
    if power.relay is not None:
        _send(power.relay, power.relay.off)
        time.sleep(power.relay.pause_s)
    else:
        assert power.off is not None
        run_command(power.off, f"device '{device}': power.off")
        time.sleep(power.pause_s)


def power_on(power: PowerTable | None, device: str) -> None:
    """Give it again. Raises as `power_off`."""
    power = _switch(power, device)
    if power.relay is not None:
        _send(power.relay, power.relay.on)
    else:
        assert power.on is not None
        run_command(power.on, f"device '{device}': power.on")


def _switch(power: PowerTable | None, device: str) -> PowerTable:
    if power is None:
        raise UsageError("its power cannot be cut", where=f"device '{device}'", hint="add a table 'power'")
    return power


def _send(relay: RelayTable, command: bytes) -> None:
    port = open_port(relay.port, relay.baud)
    try:
        port.write(command)
        port.flush()
    except (serial.SerialException, OSError) as error:
        raise PortError(f"the relay cannot be switched ({error})", where=relay.port) from error
    finally:
        port.close()
