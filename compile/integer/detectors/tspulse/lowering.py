"""TSPulse on a board: all of it in integers, the residual stream in 16 bits, one channel after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.detectors import BoardDetector
from edge_ad.compile.integer.detectors.form import SCORE, BoardForm
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.detectors.tspulse.emit import STREAMS, emit_errors, emit_score
from edge_ad.compile.integer.detectors.tspulse.network import ErrorScales, Network
from edge_ad.compile.integer.detectors.tspulse.quantize import error_scales, integer_network, score_unit
from edge_ad.compile.integer.detectors.tspulse.reference import Reference
from edge_ad.compile.integer.lower import Builder
from edge_ad.detectors.base import Detector
from edge_ad.detectors.tspulse.config import PRESETS
from edge_ad.detectors.tspulse.detector import TsPulse
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.integer.windows import ERROR_BITS, INPUT_BITS

ERRORS = "errors"


def lower(material: Material) -> BoardForm:
    """In goes the standardised window in steps of 2^-9, out its errors, and with the head the score.

    Raises TargetError for presets of another norm or gate, and windows whose length is no power of two.
    """
    detector = material.detector
    assert isinstance(detector, TsPulse)
    network = integer_network(detector.config, detector.scaling, detector.core, _windows(material, detector))
    return network_form(network)


def _windows(material: Material, detector: TsPulse) -> Iterator[npt.NDArray[np.float32]]:
    """Calibration windows; the newest part of them for a preset with shorter ones."""
    for window in material.calibration.batches():
        yield np.asarray(window, np.float32)[:, :, -detector.config.context :]


def network_form(network: Network, scales: ErrorScales | None = None) -> BoardForm:
    """The form of a network in integers, with its score where there are scales."""
    given = PortSpec((1, network.channels, network.context), "int16", 2.0**-INPUT_BITS)
    outputs = {ERRORS: PortSpec((1, STREAMS, network.channels), "int32", 2.0**-ERROR_BITS)}
    if scales is not None:
        outputs[SCORE] = PortSpec((1, 1), "int32", score_unit(scales))

    def emit(builder: Builder) -> None:
        window = builder.input(given, keep=True)
        errors = emit_errors(builder, network, window)
        builder.output(outputs[ERRORS], errors)
        if scales is not None:
            builder.output(outputs[SCORE], emit_score(builder, errors, scales))

    largest = given.scale * np.iinfo(given.dtype).max
    return BoardForm(
        input=given,
        outputs=outputs,
        emit=emit,
        reference=Reference(network, scales),
        finish=lambda head: network_form(network, error_scales(head)),
        notes=(
            "Weights are INT8, one scale a unit; activations and the residual stream are int16, sums 32 bits; the "
            "window's scale, its spectrum and the errors are computed in 32 and 64 bits.",
            f"Values further than {largest:.0f} standard deviations from the training mean count as that far.",
            f"One channel after the other: {network.channels} of them take the memory of one, but for their samples.",
        ),
    )


def unfitted(detector: Detector, preset: str) -> Detector:
    """The same channels with another preset, to see whether that would fit."""
    assert isinstance(detector, TsPulse)
    return detector.unfitted(preset)


BOARD = BoardDetector(
    lower,
    tuple(PRESETS),
    unfitted,
    settled="TSPulse's sums have 16 bits on boards anyway, its products 8-bit weights",
)
