"""Lowering: each node of a graph becomes records of board operators, over buffers whose place is not yet known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edge_ad.bundle.names import shown
from edge_ad.compile.integer.graph import NO_NODE, Array, Graph, Node, Tensor, batched
from edge_ad.compile.integer.records import Buffer, Constant, Record, Ref, Stretch
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.port_spec import PortSpec

KernelSet = Literal["plain", "dsp", "mve"]
ALIGNMENT = 16  # of constants and buffers, in bytes

# What an operator's lowering meets in a node whose options, shapes or operands are not those of its kind.
_MALFORMED = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)

Lowering = Callable[["Builder", Node], None]
OPERATORS: dict[str, Lowering] = {}  # by kind; those of our own, which no .tflite file has, in small letters
_EMPTY = Graph((), (), (), ())


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
    """Everything that an image is made of. inputs, outputs: buffer and port of each. kept: numbers of the buffers that
    stay as they are to the last step. parameters: weights and biases of the graphs."""

    kernels: KernelSet
    steps: list[Step] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    constants: bytearray = field(default_factory=bytearray)
    inputs: list[tuple[Buffer, PortSpec]] = field(default_factory=list)
    outputs: list[tuple[Buffer, PortSpec]] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)
    parameters: int = 0


class Builder:
    """What a lowering writes into: whole graphs (`inline`) and operators by hand (`step`), in the order in which they
    run. While a graph is inlined, `tensor` and `ref` are that graph's. stripes: graphs go in as the form of them that
    needs the least memory (see `smaller`), not as they are."""

    def __init__(self, kernels: KernelSet, *, stripes: bool = False):
        self.stripes = stripes
        self.graph = _EMPTY
        self.program = Program(kernels)
        self._places: dict[int, Buffer | Stretch] = {}
        self._known: dict[bytes, Constant] = {}

    @property
    def kernels(self) -> KernelSet:
        return self.program.kernels

    @property
    def next_step(self) -> int:
        """The number that the next step gets; loops name their body by these."""
        return len(self.program.steps)

    def input(self, spec: PortSpec, *, keep: bool = False) -> Buffer:
        """A new input of the image. keep: it stays as it is to the last step, as the window of a stream must, which
        the firmware moves on from one inference to the next."""
        buffer = self.buffer(spec.nbytes)
        self.program.inputs.append((buffer, spec))
        if keep:
            self.program.kept.add(buffer.number)
        return buffer

    def output(self, spec: PortSpec, buffer: Buffer) -> None:
        """`buffer` is the image's next output. Raises ValueError for one of another size."""
        if buffer.size != spec.nbytes:
            raise ValueError(f"an output of {spec.nbytes} bytes in a buffer of {buffer.size}")
        self.program.outputs.append((buffer, spec))

    def inline(self, graph: Graph, inputs: Sequence[Buffer]) -> list[Buffer]:
        """All nodes of a graph whose inputs are these buffers; the buffers of its outputs.

        Raises TargetError that names the first node that is not covered, and what would help, ValueError for inputs of
        other sizes.
        """
        given = [graph.tensors[index].nbytes for index in graph.inputs]
        if given != [buffer.size for buffer in inputs]:
            raise ValueError(f"a graph with inputs of {given} bytes is given {[b.size for b in inputs]}")
        if self.stripes:
            from edge_ad.compile.integer.smaller import smaller  # which lowers, to see what is smaller

            graph = smaller(graph, self.kernels)
        outer = self.graph, self._places
        self.graph, self._places = graph, dict(zip(graph.inputs, inputs, strict=True))
        self.program.parameters += graph.parameters
        try:
            _lower_nodes(self, graph)
            return [self._output(index) for index in graph.outputs]
        finally:
            self.graph, self._places = outer

    def _output(self, index: int) -> Buffer:
        place = self.ref(index)
        if not isinstance(place, Buffer):
            raise TargetError(
                f"output tensor {index} is a constant", hint="a network's output must be computed"
            )
        return place

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

    def step(
        self, record: Record, *, reads: Sequence[Ref], writes: Sequence[Ref],
        in_place: Sequence[tuple[Ref, Ref]] = (), macs: int = 0,
    ) -> None:  # fmt: skip
        """`emit` for an operator that belongs to no graph."""
        node = Node(NO_NODE, record.C_NAME, (), ())
        self.emit(node, record, reads=reads, writes=writes, in_place=in_place, macs=macs)

    def refuse(self, node: Node, what: str, hint: str | None = None) -> TargetError:
        """The error for a node that a board cannot run as it stands."""
        return TargetError(f"{what}", where=str(node), hint=hint)


def _buffers(refs: Sequence[Ref]) -> tuple[Buffer, ...]:
    whole = (r.buffer if isinstance(r, Stretch) else r for r in refs)
    return tuple(r for r in whole if isinstance(r, Buffer))


def lower(graph: Graph, kernels: KernelSet, *, stripes: bool = False) -> Program:
    """A graph alone: its inputs and outputs are the image's. Raises TargetError as `Builder.inline`."""
    builder = Builder(kernels, stripes=stripes)
    inputs = [builder.input(_port(graph.tensors[index])) for index in graph.inputs]
    outputs = builder.inline(graph, inputs)
    for buffer, index in zip(outputs, graph.outputs, strict=True):
        builder.output(_port(graph.tensors[index]), buffer)
    return builder.program


def _port(tensor: Tensor) -> PortSpec:
    scale, zero_point = (
        (tensor.scale, tensor.zero_point) if tensor.scales else (1.0, 0)
    )  # of one that nobody reads
    return PortSpec(batched(tensor.shape), str(tensor.dtype), scale, zero_point)


def _lower_nodes(builder: Builder, graph: Graph) -> None:
    import edge_ad.compile.integer.operators  # noqa: F401  (fills OPERATORS)

    unknown = [node for node in graph.nodes if node.kind not in OPERATORS]
    if unknown:
        raise TargetError(
            "no board has this operator",
            where=str(unknown[0]),
            hint=f"there are: {', '.join(sorted(kind for kind in OPERATORS if kind.isupper()))}",
        )
    for node in graph.nodes:
        try:
            OPERATORS[node.kind](builder, node)
        except _MALFORMED as error:
            raise TargetError(
                f"is not as this operator has to be ({type(error).__name__}: {shown(str(error))})",
                where=str(node),
                hint="convert the network again",
            ) from error
