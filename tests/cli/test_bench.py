"""`edge-ad bench`: payloads side by side, what cannot run here, and one that disagrees with its host."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from series_bundle import make_series_bundle

from edge_ad.bundle.archive import open_bundle, write_bundle
from edge_ad.bundle.manifest import FileEntry

pytest.importorskip("openvino")


def edge_ad(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_ad", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A payload that runs, the same once more, one for another kind of machine and one for a board."""
    folder = tmp_path_factory.mktemp("bench")
    make_series_bundle(folder / "one.edgead")
    with open_bundle(folder / "one.edgead") as bundle:
        members = {name: bundle.read(name) for name in bundle.manifest.files}
        only = bundle.manifest.payloads[0]
        others = [
            only.model_copy(update=update)
            for update in (
                {"target": "twin"}, {"target": "elsewhere", "architectures": ["vax"]},
                {"target": "cortex-m4", "engine": "board"},
            )
        ]  # fmt: skip
        manifest = bundle.manifest.model_copy(update={"payloads": [only, *others]})
    write_bundle(folder / "four.edgead", manifest, members)
    return folder / "four.edgead"


def test_every_payload_that_runs_here_is_measured_and_the_others_are_named(four: Path) -> None:
    done = edge_ad("bench", four, "--seconds", "0.2", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["target"] for one in found] == ["cpu", "twin", "elsewhere", "cortex-m4"]
    for one in found[:2]:
        assert 0 < one["network_ms"] <= one["median_ms"] <= one["p99_ms"]
        assert one["runs"] >= 20 and one["throughput"] == pytest.approx(1000 / one["median_ms"], rel=0.9)
        assert one["load_ms"] > 0 and one["memory_mb"] > 1
        assert one["golden"]["passed"] and one["engine"]["threads"] == 1
    assert found[0]["ratio"] == 1.0
    assert "is for vax" in found[2]["reason"] and "edge-ad verify --target cortex-m4" in found[3]["reason"]


def test_the_table_has_a_line_for_each(four: Path) -> None:
    done = edge_ad("bench", four, "--seconds", "0.1", "--target", "twin", "--target", "elsewhere")
    assert done.returncode == 0, done.stderr
    rows = [line.split()[0] for line in done.stdout.splitlines() if line.rstrip().endswith("agrees")]
    assert rows == ["twin", "elsewhere"]  # named, so it runs although it is for another kind of machine


def test_a_payload_that_disagrees_here_is_exit_4(four: Path, tmp_path: Path) -> None:
    with open_bundle(four) as bundle:
        members = {name: bundle.read(name) for name in bundle.manifest.files}
        only = bundle.manifest.payloads[0]
        gain = only.head.model_copy(update={"params": {**only.head.params, "gain": [2.0]}})
        wrong = only.model_copy(update={"head": gain})
        manifest = bundle.manifest.model_copy(update={"payloads": [wrong]})
    write_bundle(tmp_path / "b.edgead", manifest, members)
    done = edge_ad("bench", tmp_path / "b.edgead", "--seconds", "0.1")
    assert done.returncode == 4
    assert "DISAGREES" in done.stdout and "golden vector" in done.stderr.splitlines()[-1]


def test_what_cannot_be_is_one_line(four: Path, tmp_path: Path) -> None:
    for words, code, said in (
        (["--target", "abacus"], 1, "no payload for target 'abacus'"),
        (["--target", "cortex-m4"], 1, "no payload can run on this machine"),
        (["--seconds", "0"], 2, "--seconds"),
    ):  # fmt: skip
        done = edge_ad("bench", four, *words)
        assert done.returncode == code and said in done.stderr, done.stderr
    with open_bundle(four) as bundle:  # a network that its engine refuses, digests in order
        members = {name: bundle.read(name) for name in bundle.manifest.files}
        model = bundle.manifest.payloads[0].model
        members[model] = b"<net"
        entry = FileEntry(sha256=hashlib.sha256(b"<net").hexdigest(), size=4)
        manifest = bundle.manifest.model_copy(update={"files": {**bundle.manifest.files, model: entry}})
    write_bundle(tmp_path / "b.edgead", manifest, members)
    done = edge_ad("bench", tmp_path / "b.edgead", "--seconds", "0.1")
    assert done.returncode == 1 and "cpu (fp32) not run: " in done.stdout, done.stdout
