"""TSPulse's network in integers as steps of a board's engine, one channel after the other."""

from __future__ import annotations

from math import prod

import numpy as np

from edge_ad.compile.integer.detectors.tspulse.network import ErrorScales, Linear, Mixer, Network
from edge_ad.compile.integer.detectors.tspulse.quantize import GELU_BITS, SIGMOID_BITS
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.operators.packing import pack
from edge_ad.compile.integer.records import Buffer, Ref, Stretch
from edge_ad.compile.integer.records.moves import Fill
from edge_ad.compile.integer.records.residual import (
    Curve,
    FeatureScale,
    FullyConnectedWide,
    GatedAdd,
    TokenNorm,
)
from edge_ad.compile.integer.records.series import (
    ErrorStreams,
    HalfSpectra,
    InversePatch,
    PatchErrors,
    Repeat,
    WindowScale,
)
from edge_ad.runtime.integer.rfft import log2_size

STREAMS = 3  # of errors


def emit_errors(builder: Builder, network: Network, window: Buffer) -> Buffer:
    """All steps from the windows (channels, S) int16 to their errors (3, channels) int32.

    The steps of one channel stand once; `Repeat` runs them again for each further one. The counter tells them which
    channel's row they read and write, so that activations are one channel's, however many there are.
    """
    counter, errors = builder.buffer(4), builder.buffer(4 * STREAMS * network.channels)
    builder.step(Fill(output=counter, count=4, value=0), reads=[], writes=[counter, errors])
    builder.program.parameters += network.parameters
    first = builder.next_step
    _channel(builder, network, window, counter, errors)
    if network.channels > 1:
        loop = Repeat(counter=counter, first=first, count=builder.next_step - first, times=network.channels)
        macs = sum(step.macs for step in builder.program.steps[first:]) * (network.channels - 1)
        builder.step(loop, reads=[window, counter, errors], writes=[errors, counter], macs=macs)
    return errors


def _channel(builder: Builder, network: Network, window: Buffer, counter: Buffer, errors: Buffer) -> None:
    n = network
    scaled, statistics = builder.buffer(2 * n.context), builder.buffer(8)
    _window_scale(builder, n, window, counter, scaled, statistics)
    values, sizes, work = builder.buffer(2 * n.context), builder.buffer(16), builder.buffer(4 * n.context)
    spectra = HalfSpectra(
        input=scaled,
        output=values,
        sizes=sizes,
        work=work,
        log2_size=log2_size(n.context),
        floor=n.spectrum_floor,
    )
    builder.step(spectra, reads=[scaled], writes=[values, sizes, work])
    stream = _tokens(builder, n, scaled, values)
    for mixer in n.mixers:
        _mixer(builder, n, mixer, stream)
    time = _linear(builder, n.time_head, stream, 1, first=n.patches - 1)
    spectrum = _linear(builder, n.spectrum_head, stream, n.patches, first=n.patches)
    inverse = builder.buffer(4 * n.patch)
    scaling = n.inverse.scaling
    record = InversePatch(
        values=spectrum, sizes=sizes, output=inverse, log2_size=log2_size(n.context), patch=n.patch,
        bits=n.inverse.bits, extra=n.inverse.extra, multiplier=scaling.multiplier, shift=scaling.shift,
        offset=scaling.offset,
    )  # fmt: skip
    builder.step(record, reads=[spectrum, sizes], writes=[inverse], macs=n.patch * n.context)
    found = PatchErrors(
        time=time, spectrum=inverse, input=window, statistics=statistics, channel=counter, errors=errors,
        channels=n.channels, size=n.context, patch=n.patch, multiplier=n.time.multiplier, shift=n.time.shift,
        offset=n.time.offset,
    )  # fmt: skip
    builder.step(found, reads=[time, inverse, window, statistics, counter, errors], writes=[errors])


def _window_scale(
    builder: Builder, network: Network, window: Buffer, counter: Buffer, scaled: Buffer, statistics: Buffer
) -> None:
    found = network.window
    record = WindowScale(
        input=window, channel=counter, token=builder.constant(found.token), output=scaled, statistics=statistics,
        channels=network.channels, size=network.context, patch=network.patch,
        floor_low=found.floor & 0xFFFFFFFF, floor_high=found.floor >> 32, multiplier=found.scaling.multiplier,
        shift=found.scaling.shift, offset=found.scaling.offset,
    )  # fmt: skip
    builder.step(record, reads=[window, counter], writes=[scaled, statistics])


def _tokens(builder: Builder, network: Network, scaled: Buffer, values: Buffer) -> Buffer:
    """Series and spectrum (S,) to the normed tokens (N, width): the residual stream."""
    norm = network.norm
    time = _linear(builder, network.time_embedding, scaled, network.patches)
    spectrum = _linear(builder, network.spectrum_embedding, values, network.patches)
    stream = builder.buffer(2 * norm.gains.size)
    b: Ref = spectrum
    c: Ref = builder.constant(norm.registers) if norm.registers.size else None
    sizes = [time.size // 2, spectrum.size // 2, norm.registers.size]
    if c is None:  # the operator has three parts: without registers, the spectrum gives the third
        b, c = (_rows(spectrum, part, network.width) for part in ((0, 1), (1, network.patches - 1)))
        sizes[1:] = b.size // 2, c.size // 2
    record = TokenNorm(
        a=time, b=b, c=c, output=stream, gains=builder.constant(norm.gains), biases=builder.constant(norm.biases),
        a_size=sizes[0], b_size=sizes[1], c_size=sizes[2], floor_low=norm.floor & 0xFFFFFFFF,
        floor_high=norm.floor >> 32, shift=norm.shift,
    )  # fmt: skip
    builder.step(record, reads=[time, spectrum], writes=[stream])
    return stream


def _mixer(builder: Builder, network: Network, mixer: Mixer, stream: Buffer) -> None:
    """The stream (N, width) plus the mixer's gated output; over tokens all between lies transposed."""
    rows, columns, transposed = mixer.read[1], network.width, int(mixer.over_tokens)
    batch = columns if transposed else rows
    if mixer.features is None:
        assert not transposed
        up = _linear(builder, mixer.up, stream, batch, first=mixer.read[0])
    else:
        normed = builder.buffer(2 * rows * columns)
        record = FeatureScale(
            input=_rows(stream, mixer.read, columns), output=normed, features=builder.constant(mixer.features),
            rows=rows, columns=columns, transposed=transposed,
        )  # fmt: skip
        builder.step(record, reads=[stream], writes=[normed])
        up = _linear(builder, mixer.up, normed, batch)
    bent = builder.buffer(up.size)
    table = builder.constant(mixer.gelu)
    curve = Curve(input=up, output=bent, table=table, bits=GELU_BITS, size=up.size // 2)
    builder.step(curve, reads=[up], writes=[bent], in_place=[(up, bent)])
    hidden = _linear(builder, mixer.down, bent, batch)
    gate = _linear(builder, mixer.gate, bent if mixer.from_hidden else hidden, batch)
    add = GatedAdd(
        stream=_rows(stream, mixer.made, columns), hidden=hidden, gate=gate, table=builder.constant(mixer.sigmoid),
        bits=SIGMOID_BITS, rows=mixer.made[1], columns=columns, transposed=transposed,
        multiplier=mixer.add.multiplier, shift=mixer.add.shift,
    )  # fmt: skip
    builder.step(add, reads=[stream, hidden, gate], writes=[stream])


def _rows(stream: Buffer, part: tuple[int, int], columns: int) -> Stretch:
    """Some tokens (first, count) of the stream."""
    return Stretch(stream, 2 * columns * part[0], 2 * columns * part[1])


def _linear(builder: Builder, layer: Linear, source: Buffer, batch: int, first: int = 0) -> Buffer:
    """Rows `first` to first + batch - 1 of `source` times the layer's weights."""
    units, depth = layer.weights.shape
    output = builder.buffer(2 * batch * units)
    record = FullyConnectedWide(
        input=source, output=output, weights=builder.constant(pack(builder.kernels, FullyConnectedWide, layer.weights)),
        channels=builder.constant(layer.channels), first=first, batch=batch, depth=depth, units=units,
    )  # fmt: skip
    builder.step(record, reads=[source], writes=[output], macs=prod((batch, units, depth)))
    return output


def emit_score(builder: Builder, errors: Buffer, scales: ErrorScales) -> Buffer:
    """The score, int32 (1,), of errors (3, channels) int32."""
    score = builder.buffer(4)
    streams, channels = scales.multipliers.shape
    record = ErrorStreams(
        errors=errors, output=score, scales=builder.constant(np.stack([scales.multipliers, scales.shifts])),
        streams=streams, channels=channels, top=scales.top,
    )  # fmt: skip
    builder.step(record, reads=[errors], writes=[score])
    return score
