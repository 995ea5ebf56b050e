"""Scores, budgets, faulty lines, power cuts, endurance: each holds on a good board, and fails where it must."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards_here import require_board
from command_line import run_here
from planted import faulty_firmware
from rig_bundles import write_rig

from edge_ad.bundle.archive import open_bundle
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.build import build_firmware
from edge_ad.firmware_bridge.faults import Faults, FaultyPort

WIRED = Path(__file__).resolve().parents[1] / "support" / "wired_board.py"
POSIX = {"posix": {"kind": "posix"}}


@pytest.fixture(autouse=True)
def _tools() -> None:
    require_board("posix")


def run(file: Path, code: int, *words: str) -> dict[str, Any]:
    """The only outcome of a rig."""
    done = run_here("rig", "run", file, "--json", *words)
    assert done.code == code, done.err + done.out
    (outcome,) = json.loads(done.out)["outcomes"]
    return outcome


def test_scores_of_recorded_data_are_the_hosts(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    pump = bundle_of("pump")
    file = write_rig(tmp_path, POSIX, {"pump": pump}, "[checks.scores]\nmost_alarms = 0.2\n")
    assert run(file, 0)["message"] == "the bundle has no 'data'"
    told = write_rig(tmp_path, POSIX, {"pump": pump}, "[checks.scores]\nmost_alarms = 0.2\n").read_text()
    rows = np.load(pump.with_suffix(".npy"))
    for name, content, code in (("normal", rows, 0), ("strange", np.concatenate([rows, rows * 9]), 3)):
        np.save(tmp_path / f"{name}.npy", content)
        file.write_text(told.replace('name = "pump"', f'name = "pump"\ndata = "{name}.npy"'))
        outcome = run(file, code)
        figures = outcome["figures"]
        assert figures["rank_correlation"] == pytest.approx(1) and figures["mean_shift"] == 0
        assert figures["device_scores"] == figures["host_scores"] and len(figures["host_scores"]) == len(
            content
        )
        assert figures["alarms"] == np.mean(np.array(figures["device_scores"]) > figures["threshold"])
    assert (
        outcome["kind"] == "quality" and "of the inputs are alarms, allowed are 20.00%" in outcome["message"]
    )


def test_shifted_scores_are_found(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    """The board's last layer gives other bytes for some inputs, which its golden vectors miss."""
    firmware = faulty_firmware(tmp_path, "posix", "fully_connected", rare=211)
    pump = bundle_of("pump")
    devices = {"bad": {"kind": "posix", "firmware": str(firmware)}}
    checks = "[checks.scores]\nleast_correlation = 0.9999\nmost_shift = 0.0001\n"
    file = write_rig(tmp_path, devices, {"pump": pump}, checks)
    rows = np.random.default_rng(5).normal(0, 0.5, (600, 32)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    file.write_text(file.read_text().replace('name = "pump"', 'name = "pump"\ndata = "rows.npy"'))
    assert "scores are shifted by" in run(file, 3)["message"]


def test_budgets_are_held_to_the_baseline(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    file = write_rig(tmp_path, POSIX, {"pump": bundle_of("pump")}, "[checks.budget]\nram = 0.1\n")
    none = run(file, 1)
    assert (
        none["status"] == "error"
        and "there is no baseline; write it: edge-ad rig baseline" in none["message"]
    )
    done = run_here("rig", "baseline", file)
    with open_bundle(bundle_of("pump")) as bundle:
        flash = len(bundle.read(bundle.manifest.payload("posix").model))
    assert done.code == 0 and f"posix pump: flash_bytes {flash:,}" in done.out, done.err
    assert run(file, 0)["figures"]["baseline"]["flash_bytes"] == flash
    kept = json.loads((tmp_path / "baseline.json").read_text())
    costs = kept["devices"]["posix"]["pump"]["costs"]
    costs["ram_bytes"] /= 1.05
    (tmp_path / "baseline.json").write_text(json.dumps(kept))
    assert run(file, 0)["status"] == "passed"
    costs["flash_bytes"] -= 1
    (tmp_path / "baseline.json").write_text(json.dumps(kept))
    over = run(file, 3)
    assert over["message"] == f"flash_bytes went from {flash - 1:,} to {flash:,} (+0.1%), allowed is +0.0%"
    (tmp_path / "baseline.json").write_text("{}")
    assert "is no baseline" in run(file, 1)["message"]


@pytest.mark.slow
def test_instructions_of_a_qemu_board_are_counted_exactly(
    bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    devices = {"m4": {"kind": "qemu", "machine": require_board("qemu:mps2-an386")[5:]}}
    file = write_rig(tmp_path, devices, {"pump": bundle_of("pump")}, "[checks.budget]\n")
    assert run_here("rig", "baseline", file).code == 0
    kept = json.loads((tmp_path / "baseline.json").read_text())
    costs = kept["devices"]["m4"]["pump"]["costs"]
    assert costs["instructions"] > 100 and "latency_us" not in costs
    assert run(file, 0)["figures"]["instructions"] == costs["instructions"]
    costs["instructions"] -= 1
    (tmp_path / "baseline.json").write_text(json.dumps(kept))
    assert "instructions went from" in run(file, 3)["message"]


def test_answers_over_a_faulty_line_are_right(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    checks = "[checks.link]\ninferences = 40\ndrop = 0.001\nflip = 0.001\ndelay_s = 0.01\nseed = 3\n"
    outcome = run(write_rig(tmp_path, POSIX, {"pump": bundle_of("pump")}, checks), 0)
    figures = outcome["figures"]
    assert figures["carried_out"] == figures["inferences"] == 40 and figures["wrong"] == 0
    assert figures["dropped"] > 0 and figures["flipped"] > 0 and figures["repeated"] > 0


@pytest.mark.slow
def test_a_line_that_carries_nothing_fails_the_check(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    checks = "[checks.link]\ndrop = 1.0\n"
    outcome = run(write_rig(tmp_path, POSIX, {"pump": bundle_of("pump")}, checks), 3)
    assert outcome["message"].startswith("after 0 inferences: the board does not answer")


def test_faults_come_at_their_rates_and_again_with_their_seed() -> None:
    class Line:
        """Gives zeros, and keeps what is written."""

        written = b""

        def write(self, data: bytes) -> None:
            self.written += data

    blocks = [bytes(100)] * 400
    kept = []
    for seed in (1, 1, 2):
        line = Line()
        port = FaultyPort(line, Faults(drop=0.05, flip=0.01, seed=seed))
        for block in blocks:
            assert port.write(block) == 100
        kept.append(line.written)
        assert len(line.written) == 40_000 - port.injected.dropped
        assert sum(byte != 0 for byte in line.written) == port.injected.flipped
        assert set(line.written) <= {0, *(1 << bit for bit in range(8))}
        assert 1800 < port.injected.dropped < 2200 and 300 < port.injected.flipped < 460
    assert kept[0] == kept[1] != kept[2]


def test_power_cuts_leave_the_old_model_or_the_new_one(
    bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    bundles = {"pump": bundle_of("pump"), "fan": bundle_of("fan")}
    checks = '[checks.power]\nat = [0.0, 0.3, 0.9, 1.0, 1.0]\nbundles = ["pump"]\n'
    figures = run(write_rig(tmp_path, POSIX, bundles, checks), 0)["figures"]
    assert figures["cuts"] == figures["old"] + figures["new"] == 5 and figures["old"] >= 3


def test_a_board_on_a_port_is_switched_and_reset_by_the_users_commands(
    bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    """Here the other model is the new one without its golden vectors, since the rig has no other."""
    switch = [sys.executable, str(WIRED), str(build_firmware(find("posix"))), str(tmp_path)]
    keys = {"kind": "serial", "port": str(tmp_path / "tty"), "serial": "B-7"}
    checks = "[checks.power]\nat = [0.5, 1.0]\n"
    file = write_rig(tmp_path, {"wired": keys}, {"pump": bundle_of("pump")}, checks)
    power = f"power = {{ off = {json.dumps([*switch, 'off'])}, on = {json.dumps([*switch, 'on'])}, pause_s = 0 }}\n"
    plain = file.read_text()
    subprocess.run([*switch, "on"], check=True)
    try:
        assert run(file, 0)["message"] == "its power cannot be cut: it has no table 'power'"
        file.write_text(plain.replace("[[bundle]]", f"{power}[[bundle]]"))
        outcome = run(file, 0)
        assert outcome["figures"]["cuts"] == 2 and outcome["properties"]["board_serial"] == "B-7"
        # The same at a command's expense: what the budget check restarts is told in `reset`.
        reset = json.dumps([sys.executable, "-c", f"import sys; open({str(tmp_path / 'reset')!r}, 'w')"])
        file.write_text(
            plain.replace("[[bundle]]", f"reset = {reset}\n[[bundle]]").replace(checks, "[checks.budget]\n")
        )
        assert run_here("rig", "baseline", file).code == 0 and (tmp_path / "reset").exists()
    finally:
        subprocess.run([*switch, "off"], check=True)


def test_nothing_is_lost_and_nothing_grows_over_many_inferences(
    bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    file = write_rig(tmp_path, POSIX, {"pump": bundle_of("pump")}, "[checks.endurance]\ninferences = 500\n")
    figures = run(file, 0)["figures"]
    assert figures["carried_out"] == figures["inferences"] == 500
    assert (
        figures["frames"] == figures["frames_sent"] == 500 * 3 + 50 + 1
    )  # input, run, output; status now and then
    assert len(figures["elapsed_s"]) == len(figures["stack_bytes"]) == 50


def test_a_wrong_answer_among_many_is_found(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    firmware = faulty_firmware(tmp_path, "posix", "fully_connected", rare=211)
    devices = {"bad": {"kind": "posix", "firmware": str(firmware)}}
    checks = "[checks.endurance]\ninferences = 400\ninputs = 400\n"
    outcome = run(write_rig(tmp_path, devices, {"pump": bundle_of("pump")}, checks), 3)
    assert "answers were wrong" in outcome["message"] and outcome["kind"] == "quality"


def test_a_device_that_cannot_be_reached_is_an_error_and_an_optional_one_without_its_tools_is_skipped(
    bundle_of: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = {"pump": bundle_of("pump")}
    keys = {"kind": "serial", "port": str(tmp_path / "ttyNONE"), "optional": True}
    outcome = run(write_rig(tmp_path, {"lost": keys}, bundles, "[checks.live]\n"), 1)
    assert outcome["status"] == "error" and "there is no such serial port" in outcome["message"]
    monkeypatch.setenv("PATH", "")
    keys = {"kind": "qemu", "machine": "mps2-an386", "optional": True}
    outcome = run(write_rig(tmp_path, {"m4": keys}, bundles, "[checks.live]\n"), 0)
    assert outcome["status"] == "skipped" and "needs qemu-system-arm" in outcome["message"]
    keys = {"kind": "qemu", "machine": "mps2-an386"}
    assert run(write_rig(tmp_path, {"m4": keys}, bundles, "[checks.live]\n"), 1)["status"] == "error"
