"""Capture of a network that came as ONNX: folded, of an opset that the target reads, cut where the score begins."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edge_ad.bundle.names import shown
from edge_ad.compile.onnx_graphs import folded, merged
from edge_ad.compile.onnx_opsets import at_most
from edge_ad.compile.onnx_split import after_the_last_weighted, made_from, split, typed
from edge_ad.detectors.base import OnnxStages
from edge_ad.detectors.imported.graphs import keep_needed, name_nodes, rename, subgraphs
from edge_ad.detectors.imported.stages import CORE_INPUT, KEPT
from edge_ad.errors import TargetError


def stages_for(stages: OnnxStages, opset: int) -> tuple[bytes, bytes, bytes | None]:
    """Front, core and tail in an opset that is not newer; the core ends where quantization has to.

    What follows the core's last weighted operator, or one of `stages.exact_from`, goes to the tail: it makes the score,
    costs little, and a map that is resized from 8 bits would be an 8-bit score. Raises TargetError naming an
    operator that the opset does not have, and branches or loops that folding leaves.
    """
    front, core, tail = (onnx.load_from_string(one) for one in (stages.front, stages.core, stages.tail))
    whole = _simplified(merged(core, tail), opset, stages.exact_from)
    for node in whole.graph.node:
        if next(subgraphs(node), None) is not None:
            raise TargetError(
                f"node {shown(node.name)} is a {node.op_type}, and no quantizer takes branches or loops",
                hint="export the network without them",
            )
    exact = made_from(whole, stages.exact_from) | after_the_last_weighted(whole)
    core, rest = split(whole, exact, "cut_")
    passes = rest is not None and _takes_what_was_kept(rest)
    if not passes:
        _drop_output(front, KEPT)
    front = at_most(front, opset)
    return front.SerializeToString(), core.SerializeToString(), rest and rest.SerializeToString()


def _simplified(model: onnx.ModelProto, opset: int, kept: Sequence[str]) -> onnx.ModelProto:
    """The network folded, in an opset that is not newer; these tensors have kept their names, each node has one of its
    own."""
    own = len(model.graph.output)
    there = {output.name for output in model.graph.output}
    model.graph.output.extend(typed(model, [name for name in kept if name not in there]).values())
    made = folded(model.SerializeToString())  # which leaves outputs their names
    name_nodes(made.graph)
    made = at_most(made, opset)
    del made.graph.output[own:]
    return made


def _takes_what_was_kept(tail: onnx.ModelProto) -> bool:
    """Whether a tail takes the core's input, which it then takes as the front keeps it."""
    names = [value.name for value in tail.graph.input]
    if CORE_INPUT in names and KEPT in names:
        del tail.graph.input[names.index(CORE_INPUT)]
    rename(tail.graph, {CORE_INPUT: KEPT})
    return CORE_INPUT in names or KEPT in names


def _drop_output(model: onnx.ModelProto, name: str) -> None:
    left = [output for output in model.graph.output if output.name != name]
    keep_needed(model.graph, [output.name for output in left])
    del model.graph.output[[output.name for output in model.graph.output].index(name)]
