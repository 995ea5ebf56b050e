"""Lowering: each node of a graph becomes records of board operators, over buffers whose place is not yet known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edge_ad.bundle.names import shown
from edge_ad.compile.integer.graph import Array, Graph, Node, Tensor
from edge_ad.compile.integer.records import Buffer, Constant, Record, Ref, Stretch
from edge_ad.errors import TargetError

KernelSet = Literal["plain", "dsp", "mve"]
ALIGNMENT = 16  # of constants and buffers, in bytes

# What an operator's lowering meets in a node whose options, shapes or operands are not those of its kind.
_MALFORMED = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)

Lowering = Callable[["Builder", Node], None]
OPERATORS: dict[str, Lowering] = {}


@dataclass(frozen=True)
class Step:
    """A record with what it reads and writes. in_place: pairs (read, written) that may share their memory.

    node: of the file; macs: multiply-accumulates. output: what of the first written buffer it fills.
    """

    record: Record
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]
    node: Node
    in_place: tuple[tuple[Buffer, Buffer], ...] = ()
    macs: int = 0
    output: Buffer | Stretch | None = None


@dataclass
class Program:
    """A lowered graph. inputs, outputs: buffer and tensor of each."""

    kernels: KernelSet
    steps: list[Step] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    constants: bytearray = field(default_factory=bytearray)
    inputs: list[tuple[Buffer, Tensor]] = field(default_factory=list)
    outputs: list[tuple[Buffer, Tensor]] = field(default_factory=list)


class Builder:
    """What an operator's lowering writes into."""

    def __init__(self, graph: Graph, kernels: KernelSet):
        self.graph = graph
        self.program = Program(kernels)
        self._places: dict[int, Buffer | Stretch] = {}
        self._known: dict[bytes, Constant] = {}
        self.readers = {i: sum(i in n.inputs for n in graph.nodes) for i in range(len(graph.tensors))}

    @property
    def kernels(self) -> KernelSet:
        return self.program.kernels

    def tensor(self, index: int) -> Tensor:
        return self.graph.tensors[index]

    def ref(self, index: int) -> Buffer | Constant | Stretch:
        """Where tensor `index` is: its buffer, made on first use, its stretch of another's, or its constant."""
        tensor = self.tensor(index)
        if tensor.data is not None:
            return self.constant(tensor.data)
        if index not in self._places:
            self._places[index] = (
                self.buffer(tensor.nbytes) if tensor.part is None else self._stretch(tensor, *tensor.part)
            )
        return self._places[index]

    def _stretch(self, tensor: Tensor, whole: int, first: int) -> Stretch:
        place = self.ref(whole)
        assert not isinstance(place, Constant)
        offset, size = first * tensor.dtype.itemsize, tensor.nbytes
        assert offset >= 0 and offset + size <= place.size
        if isinstance(place, Stretch):
            return Stretch(place.buffer, place.offset + offset, size)
        return Stretch(place, offset, size)

    def buffer(self, size: int) -> Buffer:
        """New memory of the arena, alive from its first writer to its last reader."""
        buffer = Buffer(len(self.program.buffers), size)
        self.program.buffers.append(buffer)
        return buffer

    def alias(self, output: int, source: int) -> None:
        """Tensor `output` is the same bytes as `source` (RESHAPE); both must be activations, `output` no part."""
        place = self.ref(source)
        assert not isinstance(place, Constant) and self.tensor(output).part is None
        self._places[output] = place

    def constant(self, data: Array) -> Constant:
        """A block of the image, little-endian, aligned; equal blocks are kept once."""
        raw = np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<")).tobytes()
        if raw not in self._known:
            blob = self.program.constants
            blob += bytes(-len(blob) % ALIGNMENT)
            self._known[raw] = Constant(len(blob), len(raw))
            blob += raw
        return self._known[raw]

    def emit(
        self, node: Node, record: Record, *, reads: Sequence[Ref], writes: Sequence[Ref],
        in_place: Sequence[tuple[Ref, Ref]] = (), macs: int = 0,
    ) -> None:  # fmt: skip
        """Append a record. Constants among `reads` need no place in the arena and are left out."""
        pairs = tuple((a, b) for a, b in in_place if isinstance(a, Buffer) and isinstance(b, Buffer))
        output = next((r for r in writes if isinstance(r, Buffer | Stretch)), None)
        self.program.steps.append(Step(record, _buffers(reads), _buffers(writes), node, pairs, macs, output))

    def refuse(self, node: Node, what: str, hint: str | None = None) -> TargetError:
        """The error for a node that a board cannot run as it stands."""
        return TargetError(f"{what}", where=str(node), hint=hint)


def _buffers(refs: Sequence[Ref]) -> tuple[Buffer, ...]:
    whole = (r.buffer if isinstance(r, Stretch) else r for r in refs)
    return tuple(r for r in whole if isinstance(r, Buffer))


def lower(graph: Graph, kernels: KernelSet) -> Program:
    """All nodes. Raises TargetError that names the first node that is not covered, and what would help."""
    import edge_ad.compile.integer.operators  # noqa: F401  (fills OPERATORS)

    unknown = [node for node in graph.nodes if node.kind not in OPERATORS]
    if unknown:
        raise TargetError(
            "no board has this operator",
            where=str(unknown[0]),
            hint=f"there are: {', '.join(sorted(OPERATORS))}",
        )
    builder = Builder(graph, kernels)
    program = builder.program
    for index in graph.inputs:
        place = builder.ref(index)
        assert isinstance(place, Buffer)
        program.inputs.append((place, builder.tensor(index)))
    for node in graph.nodes:
        try:
            OPERATORS[node.kind](builder, node)
        except _MALFORMED as error:
            raise TargetError(
                f"is not as this operator has to be ({type(error).__name__}: {shown(str(error))})",
                where=str(node),
                hint="convert the network again",
            ) from error
    for index in graph.outputs:
        place = builder.ref(index)
        if not isinstance(place, Buffer):
            raise TargetError(
                f"output tensor {index} is a constant", hint="a network's output must be computed"
            )
        program.outputs.append((place, builder.tensor(index)))
    return program
