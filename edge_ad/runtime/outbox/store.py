"""The outbox's file: records that wait for receivers, and what each stream goes on from, in one SQLite database.

WAL mode with `synchronous=FULL`: what a commit returned from survives a power cut. The size is bounded by
`max_page_count`; at the bound the oldest scores make room, and only when there are none the oldest events. A full disk
is another matter: there SQLite can neither delete nor checkpoint, since its log cannot grow. A reserve file beside the
database is given up then, so that rows can be deleted and their pages used again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_ad.errors import OutboxError

log = logging.getLogger(__name__)

SCORE, EVENT = 0, 1
MAX_RECEIVERS: Final = 62  # bits of SQLite's signed 64-bit integers, less a margin
RESERVE_BYTES: Final = 2 << 20  # more than the log grows to between two checkpoints
_PLENTY: Final = 3
_SCHEMA_VERSION: Final = 1
_PAGE_BYTES: Final = 4096
_CHECKPOINT_PAGES: Final = 128
_CACHE_KIB: Final = 256
_MIN_BYTES: Final = 1 << 18
_DROP_AT_ONCE: Final = 64  # rows that make room when the bound is hit
_ATTEMPTS: Final = 8  # the room is doubled from one to the next

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS receivers (bit INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS streams (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, pending INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS scores ON records (seq) WHERE kind = 0;
"""


@dataclass(frozen=True)
class Row:
    """A record as it is stored. kind: SCORE or EVENT. body: its JSON."""

    seq: int
    kind: int
    body: str


class Store:
    """One open database. Not for several threads at once: whoever owns it holds a lock.

    lost_events, lost_scores: dropped since the database was made, because the bound was hit or the disk was full.
    """

    def __init__(self, path: Path | None, receivers: Sequence[str], *, max_bytes: int):
        """path: None keeps it in memory. receivers: who gets every record from now on; what waits for one that is not
        among them any more is given up. Raises OutboxError."""
        if len(receivers) > MAX_RECEIVERS:
            raise OutboxError(f"at most {MAX_RECEIVERS} receivers, not {len(receivers)}")
        if max_bytes < _MIN_BYTES:
            raise OutboxError(f"needs {_MIN_BYTES:,} bytes or more, not {max_bytes:,}", where=path)
        self._path = path
        self._reserve = None if path is None else path.with_name(path.name + ".reserve")
        self._max_pages = max_bytes // _PAGE_BYTES
        self._tight = False  # whether the disk is full
        self._held = path is None  # whether the reserve is there
        self._db = self._open()
        try:
            self._bits = self._register(receivers)
        except sqlite3.Error as error:
            self._db.close()
            raise OutboxError(f"cannot be used ({error})", where=path) from error
        self._restore_reserve()

    @property
    def last_seq(self) -> int:
        """The highest number that was ever stored, 0 without any."""
        return self._meta("last_seq")

    @property
    def lost_events(self) -> int:
        """See above."""
        return self._meta("lost_events")

    @property
    def lost_scores(self) -> int:
        """See above."""
        return self._meta("lost_scores")

    def write(
        self, rows: Iterable[Row], *, states: Mapping[str, Any], confirmed: Mapping[str, Sequence[int]],
        lost: tuple[int, int],
    ) -> None:  # fmt: skip
        """Add records for all receivers, tick off what receivers have confirmed, keep streams' states; all or nothing.

        lost: (events, scores) that were dropped before they came here. Raises OutboxError when nothing could be
        written even after room was made.
        """
        rows = list(rows)
        make_room = 0
        for _ in range(_ATTEMPTS):
            try:
                with self._transaction():
                    if make_room:
                        self._make_room(make_room)
                    self._write(rows, states, confirmed, lost)
            except sqlite3.OperationalError as error:
                if not _is_full(error):
                    raise OutboxError(f"cannot be written ({error})", where=self._path) from error
                last = error
                if self._at_bound():
                    make_room = 2 * make_room or len(rows) + _DROP_AT_ONCE
                else:
                    self._live_without_disk()
            else:
                if self._tight or not self._held:
                    self._restore_reserve()
                return
        raise OutboxError("the disk is full", where=self._path, hint="free some space") from last

    def read(self, receiver: str, *, after: int, limit: int) -> list[Row]:
        """The oldest records behind `after` that this receiver has not confirmed, in order."""
        found = self._db.execute(
            "SELECT seq, kind, body FROM records WHERE seq > ? AND pending & ? ORDER BY seq LIMIT ?",
            (after, self._bits[receiver], limit),
        )
        return [Row(*row) for row in found]

    def backlog(self, receiver: str | None = None) -> int:
        """Records that wait for this receiver, or for any."""
        mask = -1 if receiver is None else self._bits[receiver]
        return int(self._db.execute("SELECT count(*) FROM records WHERE pending & ?", (mask,)).fetchone()[0])

    def state(self, stream: str) -> Any:
        """What was last kept of a stream, None without."""
        found = self._db.execute("SELECT state FROM streams WHERE name = ?", (stream,)).fetchone()
        return None if found is None else json.loads(found[0])

    def states(self) -> dict[str, Any]:
        """What was last kept of each stream."""
        return {
            name: json.loads(state) for name, state in self._db.execute("SELECT name, state FROM streams")
        }

    def close(self) -> None:
        """Close the database."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _write(
        self, rows: list[Row], states: Mapping[str, Any], confirmed: Mapping[str, Sequence[int]], lost: tuple[int, int]
    ) -> None:  # fmt: skip
        everyone = sum(self._bits.values())
        if everyone:
            self._db.executemany(
                "INSERT INTO records VALUES (?, ?, ?, ?)", ((r.seq, r.kind, everyone, r.body) for r in rows)
            )
        for receiver, seqs in confirmed.items():
            bit = self._bits[receiver]
            self._db.executemany(
                "UPDATE records SET pending = pending & ~? WHERE seq = ?", ((bit, seq) for seq in seqs)
            )
            self._db.executemany(
                "DELETE FROM records WHERE seq = ? AND pending = 0", ((seq,) for seq in seqs)
            )
        self._db.executemany(
            "INSERT OR REPLACE INTO streams VALUES (?, ?)",
            ((name, json.dumps(state, separators=(",", ":"))) for name, state in states.items()),
        )
        if rows:
            self._set_meta("last_seq", max(row.seq for row in rows))
        self._add_meta("lost_events", lost[0])
        self._add_meta("lost_scores", lost[1])

    def _make_room(self, n: int) -> None:
        """Drop the `n` oldest scores; of events only as many as there are not scores enough."""
        scores = self._db.execute(
            "DELETE FROM records WHERE seq IN (SELECT seq FROM records WHERE kind = 0 ORDER BY seq LIMIT ?)", (n,)
        ).rowcount  # fmt: skip
        events = 0
        if scores < n:
            events = self._db.execute(
                "DELETE FROM records WHERE seq IN (SELECT seq FROM records WHERE kind = 1 ORDER BY seq LIMIT ?)",
                (n - scores,),
            ).rowcount
        self._add_meta("lost_scores", scores)
        self._add_meta("lost_events", events)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if self._path is None or isinstance(error, sqlite3.OperationalError):
                raise OutboxError(f"cannot be opened ({error})", where=self._path) from error
            # A device nobody visits must go on: what is no database any more is set aside, and a new one begun.
            aside = self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}")
            log.error(
                "%s is damaged (%s): set aside as %s, numbering starts anew", self._path, error, aside.name
            )
            self._path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        where = ":memory:" if self._path is None else str(self._path)
        db = sqlite3.connect(where, check_same_thread=False, isolation_level=None, timeout=10.0)
        try:
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            db.execute(f"PRAGMA max_page_count = {self._max_pages}")  # not stored: to be said after each open
            found = int(db.execute("PRAGMA user_version").fetchone()[0])
            if found not in (0, _SCHEMA_VERSION):
                raise OutboxError(
                    f"is an outbox of version {found}, this one reads {_SCHEMA_VERSION}", where=self._path,
                    hint="run the edge-ad that wrote it until it is empty, or give another state folder",
                )  # fmt: skip
            db.executescript(f"BEGIN;{_TABLES}PRAGMA user_version = {_SCHEMA_VERSION};COMMIT;")
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("its pages do not fit together")
        except BaseException:
            db.close()
            raise
        return db

    def _register(self, receivers: Sequence[str]) -> dict[str, int]:
        """A bit for each receiver, kept over restarts; those of receivers that are gone are freed."""
        known = {str(name): int(bit) for bit, name in self._db.execute("SELECT bit, name FROM receivers")}
        with self._transaction():
            for name in known.keys() - set(receivers):
                mask = 1 << known[name]
                given_up = self._db.execute(
                    "UPDATE records SET pending = pending & ~? WHERE pending & ?", (mask, mask)
                ).rowcount
                self._db.execute("DELETE FROM records WHERE pending = 0")
                self._db.execute("DELETE FROM receivers WHERE bit = ?", (known.pop(name),))
                if given_up:
                    log.warning(
                        "%s is no receiver any more; %d records that waited for it are given up",
                        name,
                        given_up,
                    )
            free = iter(sorted(set(range(MAX_RECEIVERS)) - set(known.values())))
            for name in receivers:
                if name not in known:
                    known[name] = next(free)
                    self._db.execute("INSERT INTO receivers VALUES (?, ?)", (known[name], name))
        return {name: 1 << known[name] for name in receivers}

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _meta(self, key: str) -> int:
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return 0 if found is None else int(found[0])

    def _set_meta(self, key: str, value: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _add_meta(self, key: str, value: int) -> None:
        if value:
            self._set_meta(key, self._meta(key) + value)

    def _at_bound(self) -> bool:
        """Whether it is our own bound that leaves no page, and not the disk."""
        pages, free, most = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "max_page_count")
        )
        return pages - free >= most - _DROP_AT_ONCE

    def _live_without_disk(self) -> None:
        """Give up the reserve, for the log and the database to grow into, and grow by no more than that."""
        if self._reserve is None or self._tight:
            return
        log.warning("%s: the disk is full; the reserve is used", self._path)
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
        self._tight, self._held = True, False
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        pages = int(self._db.execute("PRAGMA page_count").fetchone()[0])
        most = min(self._max_pages, pages + RESERVE_BYTES // _PAGE_BYTES // 2)  # the log needs the other half
        self._db.execute(f"PRAGMA max_page_count = {most}")

    def _restore_reserve(self) -> None:
        """Hold space back, once there is a good deal more than that."""
        if self._reserve is None:
            return
        disk = os.statvfs(self._reserve.parent)
        if not self._reserve.exists():
            if disk.f_bavail * disk.f_frsize < _PLENTY * RESERVE_BYTES:
                return
            try:
                with self._reserve.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            except OSError:
                with contextlib.suppress(OSError):
                    self._reserve.unlink(missing_ok=True)
                return
        self._held = True
        if self._tight:
            log.info("%s: the disk has space again", self._path)
            self._db.execute(f"PRAGMA max_page_count = {self._max_pages}")
            self._tight = False


def _is_full(error: sqlite3.OperationalError) -> bool:
    return "full" in str(error)
