"""A kernel with a fault is found, and its operator named; a stale bundle on one board of three is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from boards_here import require_board
from command_line import run_here
from planted import faulty_firmware
from rig_bundles import write_rig

from edge_ad.bundle.archive import open_bundle
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.client import open_client
from edge_ad.firmware_bridge.emulator import Emulator

KEYS = {"posix": {"kind": "posix"}, "qemu:mps2-an386": {"kind": "qemu", "machine": "mps2-an386"}}
SLOW_BOARD = pytest.param("qemu:mps2-an386", marks=pytest.mark.slow)


def run(file: Path, code: int, *words: str) -> dict[str, dict]:
    """The outcomes of a rig by device and check."""
    done = run_here("rig", "run", file, "--json", *words)
    assert done.code == code, done.err + done.out
    return {f"{o['device']} {o['check']}": o for o in json.loads(done.out)["outcomes"]}


@pytest.mark.parametrize("address", ["posix", SLOW_BOARD])
@pytest.mark.parametrize("operator", ["depthwise", "mean"])
def test_a_fault_in_a_kernel_is_found_and_its_operator_named(
    operator: str, address: str, bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    """The board refuses the image for its golden vectors, so that it goes there without them for the search."""
    firmware = faulty_firmware(tmp_path, require_board(address), operator)
    devices = {"good": KEYS[address], "bad": {**KEYS[address], "firmware": str(firmware)}}
    file = write_rig(tmp_path, devices, {"slider": bundle_of("slider")}, "[checks.live]\n[checks.parity]\n")
    found = run(file, 4)
    assert [found[f"good {check}"]["status"] for check in ("live", "parity")] == ["passed", "passed"]
    assert found["bad live"]["kind"] == found["bad parity"]["kind"] == "parity"
    figures = found["bad parity"]["figures"]
    assert figures["first_operator"] == operator and figures["differing_bytes"] == 1
    assert f"the first operator that differs is {operator} (step" in found["bad parity"]["message"]


def test_what_was_live_before_the_search_is_live_after_it(
    bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    require_board("posix")
    pump = bundle_of("pump")  # has no depthwise convolution
    firmware = faulty_firmware(tmp_path, "posix", "depthwise")
    devices = {"bad": {"kind": "posix", "firmware": str(firmware)}}
    bundles = {"pump": pump, "slider": bundle_of("slider")}
    found = run(write_rig(tmp_path, devices, bundles, "[checks.parity]\n"), 4)
    assert found["bad parity"]["figures"]["first_operator"] == "depthwise"
    with open_bundle(pump) as bundle:
        image = bundle.read(bundle.manifest.payload("posix").model)
    with (
        Emulator(find("posix"), state=tmp_path / "boards" / "bad") as board,
        open_client(board.url) as client,
    ):
        assert client.hello().live_crc == int.from_bytes(image[12:16], "little")


def test_a_fault_that_golden_vectors_miss_is_found_by_random_inputs(
    bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    require_board("posix")
    firmware = faulty_firmware(tmp_path, "posix", "fully_connected", rare=211)
    devices = {"bad": {"kind": "posix", "firmware": str(firmware)}}
    file = write_rig(tmp_path, devices, {"pump": bundle_of("pump")}, "[checks.parity]\ninputs = 400\n")
    found = run(file, 4)["bad parity"]
    assert found["message"].startswith("random input ") and "(seed 0): 'output' differs" in found["message"]
    assert found["figures"]["first_operator"] == "fully_connected"


@pytest.mark.parametrize("third", ["posix", pytest.param("qemu:mps3-an547", marks=pytest.mark.slow)])
def test_a_stale_bundle_on_one_board_of_three_is_found(
    third: str, bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    for address in ("posix", third):
        require_board(address)
    keys = {"kind": "posix"} if third == "posix" else {"kind": "qemu", "machine": "mps3-an547"}
    devices = {"one": {"kind": "posix"}, "two": {"kind": "posix"}, "three": keys}
    new, old = bundle_of("pump"), bundle_of("fan")
    run(write_rig(tmp_path, devices, {"pump": new}, "[checks.live]\n"), 0)
    run(write_rig(tmp_path, devices, {"pump": old}, "[checks.live]\n"), 0, "--device", "two")
    expected = {name: {**keys, "flash": False} for name, keys in devices.items()}
    found = run(write_rig(tmp_path, expected, {"pump": new}, "[checks.live]\n[checks.parity]\n"), 3)
    assert {name: o["status"] for name, o in found.items()} == {
        "one live": "passed", "one parity": "passed", "three live": "passed", "three parity": "passed",
        "two live": "failed", "two parity": "skipped",
    }  # fmt: skip
    assert (
        found["two live"]["kind"] == "quality"
        and "another model is live: image" in found["two live"]["message"]
    )
