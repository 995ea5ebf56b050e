"""The autoencoder on a board: the INT8 network, and the squared error of its input and output in wide integers."""

from __future__ import annotations

from dataclasses import replace

from edge_ad.compile.integer import squared_error
from edge_ad.compile.integer.detectors import BoardDetector
from edge_ad.compile.integer.detectors.entry import Entry, entry
from edge_ad.compile.integer.detectors.form import SCORE, BoardForm
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.quantized import Quantized
from edge_ad.detectors.autoencoder.config import PRESETS
from edge_ad.detectors.autoencoder.detector import Autoencoder
from edge_ad.detectors.base import Detector
from edge_ad.firmware_bridge.port_spec import Array, PortSpec

RECONSTRUCTION = "reconstruction"


def lower(material: Material) -> BoardForm:
    """In goes the standardised window in the network's own INT8 steps, or the samples that it is the features of; out
    come its reconstruction and, with the head, the score."""
    spec = material.captured.input
    given = replace(material.core.inputs[0], shape=spec.shape)
    return _form(material.core, given, entry(spec, given), scored=False)


def _form(core: Quantized, given: PortSpec, begin: Entry, *, scored: bool) -> BoardForm:
    made = core.outputs[0]
    operator, score = squared_error.squared_error(begin.values, made)
    largest = squared_error.largest_difference(operator.multipliers, wide=True)

    def emit(builder: Builder) -> None:
        values, vector = begin.emit(builder)
        (reconstruction,) = builder.inline(core.graph, [vector])
        builder.output(made, reconstruction)
        if scored:
            builder.output(score, squared_error.emit(builder, operator, values, reconstruction))

    def reference(taken: Array) -> dict[str, Array]:
        values, vector = begin.reference(taken)
        (reconstruction,) = core.reference([vector])
        outputs = {RECONSTRUCTION: reconstruction}
        return {**outputs, SCORE: operator(values, reconstruction)} if scored else outputs

    return BoardForm(
        input=begin.port,
        outputs={RECONSTRUCTION: made, SCORE: score} if scored else {RECONSTRUCTION: made},
        emit=emit,
        reference=reference,
        finish=lambda head: _form(core, given, begin, scored=True),
        taken=begin.taken,
        notes=(
            *begin.notes,
            f"The score is exact in integers: differences of {largest.bit_length() + 1} bits, their "
            f"squares summed in 63, and one step of the result is {score.scale:.2g}.",
        ),
    )


def unfitted(detector: Detector, preset: str) -> Detector:
    """The same input with another preset, to see whether that would fit."""
    assert isinstance(detector, Autoencoder)
    return detector.unfitted(preset)


BOARD = BoardDetector(lower, tuple(PRESETS), unfitted)
