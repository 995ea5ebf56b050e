"""By what a board judges for itself, from the thresholds of its payload and the stream that it watches."""

from __future__ import annotations

from edge_ad.bundle.manifest import InputSpec, PayloadThresholds
from edge_ad.firmware_bridge.monitor import MAX_CHANNELS, Monitor, Stream
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.integer.threshold import integer_threshold
from edge_ad.runtime.series.standardise import STANDARDISE

_WIDTHS = {"int8": 1, "int16": 2}


def monitor_of(thresholds: PayloadThresholds, score: PortSpec, spec: InputSpec, port: PortSpec) -> Monitor:
    """Thresholds in the integers of `score`; spec, port: the detector's input, and the image's."""
    band, allowed = thresholds.rejection, thresholds.allowed
    threshold = _units(thresholds.compiled.value, score)
    lower, upper = (
        (threshold, threshold) if band is None else (_units(band.lower, score), _units(band.upper, score))
    )
    lowest, highest = (threshold, threshold) if allowed is None else (_units(v, score) for v in allowed)
    return Monitor(
        threshold, min(lower, threshold), max(upper, threshold), min(lowest, threshold), max(highest, threshold),
        score.scale, _stream(spec, port),
    )  # fmt: skip


def _units(value: float, score: PortSpec) -> int:
    """The largest score that is not above `value`, so that host and board agree on every score."""
    return integer_threshold(value, score.scale)


def _stream(spec: InputSpec, port: PortSpec) -> Stream | None:
    """How rows become the image's windows; None where each inference is a frame: images, scans, wide vectors."""
    window, width = spec.window, _WIDTHS.get(port.dtype)
    if window is None or width is None or len(window.channels) > MAX_CHANNELS:
        return None
    channels = len(window.channels)
    if port.size != channels * window.length:
        return None
    if spec.preprocess.name == STANDARDISE:
        mean, std = tuple(spec.preprocess.params["mean"]), tuple(spec.preprocess.params["std"])
        return Stream(window.hop, window.length, mean, std, port.scale, width, port.zero_point)
    # Raw samples: those of a converter are the window's own steps.
    nothing, one = (0.0,) * channels, (1.0,) * channels
    return Stream(
        window.hop, window.length, nothing, one, port.scale, width, port.zero_point, count=port.scale
    )
