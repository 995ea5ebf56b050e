"""Linux devices behind real sshd processes: flashed, proved, scored, and a stale one found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sshd
from command_line import run_here
from rig_bundles import write_rig
from series_bundle import make_series_bundle

pytest.importorskip("openvino")


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sshd.Device]:
    sshd.program()
    identity, known_hosts = sshd.keys(tmp_path), tmp_path / "known_hosts"
    monkeypatch.setenv("EDGE_AD_SSH", sshd.client(identity, known_hosts))
    with sshd.running(tmp_path / "box", identity, known_hosts) as device:
        yield device


def run(file: Path, code: int) -> dict[str, dict]:
    done = run_here("rig", "run", file, "--json")
    assert done.code == code, done.err + done.out
    return {outcome["check"]: outcome for outcome in json.loads(done.out)["outcomes"]}


@pytest.mark.slow
def test_a_linux_device_is_checked_as_a_board_is(box: sshd.Device, tmp_path: Path) -> None:
    bundle, other = tmp_path / "a.edgead", tmp_path / "b.edgead"
    make_series_bundle(bundle, rate_hz=10.0)
    make_series_bundle(other, rate_hz=20.0)
    keys = {"kind": "ssh", "address": box.address, "remote_command": str(sshd.wrapper(tmp_path / "edge-ad"))}
    checks = "[checks.live]\n[checks.parity]\n[checks.scores]\n[checks.budget]\n[checks.link]\n"
    file = write_rig(tmp_path, {"box": keys}, {"pump": bundle}, checks)
    rows = np.random.default_rng(0).normal(size=(40, 2))
    np.savetxt(tmp_path / "rows.csv", rows, delimiter=",", header="a,b", comments="")
    file.write_text(file.read_text().replace('name = "pump"', 'name = "pump"\ndata = "rows.csv"'))
    done = run_here("rig", "baseline", file)
    assert done.code == 0, done.err
    found = run(file, 0)
    assert found["scores"]["figures"]["inputs"] == 33  # windows of 8 rows
    assert found["scores"]["figures"]["device_scores"] == found["scores"]["figures"]["host_scores"]
    assert found["live"]["status"] == found["parity"]["status"] == found["budget"]["status"] == "passed"
    assert found["parity"]["figures"]["golden_vectors"] > 0
    assert found["link"]["status"] == "skipped" and "boards that speak the link" in found["link"]["message"]
    assert found["live"]["properties"]["address"] == box.address
    stale = write_rig(tmp_path, {"box": {**keys, "flash": False}}, {"pump": other}, checks)
    found = run(stale, 3)
    assert "another bundle is live: " in found["live"]["message"] and found["parity"]["status"] == "skipped"
