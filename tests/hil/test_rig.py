"""The example rig: two boards of QEMU and the POSIX board, side by side, four bundles, every check."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from boards_here import require_board
from command_line import run_here
from rig_bundles import NETWORKS, make_bundle

HERE = Path(__file__).resolve().parent
BOARDS = {"m4": "qemu:mps2-an386", "m55": "qemu:mps3-an547", "posix": "posix"}
ENDURANCE = "[checks.endurance]\ninferences = 10_000\nbundles = ['pump']\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundles."""
    folder = tmp_path_factory.mktemp("hil") / "work"
    folder.mkdir()
    for name in NETWORKS:
        make_bundle(folder, name)
    return folder


@pytest.fixture
def file(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The rig file, with its bundles, somewhere else."""
    monkeypatch.setenv("EDGE_AD_LOCKS", str(tmp_path / "locks"))
    shutil.copytree(made, tmp_path / "work")
    return Path(shutil.copy(HERE / "rig.toml", tmp_path))


def test_three_boards_hold_what_four_bundles_have_to(file: Path, tmp_path: Path) -> None:
    assert run_here("rig", "baseline", file).code == 0
    done = run_here(
        "rig", "run", file, "--json", "--junit", tmp_path / "rig.xml", "--html", tmp_path / "rig.html"
    )
    assert done.code == 0, done.err + done.out
    outcomes = json.loads(done.out)["outcomes"]
    assert len(outcomes) == 3 * (4 * 2 + 1 + 2 + 1 + 1 + 1)
    reasons = {o["device"]: o["message"] for o in outcomes if o["status"] == "skipped"}
    assert all(o["status"] == "passed" for o in outcomes if o["device"] not in reasons)
    for device, reason in reasons.items():
        assert " needs " in reason  # a tool that is not installed
        with pytest.raises(pytest.skip.Exception):
            require_board(BOARDS[device])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_inferences_on_each_board_lose_no_frame(file: Path) -> None:
    for address in BOARDS.values():
        require_board(address)
    file.write_text(file.read_text().partition("[checks.live]")[0] + ENDURANCE)
    done = run_here("rig", "run", file, "--json")
    assert done.code == 0, done.err + done.out
    for outcome in json.loads(done.out)["outcomes"]:
        figures = outcome["figures"]
        assert figures["carried_out"] == figures["inferences"] == 10_000 and figures["wrong"] == 0
        assert (
            figures["frames"] == figures["frames_sent"]
            and figures["repeated"] == figures["rejected_frames"] == 0
        )
