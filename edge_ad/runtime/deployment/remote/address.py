"""Where a bundle goes: `ssh://[user@]host[:port]/folder`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from edge_ad.bundle.names import shown
from edge_ad.errors import UsageError

_EXAMPLE = "write it as ssh://user@box:22/opt/line3"


@dataclass(frozen=True)
class SshAddress:
    """destination: `user@host` or `host`, for ssh. port: None leaves it to ssh's configuration. folder: absolute."""

    destination: str
    port: int | None
    folder: str

    def __str__(self) -> str:
        host = f"[{self.destination}]" if ":" in self.destination else self.destination
        return f"ssh://{host}{'' if self.port is None else f':{self.port}'}{self.folder}"


def parse_address(text: str) -> SshAddress:
    """Read an address. Raises UsageError for one that is none, or that ssh could take for an option."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"'{shown(text)}' is no address ({error})", hint=_EXAMPLE) from error
    user, host, folder = parts.username, parts.hostname, unquote(parts.path)
    if parts.scheme != "ssh" or not host or parts.query or parts.fragment:
        raise UsageError(f"'{shown(text)}' is no address", hint=_EXAMPLE)
    if parts.password is not None:
        raise UsageError("an address holds no password", hint="give the device your public key: ssh-copy-id")
    for what, value in (("user", unquote(user or "")), ("host", host)):
        if value.startswith("-") or any(c.isspace() or not c.isprintable() or c == "@" for c in value):
            raise UsageError(f"{shown(value)!r} is no {what}", hint=_EXAMPLE)
    if not folder.rstrip("/") or not folder.startswith("/") or "\0" in folder or "\n" in folder:
        raise UsageError(f"'{shown(text)}' names no folder on the device", hint=_EXAMPLE)
    destination = f"{unquote(user)}@{host}" if user else host
    return SshAddress(destination, port, folder.rstrip("/"))
