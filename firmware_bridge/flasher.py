"""Putting a model image on a board: upload, proof, and only then live."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from edge_ad.errors import BoardError, BudgetError, LinkError, ParityError, RestartError
from edge_ad.firmware_bridge.client import KERNEL_SETS, BoardClient, Hello
from edge_ad.firmware_bridge.host_library import STATUS
from edge_ad.firmware_bridge.parts import MONITOR, Parts, parts_of_image

HEADER_BYTES = 64
OTHER_FIRMWARE = "put another firmware on it: edge-ad flash --firmware lean, for this bundle alone, or full"
_HEADER = struct.Struct("<IHHIII")
_MAGIC = 0x4D444145
_RESTARTS = 3  # a board that restarts more often during one upload has a fault that waiting does not mend
_NO_CONTENT, _REFUSED, _GOLDEN = 4, 6, 7
_NOT_BUILT = 9  # of the engine, in the detail of _REFUSED

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageHeader:
    """What a flasher has to know of an image (docs/model-image.md)."""

    abi: int
    kernels: str
    length: int
    crc: int
    arena_bytes: int


@dataclass(frozen=True)
class Flashed:
    """slot: where the image is live. resumed_at: bytes that an earlier try had left. already: it was live before."""

    slot: int
    resumed_at: int
    already: bool
    hello: Hello


def read_header(image: bytes) -> ImageHeader:
    """The header of an image. Raises BoardError for what is none."""
    if len(image) < HEADER_BYTES or _HEADER.unpack_from(image)[0] != _MAGIC:
        raise BoardError("the payload is no model image", hint="compile the bundle again")
    _, abi, kernels, length, crc, arena = _HEADER.unpack_from(image)
    name = KERNEL_SETS[kernels] if kernels < len(KERNEL_SETS) else f"unknown ({kernels})"
    if length != len(image):
        raise BoardError(f"the model image has {len(image)} bytes, its header says {length}")
    return ImageHeader(abi, name, length, crc, arena)


def flash_image(client: BoardClient, image: bytes, *, progress: Progress | None = None) -> Flashed:
    """Upload `image`, have the board prove it on its golden vectors and make it live, and read back that it is.

    An upload that was cut off goes on where it stopped; one that the board restarts under is taken up again. What
    was live stays so until the last step. progress: called with bytes done and in all.

    Raises BudgetError for an image that the board has no room for, ParityError when its golden vectors differ
    there, BoardError when it refuses the image, LinkError when it does not answer.
    """
    header = read_header(image)
    hello = client.hello()
    _check_fits(header, hello)
    if hello.parts is not None:
        _check_parts(parts_of_image(image), hello.parts, hello.board)
    if is_live(hello, header):
        return Flashed(hello.live_slot or 0, 0, True, hello)
    for attempt in range(_RESTARTS + 1):
        try:
            slot, resumed_at = _upload(client, image, header, progress or (lambda done, total: None))
            break
        except RestartError:
            if attempt == _RESTARTS:
                raise
            hello = client.hello()
            if is_live(hello, header):  # it restarted after the commit, before its answer
                return Flashed(hello.live_slot or 0, 0, False, hello)
    after = client.hello()
    if not is_live(after, header):
        raise LinkError(
            f"the board says that image {after.live_crc:08x} is live, not {header.crc:08x}",
            hint="flash it again; a board that restarts in between goes back to a model that passes",
        )
    return Flashed(slot, resumed_at, False, after)


def roll_back(client: BoardClient) -> Hello:
    """Make the other slot's model live again. Raises BoardError when there is none."""
    client.hello()
    try:
        client.rollback()
    except BoardError as error:
        if error.status == _NO_CONTENT:
            error.what = "the board has no earlier model to go back to"
        raise _refusal(error) from error
    return client.hello()


def is_live(hello: Hello, header: ImageHeader) -> bool:
    """Whether the board's live model is that image."""
    return hello.live_slot is not None and (hello.live_crc, hello.live_length) == (header.crc, header.length)


def _check_fits(header: ImageHeader, hello: Hello) -> None:
    if header.abi != hello.abi:
        raise BoardError(
            f"the model image is for engine ABI {header.abi}, the board '{hello.board}' has {hello.abi}",
            hint="program this version's firmware with --program, or compile the bundle again",
        )
    if header.kernels != hello.kernels:
        raise BoardError(
            f"the model image is packed for the kernel set '{header.kernels}', the board '{hello.board}' has "
            f"'{hello.kernels}'",
            hint="compile for the board's target: edge-ad targets",
        )
    if header.length > hello.slot_bytes:
        over = header.length - hello.slot_bytes
        raise BudgetError(
            f"the model image is {over} bytes too long for a slot of '{hello.board}' ({hello.slot_bytes} bytes)",
            hint="use a smaller network or a board with more flash",
        )
    if header.arena_bytes > hello.arena_bytes:
        over = header.arena_bytes - hello.arena_bytes
        raise BudgetError(
            f"the model needs {over} bytes more memory than the arena of '{hello.board}' has ({hello.arena_bytes})",
            hint="use a smaller network or input, or a board with more RAM",
        )


def _check_parts(needed: Parts, has: Parts, board: str) -> None:
    missing = has.lacks(needed)
    if not missing:
        return
    operators = [name for name in missing if name != MONITOR]
    named = [f"the operator{'s' if len(operators) > 1 else ''} {', '.join(operators)}"] if operators else []
    raise BoardError(
        f"the firmware of '{board}' was built without {' and '.join([*named, *missing[len(operators):]])}, which the "
        "model needs", hint=OTHER_FIRMWARE,
    )  # fmt: skip


def _upload(client: BoardClient, image: bytes, header: ImageHeader, progress: Progress) -> tuple[int, int]:
    """(slot, bytes that were there already)."""
    slot, begun = client.begin(header.length, header.crc)
    offset = begun
    progress(offset, len(image))
    while offset < len(image):
        following = client.data(offset, image[offset : offset + client.data_bytes])
        if following <= offset:
            raise LinkError(f"the board takes no more of the image at byte {offset} of {len(image)}")
        offset = following
        progress(offset, len(image))
    try:
        client.commit()
    except BoardError as error:
        raise _refusal(error) from error
    return slot, begun


def _refusal(error: BoardError) -> BoardError | ParityError:
    if error.status == _GOLDEN:
        vector = int.from_bytes(error.detail[:4], "little")
        return ParityError(
            f"the board computes other outputs than golden vector {vector} holds; what was live before still is",
            where=error.where,
            hint="its firmware may be of another version: edge-ad flash --program",
        )
    if error.status == _REFUSED and error.detail:
        cause = STATUS[error.detail[0]] if error.detail[0] < len(STATUS) else f"status {error.detail[0]}"
        error.what = f"the board refuses the model image: {cause}"
        error.hint = "flash it again; if that does not help, compile the bundle again"
        if error.detail[0] == _NOT_BUILT:
            error.hint = OTHER_FIRMWARE
        error.args = (error.what,)
    return error
