"""Signed bundles, as a user types it: who asks for a signature gets nothing else, and before anything is copied."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from series_bundle import make_series_bundle

from edge_ad.bundle.archive import open_bundle, sign_bundle, write_bundle
from edge_ad.bundle.signature import read_private_key

pytest.importorskip("openvino")
pytest.importorskip("cryptography")


def edge_ad(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_ad", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def done(*words: object, cwd: Path) -> str:
    result = edge_ad(*words, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(*words: object, cwd: Path) -> str:
    result = edge_ad(*words, cwd=cwd)
    assert result.returncode == 1, result.stdout + result.stderr
    last = result.stderr.splitlines()[-1]  # progress comes before
    assert last.startswith("error: "), result.stderr
    return last


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys `ours` and `theirs`; plain.edgead, signed.edgead (by ours), foreign.edgead (by theirs), rows.npy."""
    folder = tmp_path_factory.mktemp("signatures")
    for name in ("ours", "theirs"):
        done("keygen", "--out", name, cwd=folder)
    make_series_bundle(folder / "plain.edgead")
    for name, key in (("signed", "ours"), ("foreign", "theirs")):
        shutil.copy(folder / "plain.edgead", folder / f"{name}.edgead")
        done("sign", f"{name}.edgead", "--key", f"{key}.key", cwd=folder)
    # The content of another bundle under the signature of the first.
    with open_bundle(folder / "signed.edgead") as source:
        members = {name: source.read(name) for name in source.manifest.files}
        manifest = source.manifest.model_copy(update={"name": "another"})
        write_bundle(folder / "altered.edgead", manifest, members, signatures=source.signatures)
    np.save(folder / "rows.npy", np.random.default_rng(0).normal(0, 0.3, (40, 2)).astype(np.float32))
    return folder


def test_signing_changes_no_digest_and_inspect_tells_who_did(made: Path) -> None:
    told = {
        name: json.loads(done("inspect", f"{name}.edgead", "--json", cwd=made))
        for name in ("plain", "signed", "foreign")
    }
    assert len({one["digest"] for one in told.values()}) == 1
    assert told["plain"]["signed_by"] == [] and len(told["signed"]["signed_by"]) == 1
    text = done("inspect", "signed.edgead", cwd=made)
    assert f"by key {told['signed']['signed_by'][0]} (not checked" in text
    assert "(one of them checked)" in done(
        "inspect", "signed.edgead", "--require-signature", "ours.pub", cwd=made
    )


@pytest.mark.parametrize(
    ("bundle", "said"),
    [
        ("plain", "plain.edgead: is not signed"),
        ("foreign", "foreign.edgead: is signed by"),
        ("altered", "altered.edgead: the signature by ours.pub"),
    ],
)
def test_every_command_refuses_what_is_not_signed(made: Path, tmp_path: Path, bundle: str, said: str) -> None:
    key = ("--require-signature", made / "ours.pub")
    root = tmp_path / "line3"
    for words in (
        ("flash", f"{bundle}.edgead", "--to", f"dir:{root}"),
        ("run", f"{bundle}.edgead", "--source", "rows.npy"),
        ("verify", f"{bundle}.edgead"),
        ("infer", f"{bundle}.edgead", "--input", "rows.npy", "--output", tmp_path / "o.npz"),
    ):
        assert said in refused(*words, *key, cwd=made)
    assert list(tmp_path.iterdir()) == []


def test_what_is_live_stays_and_is_checked_at_every_start(made: Path, tmp_path: Path) -> None:
    key, root = ("--require-signature", made / "ours.pub"), f"dir:{tmp_path}/line3"
    done("flash", "signed.edgead", "--to", root, *key, cwd=made)
    assert "is not signed" in refused("flash", "plain.edgead", "--to", root, *key, cwd=made)
    done("run", root, "--source", "rows.npy", *key, cwd=made)
    done("verify", root, *key, "--require-signature", made / "theirs.pub", cwd=made)
    assert "not by theirs.pub" in refused(
        "run", root, "--source", "rows.npy", "--require-signature", made / "theirs.pub", cwd=made
    )
    live = (tmp_path / "line3" / "current").resolve()
    (live / "signatures.json").unlink()
    assert "is not signed" in refused("run", root, "--source", "rows.npy", *key, cwd=made)
    done("flash", "signed.edgead", "--to", root, *key, cwd=made)  # the same content: its signature comes back
    done("run", root, "--source", "rows.npy", *key, cwd=made)


def test_a_rollback_asks_for_a_signature_too(made: Path, tmp_path: Path) -> None:
    make_series_bundle(tmp_path / "old.edgead", length=4)
    root = f"dir:{tmp_path}/line3"
    done("flash", tmp_path / "old.edgead", "--to", root, cwd=made)
    done("flash", "signed.edgead", "--to", root, cwd=made)
    key = ("--require-signature", made / "ours.pub")
    assert "is not signed" in refused("flash", "--rollback", "--to", root, *key, cwd=made)
    done("verify", root, *key, cwd=made)
    done("flash", "--rollback", "--to", root, cwd=made)


def test_a_station_asks_for_a_signature_by_stream(made: Path, tmp_path: Path) -> None:
    text = """
[[stream]]
name = "one"
bundle = "signed.edgead"
source = "series:rows.npy"
require_signature = "{key}.pub"

[[sink]]
url = "jsonl:events.jsonl"
"""
    for name in ("signed.edgead", "rows.npy", "ours.pub", "theirs.pub"):
        shutil.copy(made / name, tmp_path)
    (tmp_path / "s.toml").write_text(text.format(key="ours"))
    done("run", "s.toml", cwd=tmp_path)
    (tmp_path / "s.toml").write_text(text.format(key="theirs"))
    result = edge_ad("run", "s.toml", cwd=tmp_path)
    assert result.returncode == 1 and "not by theirs.pub" in result.stderr


def test_keys_and_bundles_that_are_none(made: Path, tmp_path: Path) -> None:
    assert "is no public key" in refused(
        "verify", "signed.edgead", "--require-signature", "rows.npy", cwd=made
    )
    assert "is a private key" in refused(
        "verify", "signed.edgead", "--require-signature", "ours.key", cwd=made
    )
    assert "already there" in refused("keygen", "--out", "ours", cwd=made)
    before = (made / "plain.edgead").read_bytes()
    assert "ours.pub: " in refused("sign", "plain.edgead", "--key", "ours.pub", cwd=made)
    assert (made / "plain.edgead").read_bytes() == before
    (tmp_path / "not").write_bytes(b"no bundle")
    refused("sign", tmp_path / "not", "--key", "ours.key", cwd=made)
    assert (tmp_path / "not").read_bytes() == b"no bundle"


def test_a_damaged_bundle_is_not_signed(made: Path, tmp_path: Path) -> None:
    data = bytearray((made / "plain.edgead").read_bytes())
    with open_bundle(made / "plain.edgead") as bundle:
        position = data.index(bundle.read(bundle.manifest.payloads[0].model)[:40])
    data[position + 5] ^= 1
    (tmp_path / "b.edgead").write_bytes(data)
    with pytest.raises(Exception, match="checksum"):
        sign_bundle(tmp_path / "b.edgead", read_private_key(made / "ours.key"))
    assert (tmp_path / "b.edgead").read_bytes() == bytes(data)
