"""The steps of a model image (docs/model-image.md): what is run, in which order, and what each writes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from edge_ad.firmware_bridge.parts import operator_names

_TABLE_AT, _PORTS_AT, _GOLDEN_AT, _GOLDEN_COUNT_AT, _CRC_AT, _CRC_FROM = 20, 28, 40, 44, 12, 16
_STEP = struct.Struct("<HHIII")
_NONE = 0xFFFFFFFF
_NO_NODE = 0xFFFF


@dataclass(frozen=True)
class Step:
    """operator: its name in the engine. node: of the .tflite file, None where it is of none. output: offset in the
    arena, None for a step that writes none; nbytes: of it."""

    operator: str
    node: int | None
    output: int | None
    nbytes: int


def steps(image: bytes) -> list[Step]:
    """The steps of an image that the engine takes."""
    offset, count = struct.unpack_from("<II", image, _TABLE_AT)
    names = operator_names()
    found = []
    for number in range(count):
        code, node, _, output, nbytes = _STEP.unpack_from(image, offset + number * _STEP.size)
        name = names[code] if code < len(names) else f"operator {code}"
        found.append(
            Step(name, None if node == _NO_NODE else node, None if output == _NONE else output, nbytes)
        )
    return found


def golden_vectors(image: bytes) -> list[tuple[list[bytes], list[bytes]]]:
    """(inputs, outputs) of each golden vector that an image holds, as bytes in the ports' order."""
    ports, inputs, outputs = struct.unpack_from("<III", image, _PORTS_AT)
    at, count = struct.unpack_from("<II", image, _GOLDEN_AT)
    sizes = [struct.unpack_from("<II", image, ports + 8 * i)[1] for i in range(inputs + outputs)]
    found = []
    for _ in range(count):
        pieces = []
        for size in sizes:
            pieces.append(image[at : at + size])
            at += size
        found.append((pieces[:inputs], pieces[inputs:]))
    return found


def without_golden(image: bytes) -> bytes:
    """The same image without golden vectors, which a board then makes live whatever it computes."""
    content = bytearray(image)
    struct.pack_into("<I", content, _GOLDEN_COUNT_AT, 0)
    struct.pack_into("<I", content, _CRC_AT, zlib.crc32(content[_CRC_FROM:]))
    return bytes(content)
