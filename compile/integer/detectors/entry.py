"""What comes before a network on a board: its own INT8 input as a port, or raw samples and the features of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_ad.bundle.manifest import InputSpec
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records import Buffer
from edge_ad.compile.integer.records.spectrum import LogMel, Narrow
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.firmware_bridge.port_spec import Array, PortSpec
from edge_ad.runtime.integer.log_mel import STANDARD_UNIT, tables
from edge_ad.runtime.integer.narrow import narrow
from edge_ad.runtime.series.log_mel import LogMelFront, log_mel_front
from edge_ad.runtime.series.samples import samples_spec


@dataclass(frozen=True)
class Entry:
    """port: the image's input. emit: declares it and appends steps up to the network's input, whose buffer it gives.
    reference: the same in NumPy. taken: what the host makes of acquired data for the port, None for the detector's
    preprocessing. notes: sentences for the report."""

    port: PortSpec
    emit: Callable[[Builder], Buffer]
    reference: Callable[[Array], Array]
    taken: InputSpec | None = None
    notes: tuple[str, ...] = ()


def entry(spec: InputSpec, given: PortSpec) -> Entry:
    """For a detector of series with this input, and its network's INT8 input `given`, in the detector's shape."""
    front = log_mel_front(spec.preprocess)
    if front is not None:
        return _log_mel(spec, front, given)
    streamed = (
        len(given.shape) > 2 and given.shape[2] > 1
    )  # its window moves on from one inference to the next
    return Entry(given, lambda builder: builder.input(given, keep=streamed), lambda values: values)


def _log_mel(spec: InputSpec, front: LogMelFront, given: PortSpec) -> Entry:
    features = front.features
    port = PortSpec((1, features.length), "int16", front.unit)
    multiplier, shift = quantize_multiplier(STANDARD_UNIT / given.scale)

    def emit(builder: Builder) -> Buffer:
        samples = builder.input(port, keep=True)
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
        vector = builder.buffer(features.values)
        builder.step(
            Narrow(found, vector, features.values, multiplier, shift, given.zero_point),
            reads=[found], writes=[vector], in_place=[(found, vector)],
        )  # fmt: skip
        return vector

    def reference(values: Array) -> Array:
        return narrow(front(values[0]), multiplier, shift, given.zero_point).reshape(given.shape)

    taken = InputSpec(
        modality="series", shape=port.shape, dtype="float32", preprocess=samples_spec(features.length),
        window=spec.window,
    )  # fmt: skip
    note = (
        f"The image takes {features.length} raw samples (int16, a step is {front.unit:g}) and computes their log-mel "
        f"features itself: {features.frames} frames of {features.bands} bands, the integers of the preprocessing."
    )
    return Entry(port, emit, reference, taken, (note,))
