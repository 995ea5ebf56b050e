"""Signatures of bundles: ed25519 over the bundle's digest, which stands for every byte of its content.

A bundle carries its signatures in a member of their own, `signatures.json`, which the manifest does not list: signing
changes neither the manifest nor the digest, and several may sign. What is in that member is a claim, until a key that
the user trusts confirms it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from edge_ad.bundle.atomic import write_new
from edge_ad.bundle.manifest import SIGNATURES_NAME, Sha256, Spec
from edge_ad.bundle.names import shown
from edge_ad.errors import MissingDependencyError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_SIGNATURES = 8

_SCHEMA: Final = "edge-ad/signatures/1"
_MAX_KEY_BYTES = 1 << 14
_NO_CRYPTOGRAPHY = "signatures need the package 'cryptography'"
_INSTALL = "pip install 'edge-ad[signatures]'"


class _Signature(Spec):
    """key: sha256 of the public key's 32 bytes. value: the 64 bytes of an ed25519 signature (RFC 8032), base64."""

    key: Sha256
    value: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{86}==$")]


class _File(Spec):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["edge-ad/signatures/1"] = Field(default=_SCHEMA, alias="schema")
    signatures: Annotated[list[_Signature], Field(min_length=1, max_length=MAX_SIGNATURES)]


@dataclass(frozen=True)
class PublicKey:
    """A key that is trusted. name: where it was read from. key: its 32 bytes."""

    name: str
    key: bytes

    @property
    def fingerprint(self) -> str:
        """sha256 of the key in hexadecimal."""
        return hashlib.sha256(self.key).hexdigest()


def make_keys(private: Path, public: Path, password: bytes | None = None) -> PublicKey:
    """Make a pair of keys: `private` as PKCS #8 for its owner alone (mode 0600), `public` as SubjectPublicKeyInfo, both
    PEM.

    password: encrypts the private key. Raises BundleError when one of the files is there already or cannot be written.
    """
    serialization, ed25519 = _cryptography()
    key = ed25519.Ed25519PrivateKey.generate()
    encryption = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    shared = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_new(public, shared, mode=0o644)
    try:
        write_new(private, secret, mode=0o600)
    except BaseException:
        public.unlink(missing_ok=True)
        raise
    return PublicKey(str(public), _raw(key.public_key()))


def read_private_key(path: Path, password: bytes | None = None) -> Ed25519PrivateKey:
    """The key to sign with. Raises SignatureError for a file that others may read, or that is no such key."""
    serialization, ed25519 = _cryptography()
    data = _read_key(path, private=True)
    try:
        key = serialization.load_pem_private_key(data, password)
    except TypeError as error:
        what = "is encrypted and no password was given" if password is None else "is not encrypted"
        raise SignatureError(what, where=path, hint="see --password-file") from error
    except Exception as error:  # one of many kinds for a wrong password, other text, an unknown algorithm
        raise SignatureError(
            "is no private key, or the password is wrong",
            where=path,
            hint="make one: edge-ad keygen --out NAME",
        ) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SignatureError("is no ed25519 key", where=path, hint="make one: edge-ad keygen --out NAME")
    return key


def read_public_key(path: Path) -> PublicKey:
    """A key that is to be trusted. Raises SignatureError for anything else, a private key among it."""
    serialization, ed25519 = _cryptography()
    data = _read_key(path, private=False)
    if b"PRIVATE KEY" in data:
        raise SignatureError(
            "is a private key", where=path, hint="give the .pub beside it, and keep this one off the device"
        )
    try:
        key = serialization.load_pem_public_key(data)
    except Exception as error:
        raise SignatureError(
            "is no public key", where=path, hint="give the .pub of edge-ad keygen"
        ) from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SignatureError("is no ed25519 key", where=path, hint="give the .pub of edge-ad keygen")
    return PublicKey(str(path), _raw(key))


def signed(digest: str, key: Ed25519PrivateKey, existing: bytes | None = None, *, where: str = "") -> bytes:
    """The content of `signatures.json` of the bundle of this digest with a signature by `key`.

    existing: that file as it was; other keys' signatures in it stay. Raises SignatureError for a damaged one and for
    more than MAX_SIGNATURES.
    """
    own = hashlib.sha256(_raw(key.public_key())).hexdigest()
    others = [] if existing is None else [one for one in _parse(existing, where) if one.key != own]
    if len(others) >= MAX_SIGNATURES:
        raise SignatureError(f"has {MAX_SIGNATURES} signatures already", where=where)
    value = base64.b64encode(key.sign(_message(digest))).decode()
    both = sorted([*others, _Signature(key=own, value=value)], key=lambda one: one.key)
    data = _File(signatures=both).model_dump(mode="json", by_alias=True)
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def signers(raw: bytes | None, *, where: str = "") -> tuple[str, ...]:
    """Fingerprints of the keys that `signatures.json` names; nothing is confirmed. Raises SignatureError."""
    return () if raw is None else tuple(one.key for one in _parse(raw, where))


def require_signature(digest: str, raw: bytes | None, keys: Sequence[PublicKey], *, where: str) -> PublicKey:
    """The first of `keys` that has signed the bundle of this digest.

    raw: its `signatures.json`, None for a bundle without one. Raises SignatureError for a bundle that is not signed,
    signed by other keys only, or whose signature is not one of this content.
    """
    asked = ", ".join(f"{Path(key.name).name} ({key.fingerprint[:16]})" for key in keys)
    if raw is None:
        raise SignatureError(
            "is not signed", where=where, hint=f"sign it with the key of {asked}: edge-ad sign"
        )
    found = {one.key: one for one in _parse(raw, where)}
    for key in keys:
        if key.fingerprint in found:
            if _agrees(key, digest, found[key.fingerprint]):
                return key
            raise SignatureError(
                f"the signature by {Path(key.name).name} ({key.fingerprint[:16]}) is not one of this content",
                where=where, hint="it was altered; copy it again from where it was signed",
            )  # fmt: skip
    told = ", ".join(fingerprint[:16] for fingerprint in found)
    raise SignatureError(f"is signed by {told}, not by {asked}", where=where)


def _message(digest: str) -> bytes:
    # The first words keep a signature of something else, made with the same key, from counting as one of a bundle.
    return f"edge-ad bundle 1 sha256 {digest}\n".encode("ascii")


def _agrees(key: PublicKey, digest: str, signature: _Signature) -> bool:
    from cryptography.exceptions import InvalidSignature

    _, ed25519 = _cryptography()
    try:
        public = ed25519.Ed25519PublicKey.from_public_bytes(key.key)
        public.verify(base64.b64decode(signature.value, validate=True), _message(digest))
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _parse(raw: bytes, where: str) -> list[_Signature]:
    try:
        signatures = _File.model_validate_json(raw).signatures
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SignatureError(
            f"{SIGNATURES_NAME} is damaged ({shown(key)}: {shown(first['msg'])})", where=where,
            hint="sign it again: edge-ad sign",
        ) from error  # fmt: skip
    if len({one.key for one in signatures}) < len(signatures):
        raise SignatureError(
            f"{SIGNATURES_NAME} names a key twice", where=where, hint="sign it again: edge-ad sign"
        )
    return signatures


def _read_key(path: Path, *, private: bool) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_KEY_BYTES + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise SignatureError(
            f"cannot be read ({error.strerror})",
            where=path,
            hint="make a pair of keys: edge-ad keygen --out NAME",
        ) from error
    if not stat.S_ISREG(mode) or len(data) > _MAX_KEY_BYTES:
        raise SignatureError(
            "is no key file", where=path, hint="make a pair of keys: edge-ad keygen --out NAME"
        )
    if private and mode & 0o077:
        raise SignatureError("others may read this private key", where=path, hint=f"chmod 600 {path}")
    return data


def _raw(key: Ed25519PublicKey) -> bytes:
    raw: bytes = key.public_bytes_raw()
    return raw


def _cryptography() -> tuple[Any, Any]:
    """The modules `serialization` and `ed25519`. Raises MissingDependencyError."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingDependencyError(_NO_CRYPTOGRAPHY, hint=_INSTALL) from error
    return serialization, ed25519
