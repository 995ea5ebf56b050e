"""Making ONNX networks: joined from their stages, folded, halved, written so that equal networks give equal bytes."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import compose

from edge_ad.detectors.imported.graphs import needs
from edge_ad.runtime.engines.base import Tensor


def folded(content: bytes) -> onnx.ModelProto:
    """Constants folded and batch normalisation merged by ONNX Runtime's basic optimisations: plain ONNX, same opset."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        model = onnx.load(path)
    wanted = onnx.load_from_string(content).opset_import
    standard = [opset for opset in wanted if opset.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(standard)  # the optimiser imports domains of its own that nothing uses
    return model


def joined(
    front: onnx.ModelProto | None, core: onnx.ModelProto, tail: onnx.ModelProto | None
) -> onnx.ModelProto:
    """One network of two or three, whose inputs and outputs are joined where they have the same name.

    What is left over stays an input or an output: the front's inputs and the last one's outputs.
    """
    stages = {"front": front, "core": core, "tail": tail}
    parts = [
        compose.add_prefix(stage, f"{name}/", rename_inputs=False, rename_outputs=False)
        for name, stage in stages.items()
        if stage is not None
    ]
    whole = parts[0]
    for part in parts[1:]:
        whole = merged(whole, part)
    last = {output.name for output in parts[-1].graph.output}
    kept = [output for output in whole.graph.output if output.name in last]
    del whole.graph.output[:]
    whole.graph.output.extend(kept)
    return whole


def merged(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    """Two networks of one opset as one, joined where an output of the first is called like an input of the second; no
    other names may be in both."""
    given = {output.name for output in first.graph.output}
    shared = [(value.name, value.name) for value in second.graph.input if value.name in given]
    whole: onnx.ModelProto = compose.merge_models(first, second, io_map=shared)
    opsets = {entry.domain: entry.version for entry in whole.opset_import}  # each was there twice
    del whole.opset_import[:]
    whole.opset_import.extend(onnx.helper.make_opsetid(*entry) for entry in opsets.items())
    return whole


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and values in float16; inputs and outputs stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that are too small for float16
        halved: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
    sort_nodes(halved.graph)  # the converter puts its casts at the end
    return halved


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put each node behind those that make what it reads."""
    from onnxruntime.transformers.onnx_model import OnnxModel

    OnnxModel.graph_topological_sort(graph)


def serialise(model: onnx.ModelProto) -> bytes:
    """Bytes without what differs from run to run and machine to machine: names of the producer, notes, traces."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for field in ("producer_name", "producer_version", "doc_string", "domain"):
        copy.ClearField(field)
    del copy.metadata_props[:]
    copy.graph.name = "network"
    copy.graph.ClearField("doc_string")
    del copy.graph.metadata_props[:]
    del copy.graph.value_info[:]
    for node in copy.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    onnx.checker.check_model(copy)
    return bytes(copy.SerializeToString(deterministic=True))


def through(model: onnx.ModelProto, batches: Iterable[Tensor]) -> Iterator[dict[str, Tensor]]:
    """The outputs of a network with one input for each batch, by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]
    for batch in batches:
        yield dict(zip(names, session.run(None, {name: batch}), strict=True))


def constants(graph: onnx.GraphProto) -> set[str]:
    """Names of tensors that do not depend on the input: initialisers, constants, and what is made of them alone."""
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        read = needs(node)
        if node.op_type == "Constant" or (read and found.issuperset(read)):
            found.update(node.output)
    return found


def attributes(node: onnx.NodeProto) -> Mapping[str, Any]:
    """A node's attributes by name."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


logging.getLogger("onnxruntime").setLevel(logging.ERROR)
