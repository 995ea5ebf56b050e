"""Devices of kind mlperf: what a board prints in text is held to a bundle, and its time to a limit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from boards_here import require_board
from command_line import run_here
from foreign_board import ForeignBoard
from rig_bundles import write_rig

from edge_ad.firmware_bridge.boards import emulated
from edge_ad.firmware_bridge.client import open_client
from edge_ad.firmware_bridge.emulator import Emulator
from edge_ad.firmware_bridge.flasher import flash_image
from edge_ad.runtime.deployment import load

QUICK = "[checks.performance]\nwindows = 2\nseconds = 0.05\n"


@contextmanager
def board_with(bundle: Path, address: str, target: str, state: Path) -> Iterator[str]:
    """The port of a board that answers in text and holds the bundle's model."""
    board = emulated(require_board(address))
    with load(bundle, target=target) as live:
        image = (live.folder / live.manifest.payload(target).model).read_bytes()
    with Emulator(board, state=state, dialect="mlperf") as emulator:
        with open_client(emulator.url) as client:
            client.hello()
            flash_image(client, image)
        emulator.cut_power()
        emulator.restart()
        yield emulator.url


def run(file: Path, code: int) -> dict[str, dict]:
    done = run_here("rig", "run", file, "--json")
    assert done.code == code, done.err + done.out
    return {o["check"]: o for o in json.loads(done.out)["outcomes"]}


@pytest.mark.parametrize(("address", "target"), [("posix", "posix"), ("qemu:mps2-an386", "cortex-m4")])
@pytest.mark.parametrize("form", ["integers", "float32"])
def test_a_board_of_ours_prints_what_its_bundle_computes(
    address: str, target: str, form: str, bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    with board_with(bundle_of("valve"), address, target, tmp_path / "state") as port:
        devices = {"text": {"kind": "mlperf", "port": port}}
        checks = f'[checks.live]\n[checks.parity]\n[checks.accuracy]\nform = "{form}"\n{QUICK}'
        found = run(write_rig(tmp_path, devices, {"valve": bundle_of("valve")}, checks), 0)
    assert {name: o["status"] for name, o in found.items()} == {
        "live": "skipped", "parity": "skipped", "accuracy": "passed", "performance": "passed",
    }  # fmt: skip
    assert found["accuracy"]["figures"]["inputs"] > 8  # golden and random ones
    assert found["accuracy"]["properties"]["board"] == f"edge-ad {address.removeprefix('qemu:')}"
    assert found["performance"]["figures"]["latency_us"] > 0


def test_another_model_and_a_slow_one_are_found(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    with board_with(bundle_of("pump"), "posix", "posix", tmp_path / "state") as port:
        devices = {"text": {"kind": "mlperf", "port": port}}
        checks = f"[checks.accuracy]\n{QUICK}most_us = 0.0001\n"
        found = run(write_rig(tmp_path, devices, {"fan": bundle_of("fan")}, checks), 4)
        assert found["accuracy"]["kind"] == "parity" and " of input 0 is " in found["accuracy"]["message"]
        assert (
            found["performance"]["kind"] == "quality" and "allowed are 0.0" in found["performance"]["message"]
        )
        lenient = "[checks.accuracy]\ntolerance = 1000\n"
        run(write_rig(tmp_path, devices, {"fan": bundle_of("fan")}, lenient), 0)


def test_a_foreign_board_with_another_network(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    with ForeignBoard() as board:
        file = write_rig(
            tmp_path, {"foreign": {"kind": "mlperf", "port": board.path}}, {"pump": bundle_of("pump")},
            f"[checks.accuracy]\n{QUICK}",
        )  # fmt: skip
        found = run(file, 4)
    assert "the board prints 2 numbers, the network has 32" in found["accuracy"]["message"]
    assert (
        found["performance"]["status"] == "passed" and found["performance"]["figures"]["latency_us"] == 1500
    )


def test_checks_of_text_boards_are_for_those(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    require_board("posix")
    file = write_rig(
        tmp_path, {"one": {"kind": "posix"}}, {"pump": bundle_of("pump")}, f"[checks.accuracy]\n{QUICK}"
    )
    assert {o["status"] for o in run(file, 0).values()} == {"skipped"}


def test_nothing_is_flashed_in_text(tmp_path: Path) -> None:
    file = write_rig(
        tmp_path, {"t": {"kind": "mlperf", "port": "/dev/x", "flash": True}}, {"b": tmp_path / "b"}, ""
    )
    done = run_here("rig", "run", file)
    assert done.code != 0 and "device[1].flash" in done.error
