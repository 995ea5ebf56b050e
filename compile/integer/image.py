"""The model image: one flat binary that a board executes in place (docs/model-image.md)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from edge_ad.compile.integer.arena import Plan, plan
from edge_ad.compile.integer.graph import Graph
from edge_ad.compile.integer.lower import ALIGNMENT, KernelSet, Program, lower
from edge_ad.compile.integer.records import IN_IMAGE, NO_REF, Buffer, Constant, Ref, Stretch, opcode
from edge_ad.firmware_bridge.forms import pack_forms
from edge_ad.firmware_bridge.port_spec import PortSpec

MAGIC = 0x4D444145  # "EADM"
ABI = 2
KERNEL_SETS: tuple[KernelSet, ...] = ("plain", "dsp", "mve")
# magic, abi, kernel set, length, crc | arena, steps offset, steps, ports offset, inputs, outputs, golden offset,
# golden count, macs, monitor offset, reserved
_HEADER = struct.Struct("<IHHII11I")
_CRC_FROM = 16
_STEP = struct.Struct("<HHIII")  # opcode, node, offset of the record, offset and bytes of what it writes
_PORT = struct.Struct("<II")  # offset in the arena, bytes


@dataclass(frozen=True)
class Image:
    """content: the binary. plan, program: what it was made of."""

    content: bytes
    program: Program
    plan: Plan

    @property
    def inputs(self) -> tuple[PortSpec, ...]:
        return tuple(spec for _, spec in self.program.inputs)

    @property
    def outputs(self) -> tuple[PortSpec, ...]:
        return tuple(spec for _, spec in self.program.outputs)

    @property
    def macs(self) -> int:
        return sum(step.macs for step in self.program.steps)


def build_image(
    graph: Graph,
    kernels: KernelSet,
    golden: Sequence[tuple[Sequence[bytes], Sequence[bytes]]] = (),
    *,
    stripes: bool = True,
) -> Image:
    """The image of a graph alone. golden: as of `write_image`; stripes: of `Builder`. Raises TargetError as `lower`
    does."""
    return write_image(lower(graph, kernels, stripes=stripes), golden)


def write_image(
    program: Program,
    golden: Sequence[tuple[Sequence[bytes], Sequence[bytes]]] = (),
    monitor: bytes = b"",
) -> Image:
    """Plan the arena and write the binary. golden: (inputs, outputs) of each vector, as bytes in the ports' order.
    monitor: what the board decides by, empty for an image whose scores the host judges."""
    arena = plan(program)
    base = _aligned(_HEADER.size)
    constants = base

    def locate(ref: Ref) -> int:
        if ref is None:
            return NO_REF
        if isinstance(ref, Buffer):
            return arena.offset(ref)
        if isinstance(ref, Stretch):
            return arena.offset(ref.buffer) + ref.offset
        assert isinstance(ref, Constant)
        return IN_IMAGE | (constants + ref.offset)

    body = bytearray(program.constants)

    def append(block: bytes) -> int:
        body.extend(bytes(-len(body) % ALIGNMENT))
        offset = base + len(body)
        body.extend(block)
        return offset

    written: dict[bytes, int] = {}  # stripes of a network mostly have the same records

    def record_of(words: bytes) -> int:
        if words not in written:
            written[words] = append(words)
        return written[words]

    records = [record_of(step.record.words(locate)) for step in program.steps]
    steps = b"".join(
        _STEP.pack(
            opcode(step.record), step.node.index, record,
            locate(step.output), 0 if step.output is None else step.output.size,
        )
        for step, record in zip(program.steps, records, strict=True)
    )  # fmt: skip
    steps_offset = append(steps)
    ports = b"".join(_PORT.pack(arena.offset(b), b.size) for b, _ in (*program.inputs, *program.outputs))
    ports_offset = append(ports + pack_forms([spec for _, spec in (*program.inputs, *program.outputs)]))
    vectors = b"".join(b"".join(i) + b"".join(o) for i, o in golden)
    golden_offset = append(vectors)
    monitor_offset = append(monitor) if monitor else 0
    body.extend(bytes(-len(body) % ALIGNMENT))
    macs = min(sum(step.macs for step in program.steps), 0xFFFFFFFF)
    tail = struct.pack(
        "<11I", arena.size, steps_offset, len(program.steps), ports_offset, len(program.inputs),
        len(program.outputs), golden_offset, len(golden), macs, monitor_offset, 0,
    ) + bytes(base - _HEADER.size) + bytes(body)  # fmt: skip
    head = struct.pack(
        "<IHHII", MAGIC, ABI, KERNEL_SETS.index(program.kernels), _CRC_FROM + len(tail), zlib.crc32(tail)
    )
    return Image(head + tail, program, arena)


def _aligned(size: int) -> int:
    return size + -size % ALIGNMENT
