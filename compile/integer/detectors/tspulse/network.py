"""TSPulse's network in integers: what the board's records and their oracle are both made of.

Weights are INT8, one scale a unit; activations int16 without a zero point, with a power of two for their unit. The
residual stream has one unit all the way, so that its sums need no rescaling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]
Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Scaling:
    """value * real, for a real number: `multiplier` / 2^31 * 2^`shift`, then + `offset`."""

    multiplier: int
    shift: int
    offset: int = 0


@dataclass(frozen=True)
class Linear:
    """weights (units, depth). channels (2, units): bias and scale, as of `FullyConnectedWide`."""

    weights: Int8Array
    channels: Int32Array


@dataclass(frozen=True)
class Mixer:
    """features (3, width): the norm, None for none. up, down, gate: matrices. gelu, sigmoid: curves' tables. add: of
    the gated sum. from_hidden: whether the gate reads what `down` reads. read: (first, count) of the tokens that go in;
    made: of those that the gated sum changes.
    """

    over_tokens: bool
    from_hidden: bool
    read: tuple[int, int]
    made: tuple[int, int]
    features: Int32Array | None
    up: Linear
    gelu: Int16Array
    down: Linear
    gate: Linear
    sigmoid: Int16Array
    add: Scaling


@dataclass(frozen=True)
class Window:
    """A window scaled by itself. token (p,): what hides its newest patch."""

    token: Int16Array
    floor: int
    scaling: Scaling


@dataclass(frozen=True)
class TokenNorm:
    """The norm over all tokens. registers, gains, biases: one a value."""

    registers: Int16Array
    gains: Int16Array
    biases: Int16Array
    floor: int
    shift: int


@dataclass(frozen=True)
class Inverse:
    """From the spectrum head's values, in units of 2^-bits, to the newest patch."""

    bits: int
    extra: int
    scaling: Scaling


@dataclass(frozen=True)
class Network:
    """channels, context, patch, width, patches, tokens: as of the config. spectrum_floor: as of `HalfSpectra`."""

    channels: int
    context: int
    patch: int
    width: int
    window: Window
    spectrum_floor: int
    time_embedding: Linear
    spectrum_embedding: Linear
    norm: TokenNorm
    mixers: tuple[Mixer, ...]
    time_head: Linear
    spectrum_head: Linear
    inverse: Inverse
    time: Scaling

    @property
    def parameters(self) -> int:
        """Weights and biases of the matrices."""
        inner = [layer for mixer in self.mixers for layer in (mixer.up, mixer.down, mixer.gate)]
        outer = [self.time_embedding, self.spectrum_embedding, self.time_head, self.spectrum_head]
        return sum(layer.weights.size + len(layer.weights) for layer in inner + outer)

    @property
    def patches(self) -> int:
        return self.context // self.patch

    @property
    def tokens(self) -> int:
        return self.norm.gains.size // self.width


@dataclass(frozen=True)
class ErrorScales:
    """multipliers, shifts (streams, channels): of errors, to their ratio to the head's scales, in units of 2^-16.
    top: how many channels count."""

    multipliers: Int32Array
    shifts: Int32Array
    top: int
