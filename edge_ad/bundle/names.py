"""Which names the files of a bundle may have, and foreign text in messages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edge_ad.errors import TraversalError

MAX_NAME_CHARS = 200

# What any file system, terminal and shell takes as it is: no blanks, no links to elsewhere, no device names.
_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._+-]*[A-Za-z0-9_+-])?", re.ASCII)


def check_names(names: Iterable[str], *, where: str | None = None) -> None:
    """Check that files of these names can lie beside each other in one folder, on any file system.

    A name is one or more parts joined by `/`, at most MAX_NAME_CHARS in all; a part is ASCII letters, digits,
    `.`, `_`, `+` and `-`, starts with a letter, digit or `_`, and does not end in a dot. Names that differ in
    case only, that come twice, or where one is a folder of another, collide. Raises TraversalError.
    """
    seen: dict[str, str] = {}
    files: set[str] = set()
    for name in names:
        reason = _bad_name(name)
        if reason is not None:
            raise TraversalError(f"member name {shown(name)} {reason}", where=where)
        if name in files:
            raise TraversalError(f"member name {shown(name)} comes twice", where=where)
        files.add(name)
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            if seen.setdefault(path.lower(), path) != path:
                raise TraversalError(
                    f"member name {shown(name)} collides with another but for case", where=where
                )
    for name in files:
        parts = name.split("/")
        if any("/".join(parts[:count]) in files for count in range(1, len(parts))):
            raise TraversalError(f"member name {shown(name)} lies in another file", where=where)


def _bad_name(name: str) -> str | None:
    """Why `name` may not be a member's, or None."""
    if not name:
        return "is empty"
    if len(name) > MAX_NAME_CHARS:
        return f"is longer than {MAX_NAME_CHARS} characters"
    if name.startswith("/"):
        return "is absolute"
    if ".." in name.split("/"):
        return "leads out of the bundle"
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        return "is not made of letters, digits and . _ + -"
    return None


def shown(value: object) -> str:
    """Foreign text for a message: short, and nothing that a terminal obeys."""
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= 120 else f"{text[:117]}..."
    return text if text.isascii() and text.isprintable() and text else ascii(text)
