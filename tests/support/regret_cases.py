"""Random searches for likelihood regret with a small decoder: their images, inputs and figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_ad.compile.integer import layers16
from edge_ad.compile.integer.image import Image, write_image
from edge_ad.compile.integer.layers16 import Layer16, Range, quantized
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.regret import BOUND, emit
from edge_ad.detectors.board_layers import Layer
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.heads.likelihood_regret import noise
from edge_ad.runtime.integer.regret import Figures, Search, search

STATE = Range(2.0**-11)
LEAST, MOST = -(1 << 15), (1 << 15) - 1


@dataclass(frozen=True)
class Case:
    """A search, its decoder, and the posterior and features that it starts from."""

    search: Search
    decoder: tuple[Layer16, ...]
    mean: np.ndarray
    logvar: np.ndarray
    target: np.ndarray

    @property
    def inputs(self) -> list[np.ndarray]:
        return [values.astype(np.int16) for values in (self.mean, self.logvar, self.target)]

    def decode(self, z: np.ndarray) -> np.ndarray:
        return layers16.run(self.decoder, z)

    def figures(self) -> Figures:
        return search(self.search, self.mean, self.logvar, self.target, self.decode)

    def image(self, kernels="plain") -> Image:
        """Inputs mean, logvar and target; outputs neg_elbo, kl and regret."""
        builder = Builder(kernels)
        given = [builder.input(PortSpec((1, values.size), "int16")) for values in self.inputs]
        found = emit(builder, self.search, *given, lambda b, z: layers16.emit(b, self.decoder, z))
        for buffer in (found.neg_elbo, found.kl, found.regret):
            builder.output(BOUND, buffer)
        return write_image(builder.program)


def random_case(rng: np.random.Generator) -> Case:
    """Mostly ordinary; also states and gains at their ends, decoders that saturate, searches that stop early."""
    latent, hidden, n = (int(rng.integers(1, most)) for most in (9, 9, 40))
    steps = int(rng.integers(0, 7))
    unit = float(10 ** rng.uniform(-4, -2))
    weights = rng.normal(size=(hidden, latent)), rng.normal(size=(n, hidden)) * 10 ** rng.uniform(-1, 1)
    hidden_range = Range(float(10 ** rng.uniform(-4, -2.5)), 0, (1 << 14) - 1)
    decoder = (
        quantized(
            Layer("dense", weights[0], rng.normal(size=hidden), True),
            (latent,),
            STATE,
            hidden_range,
            where="",
        ),
        quantized(
            Layer("dense", weights[1], rng.normal(size=n), False),
            (hidden,),
            hidden_range,
            Range(unit),
            where="",
        ),
    )
    extreme = rng.random() < 0.2
    spread = MOST if extreme else 3000
    gain = int(rng.choice([0, 1, 1 << 30])) if extreme else int(rng.integers(1, 1 << 30))
    return Case(
        Search(
            noise=np.rint(noise(int(rng.integers(1, 1 << 32)), latent) * 2**16).astype(np.int64),
            probes=rng.choice([0, 1, 64, 128, 256, 1 << 15], steps),
            gains=np.full(steps, gain) >> np.arange(steps),
            gain_shift=int(rng.choice([0, 20, 30, 40, 62])),
            seed=int(rng.integers(1, 1 << 32)),
            multiplier=int(rng.choice([0, 1, 9000, (1 << 14) - 1])),
            shift=int(rng.choice([0, 10, 20, 26, 32, 62])),
            stop_at=int(rng.choice([0, 1000, 1 << 20, (1 << 31) - 1])),
        ),
        decoder,
        rng.integers(-spread, spread + 1, latent),
        rng.integers(-spread, spread + 1, latent) if extreme else rng.integers(-12000, 3000, latent),
        rng.integers(LEAST, MOST + 1, n) >> int(rng.integers(0, 8)),
    )
