"""`edge-ad flash --to ssh://…` against real sshd processes, one a device."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import sshd
from deployments import changed
from series_bundle import make_series_bundle

from edge_ad.bundle.archive import open_bundle
from edge_ad.runtime.golden import npz_bytes

pytest.importorskip("openvino")


@dataclass
class Site:
    """Three devices, and what flashes them."""

    folder: Path
    devices: list[sshd.Device]
    environment: dict[str, str]
    edge_ad: Path

    def start(self, *words: object, environment: dict[str, str] = {}) -> subprocess.Popen[str]:  # noqa: B006
        return subprocess.Popen(
            [sys.executable, "-m", "edge_ad", "flash", *map(str, words)], cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**self.environment, **environment},
        )  # fmt: skip

    def flash(
        self, *words: object, command: Path | str | None = None, **environment: str
    ) -> tuple[int, str, str]:
        words = (*words, "--remote-command", command or self.edge_ad)
        process = self.start(*words, environment=environment)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def flashed(self, bundle: str, devices: Sequence[sshd.Device], *words: object) -> list[dict[str, Any]]:
        code, out, err = self.flash(bundle, *to(*devices), "--json", *words)
        assert code == 0, err
        found: list[dict[str, Any]] = json.loads(out)
        return found

    def refused(
        self, *words: object, code: int = 1, command: Path | str | None = None, **environment: str
    ) -> str:
        found, _, err = self.flash(*words, command=command, **environment)
        assert found == code, err
        return err.splitlines()[-1]


def to(*devices: sshd.Device) -> list[str]:
    return [word for device in devices for word in ("--to", device.address)]


def live(device: sshd.Device) -> str | None:
    link = device.root / "current"
    return link.readlink().name if link.is_symlink() else None


def digest(bundle: Path) -> str:
    with open_bundle(bundle) as opened:
        return opened.digest


def arrived(device: sshd.Device) -> set[str]:
    """Digests of the files that wait for the rest of their bundle."""
    return {path.name for path in (device.root / ".incoming").glob("*") if len(path.name) == 64}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("ssh")
    sshd.program()
    identity, known_hosts = sshd.keys(folder), folder / "known_hosts"
    make_series_bundle(folder / "first.edgead")
    make_series_bundle(folder / "second.edgead", length=4)
    environment = {**os.environ, "EDGE_AD_SSH": sshd.client(identity, known_hosts)}
    with ExitStack() as opened:
        devices = [
            opened.enter_context(sshd.running(folder / name, identity, known_hosts))
            for name in ("one", "two", "three")
        ]
        yield Site(folder, devices, environment, sshd.wrapper(folder / "edge-ad"))


@pytest.fixture
def site(running: Site) -> Site:
    """Nothing has been flashed yet."""
    for device in running.devices:
        shutil.rmtree(device.root, ignore_errors=True)
    return running


def test_three_devices_at_once_and_then_only_what_changed(site: Site) -> None:
    first, second = (digest(site.folder / f"{name}.edgead") for name in ("first", "second"))
    code, out, err = site.flash("first.edgead", *to(*site.devices))
    assert code == 0, err
    rows = [line for line in out.splitlines() if line.startswith("ssh://")]
    assert len(rows) == 3 and all(" live " in row and first[:12] in row for row in rows)
    for found in site.flashed("first.edgead", site.devices):
        assert found["sent_bytes"] == 0 and found["installed"]["digest"] == first
    # Of the second bundle, files that it shares with the first are not sent.
    with open_bundle(site.folder / "first.edgead") as bundle:
        there = {entry.sha256 for entry in bundle.manifest.files.values()}
    with open_bundle(site.folder / "second.edgead") as bundle:
        wanted = {n: e for n, e in bundle.manifest.files.items() if e.sha256 not in there}
    for found in site.flashed("second.edgead", site.devices):
        assert found["sent_files"] == sorted(wanted)
        assert found["sent_bytes"] == sum(entry.size for entry in wanted.values())
        assert (found["installed"]["digest"], found["installed"]["previous"]) == (second, first)
    for device in site.devices:
        assert live(device) == second and not (device.root / ".incoming").exists()
        assert sorted(p.name for p in (device.root / "releases").iterdir() if p.is_dir()) == sorted(
            [first, second]
        )


def test_a_device_that_computes_something_else_keeps_its_bundle_and_stops_no_other(site: Site) -> None:
    first, second = (digest(site.folder / f"{name}.edgead") for name in ("first", "second"))
    site.flashed("first.edgead", site.devices)
    odd = site.folder / "odd"
    odd.mkdir()
    (odd / "sitecustomize.py").write_text(
        "from edge_ad.runtime.engines.openvino import OpenVinoEngine as E\n"
        "right = E.infer\n"
        "E.infer = lambda self, batch: {name: value + 1 for name, value in right(self, batch).items()}\n"
    )
    mixed = sshd.wrapper(site.folder / "mixed")
    text = mixed.read_text().replace(
        "exec", f'case "$*" in *{site.devices[2].root}*) PYTHONPATH={odd}:$PYTHONPATH;; esac\nexec'
    )
    mixed.write_text(text)
    code, out, err = site.flash("second.edgead", *to(*site.devices), "--json", command=mixed)
    assert code == 4, err
    found = json.loads(out)
    assert [one.get("exit_code", 0) for one in found] == [0, 0, 4]
    assert "golden vector 0: 'map' differs by 1" in found[2]["error"]
    assert [live(device) for device in site.devices] == [second, second, first]
    assert not (site.devices[2].root / "releases" / second).exists()


def test_a_bundle_that_was_altered_never_goes_live(site: Site) -> None:
    """Its digests are in order, its golden vectors are not those of its network."""
    first, device = digest(site.folder / "first.edgead"), site.devices[0]
    site.flashed("first.edgead", [device])
    with open_bundle(site.folder / "second.edgead") as bundle:
        name = bundle.manifest.payloads[0].golden.file
        golden = np.load(io.BytesIO(bundle.read(name)))
        arrays = {key: golden[key] for key in golden.files}
    arrays["map"] = arrays["map"] + np.float32(1)
    changed(site.folder / "second.edgead", site.folder / "bad.edgead", {name: npz_bytes(arrays)})
    assert "golden vector 0" in site.refused("bad.edgead", *to(device), code=4)
    assert live(device) == first and not (device.root / ".incoming").exists()
    for path in (site.folder / "cut.edgead",):  # and one that is damaged reaches no device
        path.write_bytes((site.folder / "second.edgead").read_bytes()[:-30])
        assert "cut.edgead: ends early" in site.refused("cut.edgead", *to(device))


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({"architectures": ["vax"]}, "it is for vax, this is "),
        ({"engine": "abacus"}, "its engine is not installed there: pip install 'edge-ad[abacus]'"),
        ({"engine": "board"}, "it is for a microcontroller"),
    ],
)
def test_what_a_device_cannot_run_is_refused_before_anything_is_copied(
    site: Site, update: dict[str, Any], said: str
) -> None:
    changed(site.folder / "first.edgead", site.folder / "odd.edgead", **update)
    device = site.devices[0]
    assert said in site.refused("odd.edgead", *to(device))
    assert said in site.refused("odd.edgead", *to(device), "--target", "cpu")
    assert not device.root.exists()


def test_a_dry_run_tells_and_changes_nothing(site: Site) -> None:
    device = site.devices[0]
    found = site.flashed("first.edgead", [device], "--dry-run")[0]
    assert found["installed"] is None and found["target"] == "cpu" and len(found["sent_files"]) >= 3
    assert found["device"]["live"] is None and "openvino" in found["device"]["engines"]
    assert not device.root.exists()


def test_rollback(site: Site) -> None:
    first, second = (digest(site.folder / f"{name}.edgead") for name in ("first", "second"))
    two = site.devices[:2]
    site.flashed("first.edgead", two)
    assert "has no previous bundle" in site.refused("--rollback", *to(*two))
    site.flashed("second.edgead", two)
    code, out, err = site.flash("--rollback", *to(*two))
    assert code == 0 and out.count("rolled back") == 2, err
    assert [live(device) for device in two] == [first, first]
    assert [found["installed"]["previous"] for found in site.flashed("second.edgead", two)] == [first, first]
    assert [live(device) for device in two] == [second, second]


def test_a_flash_that_is_cut_off_leaves_the_old_bundle_and_goes_on_where_it_was(site: Site) -> None:
    device, first = site.devices[0], digest(site.folder / "first.edgead")
    site.flashed("first.edgead", [device])
    rng = np.random.default_rng(0)
    big = {f"x/{i}": rng.bytes(1_000_000) for i in range(12)}
    new = changed(site.folder / "second.edgead", site.folder / "big.edgead", big)
    slow = shlex.join([sys.executable, str(Path(__file__).parents[1] / "support" / "slow_ssh.py")])
    process = site.start(
        "big.edgead", *to(device), "--remote-command", site.edge_ad,
        environment={"EDGE_AD_SSH": f"{slow} {site.environment['EDGE_AD_SSH']}"},
    )  # fmt: skip
    end = time.monotonic() + 60
    while len(arrived(device)) < 6:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = arrived(device)
    assert live(device) == first
    assert site.flashed("big.edgead", [device], "--dry-run")[0]["device"]["live"] == first
    found = site.flashed("big.edgead", [device])[0]
    assert live(device) == new == found["installed"]["digest"]
    with open_bundle(site.folder / "big.edgead") as bundle:
        sent = {bundle.manifest.files[name].sha256 for name in found["sent_files"]}
    assert sent and not sent & kept  # what had arrived was not sent again


def test_a_connection_that_cannot_be_is_one_line_with_what_to_try(site: Site, tmp_path: Path) -> None:
    device = site.devices[0]
    wrong = tmp_path / "known_hosts"
    other = (site.devices[1].folder / "host.pub").read_text().split()[:2]
    wrong.write_text(f"[127.0.0.1]:{device.port} {' '.join(other)}\n")
    identity = site.folder / "id"
    said = site.refused("first.edgead", *to(device), EDGE_AD_SSH=sshd.client(identity, wrong))
    assert "Host key verification failed" in said and "compare its key" in said
    stranger = sshd.keys(tmp_path)
    said = site.refused(
        "first.edgead", *to(device), EDGE_AD_SSH=sshd.client(stranger, site.folder / "known_hosts")
    )
    assert "Permission denied" in said and "ssh-copy-id" in said
    assert "Connection refused" in site.refused("first.edgead", "--to", "ssh://127.0.0.1:1/opt/x")
    assert "there is no 'nowhere' on the device" in site.refused(
        "first.edgead", *to(device), command="nowhere"
    )
    assert "there is no ssh on this machine" in site.refused(
        "first.edgead", *to(device), EDGE_AD_SSH="no-such-ssh"
    )
    old = sshd.wrapper(tmp_path / "old", command="sh -c 'echo Error: No such command >&2; exit 2'")
    assert "is too old to be flashed over ssh" in site.refused("first.edgead", *to(device), command=old)
    assert not device.root.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["first.edgead", "--to", "ssh://-oProxyCommand=x/opt/x"], "is no host"),
        (["first.edgead", "--to", "ssh://-l@box/opt/x"], "is no user"),
        (["first.edgead", "--to", "ssh://box"], "names no folder"),
        (["first.edgead", "--to", "ssh://u:secret@box/opt/x"], "holds no password"),
        (["first.edgead", "--to", "ssh://box:99999/opt/x"], "is no address"),
        (["first.edgead", "--to", "ssh://box/opt/x", "--to", "dir:x"], "over ssh only"),
        (["first.edgead", "--to", "ssh://box/x", "--to", "ssh://box/x"], "named twice"),
        (["first.edgead", "--to", "dir:x", "--dry-run"], "--dry-run goes with --to ssh"),
        (["--rollback", "--to", "ssh://box/x", "--dry-run"], "--dry-run tells of a flash"),
    ],
)
def test_addresses_that_are_none(site: Site, words: list[str], said: str) -> None:
    assert said in site.refused(*words, code=2)


def test_a_folder_with_blanks_and_quotes_is_taken_literally(site: Site) -> None:
    device = site.devices[0]
    root = device.root.with_name("a b'$(touch x);c")
    code, _, err = site.flash("first.edgead", "--to", f"ssh://127.0.0.1:{device.port}{quote(str(root))}")
    assert code == 0, err
    assert (root / "current").is_symlink()


SYSTEMCTL = """#!/bin/sh
# A systemd of one unit, which comes up unless the second bundle is live.
echo "$*" >> {log}
case "$1" in
  restart) case $(readlink {root}/current) in *{bad}) echo "Job for $3 failed." >&2; exit 1;; esac ;;
  is-active) echo active ;;
esac
"""


def test_a_unit_that_does_not_come_up_takes_the_device_back(site: Site, tmp_path: Path) -> None:
    device = site.devices[0]
    first, second = (digest(site.folder / f"{name}.edgead") for name in ("first", "second"))
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_text(SYSTEMCTL.format(log=tmp_path / "log", root=device.root, bad=second))
    systemctl.chmod(0o755)
    command = sshd.wrapper(tmp_path / "edge-ad", {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"})
    code, out, err = site.flash("first.edgead", *to(device), "--restart", "line3", command=command)
    assert code == 0 and "live, line3 up" in out, err
    said = site.refused("second.edgead", *to(device), "--restart", "line3", command=command)
    assert f"did not come up (Job for line3 failed.); rolled back to {first[:12]}, which runs again" in said
    assert live(device) == first
    assert (tmp_path / "log").read_text().splitlines().count("restart -- line3") == 3


def test_a_station_is_sent_and_gets_its_unit(site: Site, tmp_path: Path) -> None:
    device = site.devices[0]
    (site.folder / "line.toml").write_text(
        f'node = "line3"\n[[stream]]\nname = "a"\nbundle = "dir:{device.root}"\nsource = "lines:/dev/ttyUSB0"\n'
    )
    units = tmp_path / "units"
    units.mkdir()
    words = ("--service", "line.toml", "--service-folder", units, "--service-name", "line3")
    code, _, err = site.flash("first.edgead", *to(device), *words)
    assert code == 0, err
    unit = (units / "line3.service").read_text()
    assert f'"{device.root}/station.toml"' in unit
    assert (device.root / "station.toml").read_text() == (site.folder / "line.toml").read_text()
    (site.folder / "line.toml").write_text("nonsense = 1\n")
    assert "nonsense" in site.refused("first.edgead", *to(device), *words, code=2)


def test_a_signature_is_asked_for_before_a_device_is(site: Site, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from edge_ad.bundle.archive import sign_bundle
    from edge_ad.bundle.signature import make_keys, read_private_key

    device = site.devices[0]
    make_keys(tmp_path / "k.key", tmp_path / "k.pub")
    key = ("--require-signature", tmp_path / "k.pub")
    assert "is not signed" in site.refused("first.edgead", *to(device), *key)
    assert not device.root.exists()
    shutil.copy(site.folder / "first.edgead", site.folder / "signed.edgead")
    sign_bundle(site.folder / "signed.edgead", read_private_key(tmp_path / "k.key"))
    site.flashed("signed.edgead", [device], *key)
    assert (device.root / "current" / "signatures.json").is_file()
