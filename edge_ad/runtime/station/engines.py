"""Bundles and engines of a station: each is opened once, however many streams use it."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_ad.bundle.manifest import Manifest, Payload
from edge_ad.bundle.signature import read_public_key
from edge_ad.errors import BundleError, EdgeAdError, SchemaError, StationError, UsageError
from edge_ad.firmware_bridge.boards import Board
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.runtime.deployment import LiveBundle, load
from edge_ad.runtime.engines import open_engine
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.station.config import StreamTable


class FairLock:
    """A lock that is given to those who wait in the order in which they came; a plain one can starve a slow camera."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    def __enter__(self) -> None:
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            self._changed.wait_for(lambda: self._line[0] is ticket)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._line.popleft()
            self._changed.notify_all()


@dataclass(frozen=True)
class Shared:
    """An engine and the payload that it runs. guard: held while it works."""

    engine: Engine
    payload: Payload
    guard: FairLock


class Engines:
    """What the streams of a station run on; a context manager that closes all of it. Safe to use from any thread."""

    def __init__(self, board_state: Path | None = None) -> None:
        """board_state: folder in which emulated boards keep their flash."""
        self._board_state = board_state
        self._opened = ExitStack()
        self._guard = threading.Lock()
        self._bundles: dict[tuple[str, tuple[str, ...]], LiveBundle] = {}
        self._engines: dict[Any, tuple[Shared, ExitStack]] = {}

    def __enter__(self) -> Engines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            for _, opened in self._engines.values():
                opened.close()
            self._engines.clear()
            self._opened.close()

    def bundle(self, stream: StreamTable) -> LiveBundle:
        """The stream's bundle, checked. Raises BundleError (SignatureError among them), DeployError, StationError."""
        key = (stream.bundle, tuple(stream.require_signature))
        with self._guard:
            if key not in self._bundles:
                keys = [read_public_key(Path(name)) for name in stream.require_signature]
                try:
                    self._bundles[key] = self._opened.enter_context(load(stream.bundle, signed_by=keys))
                except FileNotFoundError as error:
                    raise BundleError("there is no such bundle", where=stream.bundle) from error
            return self._bundles[key]

    def engine(self, stream: StreamTable) -> Shared:
        """The engine of the stream's payload, opened when it is not.

        Raises SchemaError for a payload that the bundle lacks, StationError for one that runs elsewhere, EngineError,
        MissingDependencyError, LinkError and BoardError for an engine or board that cannot be reached.
        """
        live = self.bundle(stream)
        target = stream.target or live.target
        key = (live.digest, target, stream.threads, stream.board, stream.require_provider)
        with self._guard:
            if key not in self._engines:
                opened = ExitStack()
                try:
                    payload, engine = self._open(live, target, stream, opened)
                except BaseException:
                    opened.close()
                    raise
                opened.callback(engine.close)
                self._engines[key] = Shared(engine, payload, FairLock()), opened
            return self._engines[key][0]

    def drop(self, engine: Engine) -> None:
        """Close an engine that failed: the next one who asks has it opened anew."""
        with self._guard:
            for key, (shared, opened) in list(self._engines.items()):
                if shared.engine is engine:
                    del self._engines[key]
                    try:
                        opened.close()
                    except EdgeAdError:  # a board that is gone cannot be told goodbye
                        continue

    def _open(
        self, live: LiveBundle, target: str | None, stream: StreamTable, opened: ExitStack
    ) -> tuple[Payload, Engine]:
        overrides: dict[str, Any] = {} if stream.threads is None else {"threads": stream.threads}
        if stream.board is None:
            payload = live.manifest.payload(target)
        else:
            address = BoardAddress(
                board=stream.board.address,
                port=stream.board.port,
                baud=stream.board.baud,
                state=self._board_state,
            )
            connection = opened.enter_context(Connection(address))
            payload = payload_on(live.manifest, target, connection)
            overrides["connection"] = connection
        if payload.engine == "board" and stream.board is None:
            raise StationError(
                f"the payload for '{payload.target}' runs on a board", where=f"stream '{stream.name}'",
                hint="say which: --port /dev/ttyACM0, in a station file board = { port = \"/dev/ttyACM0\" }",
            )  # fmt: skip
        return payload, open_engine(
            payload, live.folder, require_provider=stream.require_provider, **overrides
        )


def payload_on(manifest: Manifest, target: str | None, connection: Connection) -> Payload:
    """The payload called `target`, else the one for the board that answers. Raises SchemaError, UsageError."""
    return board_payload(manifest, target or target_of(manifest, connection.board))


def target_of(manifest: Manifest, board: Board) -> str:
    """What the payload for a board is called. Raises SchemaError where there is none."""
    if not any(p.target == board.target for p in manifest.payloads):
        held = ", ".join(p.target for p in manifest.payloads)
        raise SchemaError(
            f"no payload for '{board.target}', which '{board.name}' runs", where=manifest.name,
            hint=f"it holds: {held}; compile with --target {board.target}",
        )  # fmt: skip
    return board.target


def board_payload(manifest: Manifest, target: str) -> Payload:
    """The payload called `target`, which has to be for a board. Raises SchemaError, UsageError."""
    payload = manifest.payload(target)
    if payload.engine != "board":
        raise UsageError(
            f"the payload for '{payload.target}' runs on no board", hint="leave out the board or its port"
        )
    return payload
