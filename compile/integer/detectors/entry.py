"""What comes before a network on a board: standardised values, or raw samples and the features of them.

Either way they are int16, and the network gets them on the grid of its INT8 input. That grid reaches as far as what is
normal; a score that compares with the network's input needs what lies beyond too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_ad.bundle.manifest import InputSpec
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records import Buffer
from edge_ad.compile.integer.records.spectrum import LogMel
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.firmware_bridge.port_spec import Array, PortSpec
from edge_ad.runtime.integer.log_mel import STANDARD_UNIT, tables
from edge_ad.runtime.integer.narrow import narrow
from edge_ad.runtime.series.log_mel import LogMelFront, log_mel_front
from edge_ad.runtime.series.samples import samples_spec


@dataclass(frozen=True)
class Entry:
    """port: the image's input. values: what is standardised. emit: declares the port and appends the steps up to the
    values, whose buffer it gives. narrow: multiplier and shift by which values become the network's INT8 input.
    reference: in NumPy, the values and that input. taken: what the
    host makes of acquired data for the port, None for the detector's preprocessing. notes: sentences for the report."""

    port: PortSpec
    values: PortSpec
    emit: Callable[[Builder], Buffer]
    narrow: tuple[int, int]
    reference: Callable[[Array], tuple[Array, Array]]
    taken: InputSpec | None = None
    notes: tuple[str, ...] = ()


def entry(spec: InputSpec, given: PortSpec) -> Entry:
    """For a detector of series with this input, and its network's INT8 input `given`, in the detector's shape."""
    values = PortSpec(given.shape, "int16", STANDARD_UNIT)
    multiplier, shift = quantize_multiplier(values.scale / given.scale)
    front = log_mel_front(spec.preprocess)

    def emit(builder: Builder) -> Buffer:
        # The window of a stream moves on from one inference to the next; vectors of one row come anew.
        if front is not None:
            return _features(builder, front)
        return builder.input(values, keep=given.shape[2] > 1)

    def reference(taken: Array) -> tuple[Array, Array]:
        found = taken if front is None else front(taken)
        return found, narrow(found, multiplier, shift, given.zero_point).reshape(given.shape)

    if front is None:
        return Entry(values, values, emit, (multiplier, shift), reference)
    length = front.features.length
    taken = InputSpec(
        modality="series",
        shape=(1, length),
        dtype="float32",
        preprocess=samples_spec(length),
        window=spec.window,
    )
    note = (
        f"The image takes {length} raw samples (int16, a step is {front.unit:g}) and computes their log-mel features "
        f"itself: {front.features.frames} frames of {front.features.bands} bands, the integers of the preprocessing."
    )
    return Entry(_samples(front), values, emit, (multiplier, shift), reference, taken, (note,))


def _samples(front: LogMelFront) -> PortSpec:
    return PortSpec((1, front.features.length), "int16", front.unit)


def _features(builder: Builder, front: LogMelFront) -> Buffer:
    """The port of raw samples, and the step that makes features of them, whose buffer it gives."""
    features = front.features
    samples = builder.input(_samples(front), keep=True)
    found, work = builder.buffer(2 * features.values), builder.buffer(4 * features.frame)
    made = tables(features)
    builder.step(
        LogMel(
            input=samples, output=found, work=work, starts=builder.constant(made.starts),
            fractions=builder.constant(made.fractions), offsets=builder.constant(made.offsets),
            means=builder.constant(np.array(front.means, np.int16)),
            gains=builder.constant(np.array(front.gains, np.int32)), frames=features.frames, hop=features.hop,
            bands=features.bands, log2_size=features.frame.bit_length() - 1, floor=features.floor,
        ),
        reads=[samples], writes=[found, work],
    )  # fmt: skip
    return found
