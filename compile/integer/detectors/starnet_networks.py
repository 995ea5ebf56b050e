"""STARNet's networks in 16 bits, and what lies around them, in integers.

Not in the 8 bits of other networks: the search asks for differences of bounds far below a step of 8 bits (with INT8
networks the AUROC of regret moved by up to 0.16 on the sets of docs/results.md, with these by 0.01), and on Cortex-M4
and M7 16 bits take fewer instructions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
import numpy.typing as npt
import torch

from edge_ad.compile.integer import layers16
from edge_ad.compile.integer.distances import (
    SQUARES_SHIFT,
    distance_port,
    emit_mahalanobis,
    emit_row_sums,
    gaussian,
)
from edge_ad.compile.integer.layers16 import Layer16, Range, out_shape, quantized
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records import Buffer
from edge_ad.compile.integer.records.layers16 import Standardise16
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.detectors.board_layers import Layer, apply
from edge_ad.detectors.starnet.board import BoardNetworks, board_networks
from edge_ad.detectors.starnet.data import is_vector
from edge_ad.detectors.starnet.detector import StarNet
from edge_ad.detectors.starnet.network import LOGVAR_RANGE
from edge_ad.firmware_bridge.port_spec import Array, PortSpec
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.integer.distances import Gaussian, mahalanobis, row_sums
from edge_ad.runtime.integer.functions import Int64
from edge_ad.runtime.integer.layers16 import standardise16
from edge_ad.runtime.integer.regret import STATE_BITS

IMAGE_UNIT, VECTOR_UNIT = 2.0**-15, 2.0**-11  # of the input: features in 0 to 1, standardised values
STATE = Range(2.0**-STATE_BITS)
HEADROOM = 2.0  # what is so many times larger than any value of the calibration inputs is still told apart
_HIDDEN = (1 << 14) - 1  # one bit less, so that weights have one more
_OFFSET_BITS = 8

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Networks16:
    """input: the image's. features: standardised ones, which the decoder gives too. constants (3, C): of
    `standardise16`. body, mean, logvar, decoder: as of `BoardNetworks`. gaussian: of sums along rows, `rows` of
    `length` values."""

    input: PortSpec
    features: PortSpec
    constants: Int64
    body: tuple[Layer16, ...]
    mean: Layer16
    logvar: Layer16
    decoder: tuple[Layer16, ...]
    gaussian: Gaussian
    rows: int
    length: int

    @property
    def latent(self) -> PortSpec:
        return PortSpec((1, *self.mean.out_shape), "int16", STATE.unit)

    @property
    def distance(self) -> PortSpec:
        return distance_port(self.rows)

    def encode(self, values: Array) -> dict[str, Int64]:
        """mean, logvar, features and mahalanobis of one input, by the operators' definitions."""
        x = values.astype(np.int64)
        features = standardise16(x.reshape(len(self.constants[0]), -1), self.constants)
        hidden = layers16.run(self.body, features)
        sums = row_sums(x.reshape(self.rows, self.length))
        return {
            "mean": self.mean.run(hidden),
            "logvar": self.logvar.run(hidden),
            "features": features,
            "mahalanobis": np.array(mahalanobis(sums, [self.gaussian], SQUARES_SHIFT)),
        }

    def decode(self, z: Int64) -> Int64:
        """Features, flat, of a point of the latent space."""
        return layers16.run(self.decoder, z).ravel()

    def emit_distance(self, builder: Builder, source: Buffer) -> Buffer:
        """Append the steps of the Mahalanobis distance, which asks nothing of the networks."""
        return emit_mahalanobis(
            builder, [self.gaussian], emit_row_sums(builder, source, self.rows, self.length)
        )

    def emit_encoder(self, builder: Builder, source: Buffer) -> dict[str, Buffer]:
        """Append the steps to mean, logvar and features."""
        channels, n = len(self.constants[0]), self.features.size
        features = builder.buffer(self.features.nbytes)
        held = builder.constant(self.constants.astype(np.int32))
        builder.step(
            Standardise16(source, features, held, channels, n // channels), reads=[source], writes=[features]
        )
        hidden = layers16.emit(builder, self.body, features)
        mean, logvar = (layer.emit(builder, hidden) for layer in (self.mean, self.logvar))
        return {"mean": mean, "logvar": logvar, "features": features}

    def emit_decoder(self, builder: Builder, z: Buffer) -> Buffer:
        """Append the steps of `decode`."""
        return layers16.emit(builder, self.decoder, z)


def networks16(detector: StarNet, inputs: Iterable[Tensor]) -> Networks16:
    """A detector's networks, with the ranges that these normal preprocessed inputs (1, …) show."""
    nets = board_networks(detector.encoder, detector.decoder)
    vector = is_vector(detector.input.shape)
    unit = VECTOR_UNIT if vector else IMAGE_UNIT
    channels, *extents = detector.input.shape[1:]
    shape = (channels,) if vector else (*extents, channels)
    seen = _Seen(detector, nets)
    for batch in inputs:
        seen.add(batch)
    features = Range(HEADROOM * seen.features / (1 << 15))
    body = _chain(nets.body, shape, features, seen.body, None)
    source = Range(HEADROOM * seen.body[-1] / (1 << 14), 0, _HIDDEN)
    flat = (prod(body[-1].out_shape),)
    logvars = Range(STATE.unit, *(int(limit / STATE.unit) for limit in LOGVAR_RANGE))
    mean, logvar = (
        quantized(layer, flat, source, result, where="starnet")
        for layer, result in ((nets.mean, STATE), (nets.logvar, logvars))
    )
    first = nets.decoder[0]
    assert first.weights.ndim == 2
    decoder = _chain(nets.decoder, (first.weights.shape[1],), STATE, seen.decoder, features, nets.grid)
    rows, length = prod(detector.input.shape[1:-1]), detector.input.shape[-1]
    return Networks16(
        input=PortSpec(detector.input.shape, "int16", unit),
        features=PortSpec((1, *shape), "int16", features.unit),
        constants=_standardising(detector, unit, features.unit),
        body=body, mean=mean, logvar=logvar, decoder=decoder,
        gaussian=_row_gaussian(detector, unit, length), rows=rows, length=length,
    )  # fmt: skip


class _Seen:
    """The largest absolute value after each layer, over inputs and what the search asks of the decoder for them."""

    def __init__(self, detector: StarNet, nets: BoardNetworks):
        self._detector, self._nets = detector, nets
        self.features = 1e-6
        self.body, self.decoder = [1e-6] * len(nets.body), [1e-6] * len(nets.decoder)

    def add(self, batch: Tensor) -> None:
        with torch.no_grad():
            given = self._detector.front(torch.from_numpy(np.ascontiguousarray(batch)))[0][0].double().numpy()
        x = given.transpose(1, 2, 0) if given.ndim == 3 else given
        self.features = max(self.features, float(np.abs(x).max()))
        hidden = self._run(self._nets.body, x, self.body)
        mean, logvar = (apply(layer, hidden)[None] for layer in (self._nets.mean, self._nets.logvar))
        for points in self._detector.around({"mean": mean, "logvar": logvar.clip(*LOGVAR_RANGE)}):
            for z in points.astype(np.float64):
                made = self._run(self._nets.decoder, z, self.decoder, self._nets.grid)
                self.features = max(self.features, float(np.abs(made).max()))

    def _run(
        self, layers: tuple[Layer, ...], x: Float64, seen: list[float], grid: tuple[int, ...] | None = None
    ) -> Float64:
        for i, layer in enumerate(layers):
            x = apply(layer, x)
            seen[i] = max(seen[i], float(np.abs(x).max()))
            if i == 0 and grid is not None:
                x = x.reshape(grid)
        return x


def _chain(
    layers: tuple[Layer, ...], shape: tuple[int, ...], source: Range, seen: list[float], result: Range | None,
    grid: tuple[int, ...] | None = None,
) -> tuple[Layer16, ...]:  # fmt: skip
    """Layers in order; all results but the last one's, where `result` is that, are ReLU's."""
    ranges = [source, *(Range(HEADROOM * most / (1 << 14), 0, _HIDDEN) for most in seen)]
    if result is not None:
        ranges[-1] = result
    made = []
    for i, (layer, (given, taken)) in enumerate(zip(layers, pairwise(ranges), strict=True)):
        made.append(quantized(layer, shape, given, taken, where="starnet"))
        shape = grid if i == 0 and grid is not None else out_shape(layer, shape)
    return tuple(made)


def _standardising(detector: StarNet, unit: float, result: float) -> Int64:
    """(3, C) constants from an input in units of `unit` to standardised features in units of `result`."""
    mean, std = (t.double().numpy().ravel() for t in (detector.front.mean, detector.front.std))
    factors = [quantize_multiplier(float(factor)) for factor in unit / (std * result * (1 << _OFFSET_BITS))]
    return np.stack([np.rint(mean / unit * (1 << _OFFSET_BITS)), *np.array(factors).T]).astype(np.int64)


def _row_gaussian(detector: StarNet, unit: float, length: int) -> Gaussian:
    """Of sums of the raw input along its rows: what `Front` makes of their means."""
    front = detector.front
    row_mean, row_std = (t[0].double().numpy() for t in (front.row_mean, front.row_std))
    mean, std = (t[0, ..., 0].double().numpy() for t in (front.mean, front.std))  # (C, 1), or (C,) of vectors
    centre = (row_mean * std + mean) * length / unit
    return gaussian(centre.ravel(), (unit / (length * std * row_std)).ravel())
