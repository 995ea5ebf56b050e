"""Cutting an ONNX network in two, and where: the nodes that no quantization may touch."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx
from onnx import helper, shape_inference

from edge_ad.bundle.names import shown
from edge_ad.compile.onnx_graphs import constants
from edge_ad.detectors.imported.graphs import WEIGHTED, dimensions, keep_needed, needs, rename
from edge_ad.errors import TargetError


def after_the_last_weighted(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that are no weighted operator and that none follows."""
    wanted: set[str] = set()  # tensors that a weighted operator is made of
    found = set()
    for node in reversed(model.graph.node):
        if node.op_type in WEIGHTED or wanted.intersection(node.output):
            wanted.update(needs(node))
        else:
            found.add(node.name)
    return found


def made_from(model: onnx.ModelProto, tensors: Collection[str]) -> set[str]:
    """Names of the nodes that need one of these tensors, by however many steps."""
    reached, found = set(tensors), set()
    for node in model.graph.node:
        if reached.intersection(needs(node)):
            reached.update(node.output)
            found.add(node.name)
    return found


def split(
    model: onnx.ModelProto, exact: Collection[str], cut: str
) -> tuple[onnx.ModelProto, onnx.ModelProto | None]:
    """A network in two: what comes before the nodes `exact`, and these; None for those where there are none.

    exact: names of nodes; whatever follows one of them is among them. cut: what the first one's outputs are called,
    with a number behind it. The second one takes these, and the whole one's input under its own name where it needs
    that; its outputs are the whole one's. Raises TargetError where the shape of what is cut is not known.
    """
    fixed = constants(model.graph)
    behind = [node for node in model.graph.node if node.name in exact and not fixed.issuperset(node.output)]
    if not behind:
        return model, None
    made = {name for node in behind for name in node.output}
    asked = [name for node in behind for name in needs(node)] + [out.name for out in model.graph.output]
    crossing = [name for name in dict.fromkeys(asked) if name not in made and name not in fixed]
    given = {value.name for value in model.graph.input}
    cuts = {name: f"{cut}{i}" for i, name in enumerate(name for name in crossing if name not in given)}
    values = typed(model, crossing)
    return _before(model, cuts, values), _behind(model, crossing, cuts, values)


def _before(
    model: onnx.ModelProto, cuts: dict[str, str], values: dict[str, onnx.ValueInfoProto]
) -> onnx.ModelProto:
    first = _copy(model)
    del first.graph.output[:]
    first.graph.output.extend(values[name] for name in cuts)
    keep_needed(first.graph, list(cuts))
    read = {name for node in first.graph.node for name in needs(node)}
    for value in [value for value in first.graph.input if value.name not in read]:
        first.graph.input.remove(value)
    rename(first.graph, cuts)
    return first


def _behind(
    model: onnx.ModelProto, crossing: list[str], cuts: dict[str, str], values: dict[str, onnx.ValueInfoProto]
) -> onnx.ModelProto:
    second = _copy(model)
    graph = second.graph
    del graph.input[:]
    graph.input.extend(values[name] for name in crossing)
    for node in [node for node in graph.node if not cuts.keys().isdisjoint(node.output)]:
        graph.node.remove(node)
    keep_needed(graph, [output.name for output in graph.output])
    rename(graph, cuts)
    passing = {renamed: name for name, renamed in cuts.items()}
    for output in graph.output:  # one that is made before the cut goes through, under its own name
        if (name := passing.get(output.name)) is not None:
            graph.node.append(helper.make_node("Identity", [output.name], [name], name=f"through {name}"))
            output.name = name
    return second


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    return copy


def typed(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, onnx.ValueInfoProto]:
    """These tensors with type and shape. Raises TargetError for one whose shape is not known."""
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    known = {value.name: value for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    for name in names:
        if name not in known or None in dimensions(known[name]):
            raise TargetError(
                f"the shape of tensor {shown(name)} is not known", hint="export the network with fixed shapes"
            )
    return {name: known[name] for name in names}
