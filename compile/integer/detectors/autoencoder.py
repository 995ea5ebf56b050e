"""The autoencoder on a board: the INT8 network, and the squared error of its input and output in wide integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edge_ad.compile.integer import squared_error
from edge_ad.compile.integer.detectors import BoardDetector
from edge_ad.compile.integer.detectors.core import Core
from edge_ad.compile.integer.detectors.entry import Entry, entry
from edge_ad.compile.integer.detectors.form import SCORE, BoardForm
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.graph import Graph
from edge_ad.compile.integer.int16 import gives_int16
from edge_ad.compile.integer.kept import FINER, Mixed, Rewritten
from edge_ad.compile.integer.lower import Builder
from edge_ad.detectors.autoencoder.config import PRESETS
from edge_ad.detectors.autoencoder.detector import Autoencoder
from edge_ad.detectors.base import Detector
from edge_ad.firmware_bridge.port_spec import Array, PortSpec

RECONSTRUCTION = "reconstruction"


def lower(material: Material) -> BoardForm:
    """In goes the standardised window, or the samples that it is the features of; out come its reconstruction and,
    with the head, the score."""
    spec = material.captured.input
    core = Core(material.core, material.kept, material.target)
    begin = entry(spec, replace(core.quantized.inputs[0], shape=spec.shape))
    return _form(core, begin, _written(core, begin), scored=False)


def _form(core: Core, begin: Entry, written: Rewritten, *, scored: bool) -> BoardForm:
    made = _port(written.graph)
    operator, score = squared_error.squared_error(begin.values, made)
    largest = squared_error.largest_difference(operator.multipliers, begin.values, made)
    reconstruct = _reconstruct(core, written)

    def emit(builder: Builder) -> None:
        values = begin.emit(builder)
        (reconstruction,) = builder.inline(written.graph, [values])
        builder.output(made, reconstruction)
        if scored:
            builder.output(score, squared_error.emit(builder, operator, values, reconstruction, made.size))

    def reference(taken: Array) -> dict[str, Array]:
        values, vector = begin.reference(taken)
        reconstruction = reconstruct(values, vector)
        outputs = {RECONSTRUCTION: reconstruction}
        return {**outputs, SCORE: operator(values, reconstruction)} if scored else outputs

    return BoardForm(
        input=begin.port,
        outputs={RECONSTRUCTION: made, SCORE: score} if scored else {RECONSTRUCTION: made},
        emit=emit,
        reference=reference,
        finish=lambda head: _form(core, begin, written, scored=True),
        taken=begin.taken,
        notes=(
            *begin.notes,
            f"The score is exact in integers: differences of {largest.bit_length() + 1} bits, their "
            f"squares summed in 63, and one step of the result is {score.scale:.2g}.",
            *written.notes,
        ),
    )


def _written(core: Core, begin: Entry) -> Rewritten:
    """The network as a graph from the values, int16, to the reconstruction: INT8, or int16 of a last layer that is
    kept."""
    graph, draft = core.graph, Draft(core.graph)
    (given,), (output,) = graph.inputs, graph.outputs
    values = draft.tensor(graph.tensors[given].shape, np.int16, begin.values.scale)
    multiplier, shift = begin.narrow
    draft.node("narrow", [values], given, at=0, multiplier=multiplier, shift=shift)
    last = next(node for node in graph.nodes if output in node.outputs)
    if last.index in core.kept:
        output = gives_int16(draft, last, graph.tensors[output].scale / FINER)
    return core.with_kept(draft.graph([values], [output]))


def _port(graph: Graph) -> PortSpec:
    tensor = graph.tensors[graph.outputs[0]]
    return PortSpec(tensor.shape, str(tensor.dtype), tensor.scale, tensor.zero_point)


def _reconstruct(core: Core, written: Rewritten) -> Callable[[Array, Array], Array]:
    """By definition, the reconstruction of the values and of the network's INT8 input."""
    if not core.kept:
        return lambda values, vector: core.quantized.reference([vector])[0]
    mixed = Mixed(core.quantized.content, written.graph)
    return lambda values, vector: mixed.run([values], written.graph.outputs)[0]


def unfitted(detector: Detector, preset: str) -> Detector:
    """The same input with another preset, to see whether that would fit."""
    assert isinstance(detector, Autoencoder)
    return detector.unfitted(preset)


BOARD = BoardDetector(lower, tuple(PRESETS), unfitted)
