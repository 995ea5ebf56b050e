"""What is asked of ONNX graphs, those inside of `If`, `Loop` and `Scan` included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx

# What holds most of a network's arithmetic and is worth INT8; networks end, for quantization, with the last of them.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds: branches and bodies."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def every_graph(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all that are inside of it."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from every_graph(inner)


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of all that are inside of it."""
    for one in every_graph(graph):
        yield from one.node


def needs(node: onnx.NodeProto) -> list[str]:
    """Names of the tensors that a node reads: its inputs, and what the graphs inside of it take from around them."""
    found = [name for name in node.input if name]
    for inner in subgraphs(node):
        own = {value.name for value in inner.input} | {tensor.name for tensor in inner.initializer}
        own |= {name for one in inner.node for name in one.output}
        found += [name for one in inner.node for name in needs(one) if name not in own]
        found += [value.name for value in inner.output if value.name not in own]
    return found


def given(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Its inputs, without the weights that older files list among them."""
    fixed = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in fixed]


def dimensions(value: onnx.ValueInfoProto) -> list[int | None]:
    """The shape of an input, output or inner tensor; None for what is left open."""
    dims = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims]


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators. Raises StopIteration for a model that has none."""
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


def keep_needed(graph: onnx.GraphProto, outputs: Sequence[str]) -> None:
    """Leave in a graph the nodes and weights that these of its tensors are made of; its outputs stay as they are."""
    wanted = set(outputs)
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(needs(node))
    weights = [tensor for tensor in graph.initializer if tensor.name in wanted]
    for field, left in ((graph.node, list(reversed(kept))), (graph.initializer, weights)):
        copies = [
            type(one).FromString(one.SerializeToString()) for one in left
        ]  # before their owner lets go of them
        del field[:]
        field.extend(copies)


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give tensors other names, everywhere in a graph and in those inside of it."""
    for one in every_graph(graph):
        for node in one.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for value in (*one.input, *one.output, *one.value_info, *one.initializer):
            value.name = names.get(value.name, value.name)


def tensor_names(graph: onnx.GraphProto) -> set[str]:
    """Every tensor's name, in a graph and in those inside of it."""
    found: set[str] = set()
    for one in every_graph(graph):
        found.update(value.name for value in (*one.input, *one.output, *one.initializer))
        found.update(name for node in one.node for name in (*node.input, *node.output) if name)
    return found


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give each node a name of its own, its type and place where it has none: quantizers and messages go by names."""
    taken: set[str] = set()
    for place, node in enumerate(every_node(graph)):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{place}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)
