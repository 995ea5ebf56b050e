"""What a board prints in MLPerf Tiny's text is what the bundle's image computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_ad.errors import SchemaError
from edge_ad.firmware_bridge.forms import read_forms
from edge_ad.firmware_bridge.image_steps import golden_vectors
from edge_ad.firmware_bridge.mlperf import compute
from edge_ad.firmware_bridge.port_spec import PortSpec, random_inputs
from edge_ad.rig.checks.base import Context
from edge_ad.rig.checks.reference import HostReference
from edge_ad.rig.devices.mlperf import TextDevice
from edge_ad.rig.outcome import Outcome
from edge_ad.rig.tables import AccuracyCheck

_POSIX = "posix"


def check(context: Context) -> Outcome:
    """All outputs, or the last one alone where the board prints only that: of detectors it is the score."""
    device, settings = context.text, context.settings
    forms = read_forms(device.image(context.live))
    vectors = _vectors(context, device, settings)
    specs = forms.outputs
    outputs = compute(device.line, [_form(forms.inputs[0], values, settings) for values, _ in vectors])
    worst, told = 0.0, []
    for number, (got, (_, wanted)) in enumerate(zip(outputs, vectors, strict=True)):
        kept = specs[-1:] if len(got) == specs[-1].size else specs
        if len(got) != sum(spec.size for spec in kept):
            return context.failed(
                "parity", f"input {number}: the board prints {len(got)} numbers, the network has "
                f"{sum(spec.size for spec in specs)}, the last of its outputs {specs[-1].size}",
            )  # fmt: skip
        expected = _numbers(kept, wanted[-len(kept) :])
        apart = np.abs(np.array(got, np.float64) - expected)
        wrong = np.flatnonzero(~_within(apart, kept, settings.tolerance))
        worst = max(worst, float(apart.max()))
        if wrong.size:
            place = wrong[0]
            told.append(f"output {place} of input {number} is {got[place]:g}, expected {expected[place]:g}")
    figures = {"inputs": len(vectors), "differing": len(told), "worst_difference": worst}
    if told:
        return context.failed("parity", f"{len(told)} of {len(vectors)} inputs differ: {told[0]}", **figures)
    return context.passed(f"{len(vectors)} inputs agree, worst difference {worst:.3g}", **figures)


def _numbers(specs: Sequence[PortSpec], raw: Sequence[bytes]) -> npt.NDArray[np.float64]:
    """What the outputs stand for, one behind the other."""
    return np.concatenate([
        (spec.read(one).ravel().astype(np.float64) - spec.zero_point) * spec.scale
        for spec, one in zip(specs, raw, strict=True)
    ])  # fmt: skip


def _within(
    apart: npt.NDArray[np.float64], specs: Sequence[PortSpec], tolerance: float | None
) -> npt.NDArray[np.bool_]:
    if tolerance is not None:
        return apart <= tolerance
    half: npt.NDArray[np.float64] = np.concatenate([np.full(spec.size, spec.scale / 2) for spec in specs])
    return apart < half


def _vectors(
    context: Context, device: TextDevice, settings: AccuracyCheck
) -> list[tuple[bytes, list[bytes]]]:
    """(input, outputs) of golden vectors, and of random inputs by this machine's engine where it has the image."""
    image = device.image(context.live)
    found = [(inputs[0], list(outputs)) for inputs, outputs in golden_vectors(image)]
    try:
        payload = context.live.manifest.payload(_POSIX)
    except SchemaError:
        return found
    ports = device.ports(context.live)
    reference = HostReference((context.live.folder / payload.model).read_bytes(), ports)
    values = random_inputs(ports.input, settings.inputs, settings.seed)
    return found + [(one, reference.outputs(one)) for one in values]


def _form(spec: PortSpec, values: bytes, settings: AccuracyCheck) -> bytes:
    if settings.form == "integers":
        return values
    return spec.dequantize(spec.read(values)).astype("<f4").tobytes()
