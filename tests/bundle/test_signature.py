"""What a signature promises: that key, this content, and nothing else is taken."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.bundle.signature import (
    MAX_SIGNATURES,
    PublicKey,
    make_keys,
    read_private_key,
    read_public_key,
    require_signature,
    signed,
    signers,
)
from edge_ad.errors import BundleError, SignatureError

pytest.importorskip("cryptography")

DIGEST = "0f" * 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        make_keys(path / f"{name}.key", path / f"{name}.pub")
    return path


@pytest.fixture(scope="module")
def trusted(folder: Path) -> PublicKey:
    return read_public_key(folder / "ours.pub")


@pytest.fixture(scope="module")
def raw(folder: Path) -> bytes:
    return signed(DIGEST, read_private_key(folder / "ours.key"))


def refused(raw: bytes | None, *keys: PublicKey, digest: str = DIGEST) -> str:
    with pytest.raises(SignatureError) as caught:
        require_signature(digest, raw, keys, where="b.edgead")
    text = str(caught.value)
    assert text.startswith("b.edgead: ") and text.isprintable()
    return text


def test_a_signature_holds_for_its_key_and_its_content(folder: Path, trusted: PublicKey, raw: bytes) -> None:
    theirs = read_public_key(folder / "theirs.pub")
    assert require_signature(DIGEST, raw, [theirs, trusted], where="") == trusted
    assert signers(raw) == (trusted.fingerprint,)
    assert "is not signed" in refused(None, trusted)
    assert f"is signed by {trusted.fingerprint[:16]}, not by theirs.pub" in refused(raw, theirs)
    assert "not one of this content" in refused(raw, trusted, digest="1f" + DIGEST[2:])


def test_every_bit_of_a_signature_counts(trusted: PublicKey, raw: bytes) -> None:
    data = json.loads(raw)
    value = base64.b64decode(data["signatures"][0]["value"])
    for bit in range(8 * len(value)):
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        data["signatures"][0]["value"] = base64.b64encode(bytes(changed)).decode()
        assert "not one of this content" in refused(json.dumps(data).encode(), trusted)


def test_every_changed_byte_of_the_file_is_refused(trusted: PublicKey, raw: bytes) -> None:
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 0x01
        refused(bytes(changed), trusted)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_rubbish_is_one_line(rubbish: bytes) -> None:
    refused(rubbish, PublicKey("k.pub", bytes(32)))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "edge-ad/signatures/2"},
        {"signatures": []},
        {"also": 1},
        {"signatures": [{"key": "ab" * 32, "value": "A" * 85 + "==="}]},
        {"signatures": [{"key": "ab" * 31, "value": "A" * 86 + "=="}]},
        {"signatures": [{"key": "ab" * 32, "value": "A" * 86 + "=="}] * 2},
        {"signatures": [{"key": f"{i:064x}", "value": "A" * 86 + "=="} for i in range(9)]},
    ],
)
def test_malformed_files_are_refused(trusted: PublicKey, raw: bytes, change: dict[str, object]) -> None:
    assert "signatures.json" in refused(json.dumps({**json.loads(raw), **change}).encode(), trusted)


def test_several_sign_and_signing_again_replaces(folder: Path, trusted: PublicKey, raw: bytes) -> None:
    theirs = read_public_key(folder / "theirs.pub")
    both = signed(DIGEST, read_private_key(folder / "theirs.key"), raw)
    assert set(signers(both)) == {trusted.fingerprint, theirs.fingerprint}
    for key in (trusted, theirs):
        require_signature(DIGEST, both, [key], where="")
    assert signed(DIGEST, read_private_key(folder / "ours.key"), both) == both
    # A signature of what the file held before is replaced.
    stale = signed("00" * 32, read_private_key(folder / "ours.key"))
    assert signed(DIGEST, read_private_key(folder / "ours.key"), stale) == raw


def test_no_more_than_eight_sign(tmp_path: Path) -> None:
    raw = None
    for i in range(MAX_SIGNATURES):
        make_keys(tmp_path / f"{i}.key", tmp_path / f"{i}.pub")
        raw = signed(DIGEST, read_private_key(tmp_path / f"{i}.key"), raw)
    make_keys(tmp_path / "one.key", tmp_path / "one.pub")
    with pytest.raises(SignatureError, match="has 8 signatures already"):
        signed(DIGEST, read_private_key(tmp_path / "one.key"), raw)


def test_keys_are_never_written_over_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    private, public = tmp_path / "a.key", tmp_path / "a.pub"
    make_keys(private, public)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(BundleError, match=r"a\.pub: is already there"):
        make_keys(private, public)
    public.unlink()
    with pytest.raises(BundleError, match=r"a\.key: is already there"):
        make_keys(private, public)
    assert private.read_bytes() == before[0] and [p.name for p in tmp_path.iterdir()] == ["a.key"]
    private.chmod(0o640)
    with pytest.raises(SignatureError, match="others may read this private key; chmod 600"):
        read_private_key(private)


def test_a_password_is_needed_where_one_was_given(tmp_path: Path, folder: Path) -> None:
    make_keys(tmp_path / "a.key", tmp_path / "a.pub", b"open sesame")
    assert b"ENCRYPTED" in (tmp_path / "a.key").read_bytes()
    raw = signed(DIGEST, read_private_key(tmp_path / "a.key", b"open sesame"))
    require_signature(DIGEST, raw, [read_public_key(tmp_path / "a.pub")], where="")
    for password, said in ((None, "encrypted and no password"), (b"x", "password is wrong")):
        with pytest.raises(SignatureError, match=said):
            read_private_key(tmp_path / "a.key", password)
    with pytest.raises(SignatureError, match="is not encrypted"):
        read_private_key(folder / "ours.key", b"x")


def test_other_files_are_no_keys(tmp_path: Path, folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "ec.key").write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (tmp_path / "ec.pub").write_bytes(
        other.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    (tmp_path / "text").write_text("hello")
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    for path, said in (
        (tmp_path / "ec.key", "is no ed25519 key"), (tmp_path / "text", "is no private key"),
        (tmp_path / "none", "cannot be read"), (tmp_path, "is no key file|cannot be read"),
    ):  # fmt: skip
        with pytest.raises(SignatureError, match=said):
            read_private_key(path)
    for path, said in (
        (tmp_path / "ec.pub", "is no ed25519 key"), (tmp_path / "text", "is no public key"),
        (folder / "ours.key", "is a private key; give the .pub"), (tmp_path / "none", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(SignatureError, match=said):
            read_public_key(path)
