"""A rig file with a mistake is refused with the table, the key, and what it might have been."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run_here

from edge_ad.rig import cells, load_rig

GOOD = """
[[device]]
name = "m4"
kind = "qemu"
machine = "mps2-an386"

[[device]]
name = "nucleo"
kind = "serial"
port = "/dev/serial/by-id/usb-STM-if02"
program = "nucleo-h743zi2"
reset = "st-flash reset"
power = { relay = { port = "/dev/ttyUSB7", off = [0xA0, 0x01, 0x00, 0xA1], on = "on\\r\\n", pause_s = 0.5 } }
flash = false

[[device]]
name = "box"
kind = "ssh"
address = "ssh://user@box/opt/line3"
power = { off = "uhubctl -a off -p 2", on = ["uhubctl", "-a", "on", "-p", "2"] }

[[bundle]]
name = "pump"
path = "pump.edgead"

[[bundle]]
name = "fan"
path = "fan.edgead"
devices = ["box"]

[checks.parity]
bundles = ["pump"]

[checks.budget]
devices = ["m4"]
"""


def test_the_matrix_is_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "line3.toml").write_text(GOOD)
    rig = load_rig(tmp_path / "line3.toml")
    assert rig.name == "line3" and rig.resolve(rig.bundles[0].path) == tmp_path / "pump.edgead"
    nucleo, box = rig.devices[1:]
    assert nucleo.reset == ["st-flash", "reset"] and nucleo.power.relay.off == b"\xa0\x01\x00\xa1"
    assert nucleo.power.relay.on == b"on\r\n" and box.power.off == ["uhubctl", "-a", "off", "-p", "2"]
    assert [(c.device.name, c.bundle.name, c.check) for c in cells(rig)] == [
        ("m4", "pump", "parity"), ("m4", "pump", "budget"), ("nucleo", "pump", "parity"), ("box", "pump", "parity"),
    ]  # fmt: skip
    assert [c.device.name for c in cells(rig, devices=["nucleo"])] == ["nucleo"]


def test_without_checks_there_are_two(tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(GOOD.partition("[checks")[0])
    assert [c.check for c in cells(load_rig(tmp_path / "rig.toml"), devices=["m4"])] == ["live", "parity"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("machine =", "machne =", "device[1].machne: unknown key; did you mean 'machine'?"),
        ('machine = "mps2-an386"', "", "device[1].machine: is missing"),
        ('kind = "ssh"', 'kind = "shs"', "device[3].kind: is unknown; known: "),
        ('kind = "ssh"', "", "device[3].kind: is missing; known: "),
        ("ssh://user@box/opt/line3", "box", "device[3].address: 'box' is no address"),
        ('name = "box"', 'name = "m4"', "two devices are called 'm4'"),
        ('["box"]', '["bax"]', "bundle 'fan': devices: there is no 'bax'; did you mean 'box'?"),
        ('["pump"]', '["pomp"]', "checks.parity: bundles: there is no 'pomp'; did you mean 'pump'?"),
        ('["m4"]', '["m4"]\ninstruction = 1', "checks.budget.instruction: unknown key; did you mean 'instructions'?"),
        ("[checks.budget]", "[checks.budgets]", "checks.budgets: unknown key; did you mean 'budget'?"),
        ("0xA1]", "0x1A1]", "device[2].power.relay.off: bytes are whole numbers from 0 to 255"),
        ('"on\\r\\n"', '""', "device[2].power.relay.on: there is nothing to send"),
        ('off = "uhubctl -a off -p 2", ', "", "device[3].power: give the commands 'off' and 'on', or a 'relay'"),
        ("[[bundle]]", "[[bundles]]", "bundles: unknown key; did you mean 'bundle'?"),
        ("pump.edgead", 'pump.edgead"""', "is no TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(old: str, new: str, told: str, tmp_path: Path) -> None:
    assert GOOD.count(old) >= 1
    (tmp_path / "rig.toml").write_text(GOOD.replace(old, new))
    done = run_here("rig", "run", tmp_path / "rig.toml")
    assert done.code == 2 and told in done.error, done.error


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    done = run_here("rig", "run", tmp_path / "no.toml")
    assert done.code == 2 and "there is no such file" in done.error
    (tmp_path / "rig.toml").write_text(GOOD)
    done = run_here("rig", "run", tmp_path / "rig.toml", "--device", "m7")
    assert done.code == 2 and "the rig has no device 'm7'; it has: m4, nucleo, box" in done.error
