"""Boards that labgrid hands out, in labgrid's own Python environment, with a board whose power is a command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import powered_board
import pytest
from boards_here import require_board
from command_line import run_here
from rig_bundles import write_rig

from edge_ad.firmware_bridge.boards import emulated, find
from edge_ad.firmware_bridge.build import build_firmware
from edge_ad.firmware_bridge.emulator import Emulator

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "EDGE_AD_LABGRID"  # names the Python of an environment that has labgrid
ENVIRONMENT = """
targets:
  bench-3:
    resources:
      RawSerialPort:
        port: {folder}/tty
        speed: 115200
      EdgeBoard:
        payload: posix
        serial: NUC-0042
        board: {board}
    drivers:
      EdgeBoardDriver: {{}}
      ExternalPowerDriver:
        cmd_on: {python} {script} {folder} on
        cmd_off: {python} {script} {folder} off
        delay: 0.0
imports:
  - edge_ad.rig.labgrid
"""
NETWORK = """
targets:
  main:
    resources:
      NetworkSerialPort: {{host: 127.0.0.1, port: {port}, protocol: raw}}
      EdgeBoard: {{}}
    drivers:
      EdgeBoardDriver: {{}}
imports:
  - edge_ad.rig.labgrid
"""
CHECKS = "[checks.live]\n[checks.parity]\n[checks.power]\ncuts = 2\n"


@pytest.fixture
def python() -> str:
    found = os.environ.get(PYTHON)
    if not found or not Path(found).exists():
        pytest.skip(f"labgrid has an environment of its own: {PYTHON} names its Python (make test-labgrid)")
    return str(Path(found).absolute())


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Path]:
    """The folder of a running board."""
    require_board("posix")
    folder = tmp_path / "board"
    folder.mkdir()
    shutil.copy(build_firmware(find("posix")), folder / "firmware.elf")
    powered_board.main(folder, "on")
    yield folder
    powered_board.main(folder, "off")


def write_environment(folder: Path, board: Path, name: str = "posix") -> Path:
    script = Path(powered_board.__file__)
    path = folder / "lab.yaml"
    path.write_text(ENVIRONMENT.format(folder=board, board=name, python=sys.executable, script=script))
    return path


def run(python: str, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([python, *map(str, words)], capture_output=True, text=True, env=environment)


def labgrid_rig(folder: Path, bundle: Path, checks: str = CHECKS, role: str = "bench-3") -> Path:
    keys = {"kind": "labgrid", "environment": "lab.yaml", "role": role}
    return write_rig(folder, {"farm": keys}, {"pump": bundle}, checks)


def test_a_farm_hands_a_board_to_a_rig(
    python: str, board: Path, bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    write_environment(tmp_path, board)
    done = run(python, "-m", "edge_ad", "rig", "run", labgrid_rig(tmp_path, bundle_of("pump")), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = {o["check"]: o for o in json.loads(done.stdout)["outcomes"]}
    assert {o["status"] for o in outcomes.values()} == {"passed"} and len(outcomes) == 3
    told = outcomes["parity"]["properties"]
    assert (told["board_serial"], told["address"]) == ("NUC-0042", f"{board}/tty")


def test_a_labgrid_test_has_the_board_as_a_device(
    python: str, board: Path, bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    environment = write_environment(tmp_path, board)
    rig = labgrid_rig(tmp_path, bundle_of("pump"))
    script = tmp_path / "use.py"
    script.write_text(f"""
from labgrid import Environment
target = Environment("{environment}").get_target("bench-3")
driver = target.get_driver("EdgeBoardDriver")
with driver.opened("{rig}") as device:
    boots = [device.client.reboot().boots, device.reset().boots, device.client.reboot().boots]
    assert device.has_power_switch
    device.power_cut()
    print(boots, device.power_on().boots, device.properties()["board"])
""")
    done = run(python, script)
    assert done.returncode == 0 and done.stdout == "[2, 1, 2] 1 posix\n", done.stdout + done.stderr


def test_a_port_of_the_network_is_a_port_too(
    python: str, bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    board = emulated(require_board("qemu:mps2-an386"))
    with Emulator(board, state=tmp_path / "state", tcp=True) as emulator:
        (tmp_path / "lab.yaml").write_text(NETWORK.format(port=emulator.url.rpartition(":")[2]))
        file = labgrid_rig(tmp_path, bundle_of("pump"), "[checks.live]\n[checks.parity]\n", "main")
        done = run(python, "-m", "edge_ad", "rig", "run", file, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [o["status"] for o in json.loads(done.stdout)["outcomes"]] == ["passed", "passed"]


def test_what_labgrid_cannot_do_is_one_line(
    python: str, board: Path, bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    bundle = bundle_of("pump")
    write_environment(tmp_path, board, "nucleo-h743zi2")
    for role, told in (
        ("bench-3", "'posix' answers, the environment says 'nucleo-h743zi2'"),
        ("other", "'other'"),
    ):
        file = labgrid_rig(tmp_path, bundle, "[checks.live]\n", role)
        done = run(python, "-m", "edge_ad", "rig", "run", file, "--json")
        (outcome,) = json.loads(done.stdout)["outcomes"]
        assert done.returncode == 1 and outcome["status"] == "error" and told in outcome["message"], outcome


def test_without_labgrid_the_extra_is_named(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("serial")
    try:
        import labgrid  # noqa: F401

        pytest.skip("labgrid is installed here")
    except ImportError:
        pass
    done = run_here("rig", "run", labgrid_rig(tmp_path, bundle_of("pump"), "[checks.live]\n"), "--json")
    assert done.code == 1 and "edge-ad[labgrid]" in json.loads(done.out)["outcomes"][0]["message"]
