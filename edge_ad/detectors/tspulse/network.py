"""The network of TSPulse: dual-space tokens, gated mixers, reconstruction heads (arXiv 2505.13033, section 3).

Channels are independent: a batch holds one channel of one window in each row, so the same weights serve 1 to 64
channels. Shapes: B rows, S samples of context, P patches of p samples, N = 2P + R tokens of d features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_ad.detectors.tspulse.config import Gate, Norm, TsPulseConfig


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of the features of tokens (B, N, d); a constant affine map in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            normed: Tensor = super().forward(x.transpose(1, 2)).transpose(1, 2)
            return normed
        gain, offset = self.gain_and_offset()
        return x * gain + offset

    def gain_and_offset(self) -> tuple[Tensor, Tensor]:
        """What each feature is multiplied by in evaluation, and what is added, (d,) each."""
        assert self.running_mean is not None and self.running_var is not None
        gain = self.weight * torch.rsqrt(self.running_var + self.eps)
        return gain, self.bias - self.running_mean * gain


class GatedUnit(nn.Module):
    """h * gate(Linear(read)) over the last axis; a softmax gate has mean 1 / n, a sigmoid gate 1 / 2 at first."""

    def __init__(self, n: int, read: int, gate: Gate):
        super().__init__()
        self.linear, self.gate = nn.Linear(read, n), gate

    def forward(self, h: Tensor, read: Tensor) -> Tensor:
        weight = self.linear(read)
        return h * (torch.sigmoid(weight) if self.gate == "sigmoid" else torch.softmax(weight, dim=-1))


class Mixer(nn.Module):
    """x + gate(MLP(norm(x))) with the MLP over tokens or over features of x (B, N, d).

    kept: the tokens that are given, None for all. In the scoring form the gate reads the MLP's hidden layer, and over
    features there is no batch norm.
    """

    def __init__(self, n: int, config: TsPulseConfig, *, over_tokens: bool, kept: slice | None = None):
        super().__init__()
        self.over_tokens, self.kept = over_tokens, kept
        self.from_hidden = config.form == "scoring"
        hidden, made = n * config.expansion, n if kept is None else kept.stop - kept.start
        self.norm = nn.Identity() if config.folded and not over_tokens else _norm(config.norm, config.width)
        self.up = nn.Linear(n, hidden)
        self.down = nn.Linear(hidden, made)
        self.gate = GatedUnit(made, hidden if self.from_hidden else made, config.gate)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        if self.over_tokens:
            h = h.transpose(1, 2)
        hidden = functional.dropout(functional.gelu(self.up(h)), self.dropout, self.training)
        h = functional.dropout(self.down(hidden), self.dropout, self.training)
        h = self.gate(h, hidden if self.from_hidden else h)
        if self.over_tokens:
            h = h.transpose(1, 2)
        return (x if self.kept is None else x[:, self.kept]) + h


class Core(nn.Module):
    """Embeddings, backbone, decoder, heads: the part with weights worth quantizing.

    Widths are those of the layers; a pruned core may have no registers.
    """

    may_be_empty = frozenset({"registers"})

    def __init__(self, config: TsPulseConfig):
        super().__init__()
        p, d = config.patch, config.width
        self.patches, self.patch, self.trimmed = config.patches, p, config.trimmed
        self.time_embedding, self.spectrum_embedding = nn.Linear(p, d), nn.Linear(p, d)
        self.registers = nn.Parameter(torch.randn(config.registers, d))
        self.base_norm = nn.LayerNorm(config.tokens * d)
        layers: list[nn.Module] = []
        count = config.layers + config.decoder_layers
        for number in range(count):
            kept = config.read_tokens if config.trimmed and number == count - 1 else None
            layers += [
                Mixer(config.tokens, config, over_tokens=True, kept=kept),
                Mixer(d, config, over_tokens=False),
            ]
        self.mixers = nn.Sequential(*layers)
        self.time_head, self.spectrum_head = nn.Linear(d, p), nn.Linear(d, p)

    def tokens(self, series: Tensor, spectrum: Tensor) -> Tensor:
        """Scaled series and spectrum (B, S) each to decoded tokens (B, N, d): time, spectrum, registers; where the core
        is trimmed, to (B, P + 1, d): the newest time patch's and the spectrum's."""
        rows = series.shape[0]
        time = self.time_embedding(series.reshape(rows, self.patches, self.patch))
        frequency = self.spectrum_embedding(spectrum.reshape(rows, self.patches, self.patch))
        joined = [time, frequency]
        if len(self.registers):
            joined.append(self.registers.expand(rows, -1, -1))
        tokens = torch.cat(joined, dim=1)
        tokens = self.base_norm(tokens.flatten(1)).reshape(tokens.shape)
        found: Tensor = self.mixers(tokens)
        return found

    def heads(self, tokens: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        """Series from time patch `first` on, where trimmed from the newest, and spectrum, both scaled: (B, S - first p)
        and (B, S)."""
        gone = self.patches - 1 if self.trimmed else 0
        series = self.time_head(tokens[:, max(first - gone, 0) : self.patches - gone])
        spectrum = self.spectrum_head(tokens[:, self.patches - gone : 2 * self.patches - gone])
        return series.flatten(1), spectrum.flatten(1)

    def forward(self, series: Tensor, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled newest patch (B, p) and spectrum (B, S): what the score needs."""
        return self.heads(self.tokens(series, spectrum), self.patches - 1)


class Signature(nn.Module):
    """Register tokens to the logits of the spectrum's signature, (B, S / 2); serves training only."""

    def __init__(self, config: TsPulseConfig):
        super().__init__()
        size = config.registers * config.width
        self.first, self.norm = 2 * config.patches, nn.LayerNorm(size)
        self.linear = nn.Linear(size, config.context // 2)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(tokens[:, self.first :].flatten(1)))
        return logits


def _norm(kind: Norm, width: int) -> nn.Module:
    return TokenBatchNorm(width) if kind == "batch" else nn.LayerNorm(width)


def core_parameters(config: TsPulseConfig) -> int:
    """Weights of the core."""
    return sum(p.numel() for p in Core(config).parameters())
