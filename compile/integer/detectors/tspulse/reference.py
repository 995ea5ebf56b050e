"""What a board's TSPulse gives, by the definitions of its operators alone: the oracle of its image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_ad.compile.integer.detectors.tspulse.network import ErrorScales, Linear, Mixer, Network
from edge_ad.compile.integer.detectors.tspulse.quantize import GELU_BITS, SIGMOID_BITS
from edge_ad.runtime.integer.error_streams import error_streams
from edge_ad.runtime.integer.functions import Int64, curve
from edge_ad.runtime.integer.residual import feature_scale, fully_connected_wide, gated_add, token_norm
from edge_ad.runtime.integer.windows import half_spectra, inverse_patch, patch_errors, window_scale


@dataclass(frozen=True)
class Reference:
    """The network on windows (1, C, S) int16, with the score where there are scales."""

    network: Network
    scales: ErrorScales | None = None

    def __call__(self, windows: npt.NDArray[np.generic]) -> dict[str, npt.NDArray[np.int32]]:
        """`errors` (1, 3, C) in units of 2^-16, and `score` (1, 1)."""
        found = self.errors(windows)
        if self.scales is None:
            return {"errors": found}
        s = self.scales
        score = error_streams(
            found[0].astype(np.int64), s.multipliers.astype(np.int64), s.shifts.astype(np.int64), s.top
        )
        return {"errors": found, "score": np.array([[score]], np.int32)}

    def errors(self, windows: npt.NDArray[np.generic]) -> npt.NDArray[np.int32]:
        """(1, 3, C) int32 in units of 2^-16."""
        rows = [self._channel(row) for row in np.asarray(windows, np.int64)[0]]
        return np.stack(rows, axis=1)[None].astype(np.int32)

    def _channel(self, window: Int64) -> Int64:
        n, found = self.network, self.network.window
        w, s = found.scaling, n.inverse
        scaled, statistics = window_scale(
            window, found.token.astype(np.int64), found.floor, w.multiplier, w.shift, w.offset
        )
        values, sizes = half_spectra(scaled, n.spectrum_floor)
        tokens = self._tokens(scaled, values)
        time = _linear(tokens[n.patches - 1 : n.patches], n.time_head)[0]
        spectrum = _linear(tokens[n.patches : 2 * n.patches], n.spectrum_head).ravel()
        scaling = s.scaling
        inverse = inverse_patch(
            spectrum, sizes, n.patch, s.bits, s.extra, scaling.multiplier, scaling.shift, scaling.offset
        )
        newest = window[n.context - n.patch :]
        return patch_errors(time, inverse, newest, statistics, n.time.multiplier, n.time.shift, n.time.offset)

    def _tokens(self, scaled: Int64, values: Int64) -> Int64:
        n, norm = self.network, self.network.norm
        embedded = np.concatenate([
            _linear(scaled.reshape(n.patches, n.patch), n.time_embedding).ravel(),
            _linear(values.reshape(n.patches, n.patch), n.spectrum_embedding).ravel(),
            norm.registers.astype(np.int64),
        ])  # fmt: skip
        gains, biases = norm.gains.astype(np.int64), norm.biases.astype(np.int64)
        stream = token_norm(embedded, gains, biases, norm.floor, norm.shift).reshape(n.tokens, n.width)
        for mixer in n.mixers:
            stream = _mixed(stream, mixer)
        return stream


def _mixed(stream: Int64, mixer: Mixer) -> Int64:
    read, made = (slice(first, first + count) for first, count in (mixer.read, mixer.made))
    h = stream[read]
    if mixer.features is not None:
        h = feature_scale(h, mixer.features.astype(np.int64))
    h = h.T if mixer.over_tokens else h
    bent = curve(_linear(h, mixer.up), mixer.gelu.astype(np.int64), GELU_BITS)
    h = _linear(bent, mixer.down)
    gate = _linear(bent if mixer.from_hidden else h, mixer.gate)
    if mixer.over_tokens:
        h, gate = h.T, gate.T
    sigmoid, add = mixer.sigmoid.astype(np.int64), mixer.add
    changed = stream.copy()
    changed[made] = gated_add(stream[made], h, gate, sigmoid, SIGMOID_BITS, add.multiplier, add.shift)
    return changed


def _linear(x: Int64, layer: Linear) -> Int64:
    return fully_connected_wide(x, layer.weights.astype(np.int64), layer.channels.astype(np.int64))
