"""`edge-ad flash` on a board: its firmware where that is asked for, then the bundle's image."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_ad.bundle.signature import PublicKey
from edge_ad.cli.options import errors, out, print_json, stages
from edge_ad.errors import UsageError
from edge_ad.firmware_bridge.boards import POSIX, Board, emulated, find
from edge_ad.firmware_bridge.build import Dialect
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.parts import Parts, all_parts, operator_names, parts_of_image

if TYPE_CHECKING:
    from edge_ad.firmware_bridge.flasher import Flashed

Firmware = Literal["lean", "full"]


@dataclass(frozen=True)
class Options:
    """firmware: which one is put on the board; None: what is there stays. program: the real board whose firmware is
    written through its debug probe. dialect: what that one speaks first."""

    target: str | None
    signed_by: tuple[PublicKey, ...]
    firmware: Firmware | None
    program: str | None
    dialect: Dialect = "link"


def check_options(board: str | None, port: str | None, options: Options, *, rollback: bool) -> None:
    """Raises UsageError for what does not go together."""
    if options.program is not None and port is None:
        raise UsageError("--program needs --port, over which the board then answers")
    if options.program is None and options.dialect != "link":
        raise UsageError("--dialect goes with --program, which writes the firmware that speaks it")
    if options.firmware is None:
        return
    if board is None and options.program is None:
        raise UsageError(
            "--firmware goes with --board, or with --port and --program",
            hint="the firmware of a real board is written through its debug probe: --program nucleo-h743zi2",
        )
    if options.firmware == "lean" and rollback:
        raise UsageError(
            "a lean firmware is that of a bundle, not of --rollback", hint="--rollback --firmware full"
        )


def flash_board(bundle: Path | None, address: BoardAddress, options: Options, as_json: bool) -> None:
    """Put a bundle's image on a board, or (None) go back to the one before, and print how it went."""
    from edge_ad.firmware_bridge.flasher import Flashed, roll_back

    if bundle is None:
        parts = all_parts() if options.firmware else None
        _program(options, address.baud, parts)
        with Connection(address, parts=parts) as connection:
            result = Flashed(0, 0, False, roll_back(connection.client))
            connection.keep_firmware()
    else:
        result = _flash_bundle(bundle, address, options)
    _tell(address, result, options, flashed=bundle is not None, as_json=as_json)


def _flash_bundle(bundle: Path, address: BoardAddress, options: Options) -> Flashed:
    from edge_ad.bundle.archive import open_bundle
    from edge_ad.bundle.signature import require_signature
    from edge_ad.runtime.station.engines import board_payload, payload_on, target_of

    with open_bundle(bundle) as source:
        if options.signed_by:
            require_signature(source.digest, source.signatures, options.signed_by, where=str(bundle))
        if options.firmware != "lean":
            _program(options, address.baud, None)
            with Connection(address, parts=all_parts() if options.firmware else None) as connection:
                image = source.read(payload_on(source.manifest, options.target, connection).model)
                return _flash(connection, image)
        board = _named(address, options)
        target = options.target or target_of(source.manifest, board)
        image = source.read(board_payload(source.manifest, target).model)
    if options.program is not None:
        _program(options, address.baud, parts_of_image(image))
        with Connection(address) as connection:
            return _flash(connection, image)
    return _flash_lean(address, image)


def _flash(connection: Connection, image: bytes) -> Flashed:
    from edge_ad.firmware_bridge.flasher import flash_image

    with _upload_bar() as progress:
        result = flash_image(connection.client, image, progress=progress)
    connection.keep_firmware()
    return result


def _flash_lean(address: BoardAddress, image: bytes) -> Flashed:
    """Upload and proof under the firmware that holds all, so that what was live before is not lost if they fail; then
    the lean one, which has to prove the image once more."""
    from edge_ad.firmware_bridge.flasher import Flashed, flash_image

    lean = parts_of_image(image)
    with Connection(address, parts=all_parts()) as connection, _upload_bar() as progress:
        result = flash_image(connection.client, image, progress=progress)
        connection.keep_firmware()
    with Connection(address, parts=lean) as connection:
        again = flash_image(connection.client, image)
        connection.keep_firmware()
    return Flashed(again.slot, result.resumed_at, result.already, again.hello)


def _named(address: BoardAddress, options: Options) -> Board:
    if address.board is not None:
        return emulated(address.board)
    assert options.program is not None  # check_options
    return find(options.program)


def _program(options: Options, baud: int, parts: Parts | None) -> None:
    """Build the firmware of a real board, its UART at `baud`, and write it."""
    name = options.program
    if name is None:
        return
    from edge_ad.firmware_bridge.build import build_firmware
    from edge_ad.firmware_bridge.programming import PyocdProgrammer

    board = find(name)
    firmware = build_firmware(board, parts, dialect=options.dialect, baud=baud)
    with stages() as stage:
        done = stage(f"program {name}", 1)
        PyocdProgrammer().program(board, firmware, lambda share: None)
        done()


def _tell(address: BoardAddress, result: Flashed, options: Options, *, flashed: bool, as_json: bool) -> None:
    hello, parts = result.hello, result.hello.parts
    size = _firmware_bytes(hello.board, parts, options.dialect) if options.firmware else None
    if as_json:
        held = {} if parts is None else {"operators": sorted(parts.operators), "judges": parts.judges}
        print_json(
            {
                "address": str(address), "board": hello.board, "firmware": hello.build, "kernels": hello.kernels,
                "slot": hello.live_slot, "crc32": f"{hello.live_crc:08x}", "length": hello.live_length,
                "resumed_at": result.resumed_at, "already": result.already, **held, "firmware_bytes": size,
            }
        )  # fmt: skip
        return
    if result.resumed_at:
        out.print(f"an earlier upload went on from byte {result.resumed_at:,}")
    if flashed and not result.already:
        out.print("the board's golden vectors agree to the bit")
    if options.firmware and parts is not None:
        out.print(_firmware_line(options.firmware, parts, size, hello.live_length), soft_wrap=True)
    out.print(
        f"{'was live already' if result.already else 'live'} on {hello.board} at {address}: slot {hello.live_slot}, "
        f"image {hello.live_crc:08x}, {hello.live_length:,} bytes, read back",
        soft_wrap=True,
    )


def _firmware_line(name: Firmware, parts: Parts, size: int | None, image: int) -> str:
    line = f"{name} firmware: {len(parts.operators)} of {len(operator_names())} operators"
    line += "" if parts.judges else ", no monitor"
    return line if size is None else f"{line}, {size:,} bytes of flash; {size + image:,} with the image"


def _firmware_bytes(name: str, parts: Parts | None, dialect: Dialect) -> int | None:
    """What it takes of a microcontroller's flash, measured on what was built."""
    from edge_ad.firmware_bridge.build import build_firmware, flash_bytes

    return None if name == POSIX else flash_bytes(build_firmware(find(name), parts, dialect=dialect))


@contextlib.contextmanager
def _upload_bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar of bytes on standard error."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task("upload", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
