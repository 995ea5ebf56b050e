"""Cheaper graphs of EfficientAD that need no pruning, each on its own beside the graph that is compiled.

    python tests/bench/cheaper_graphs.py --preset small --threads 1

Weights are random: latency does not depend on them. Prints Markdown: medians of interleaved runs of INT8 and float32.
"exact" graphs compute the same maps; the others would have to learn again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import torch
from latency import _Unfitted
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ad.compile.capture import capture
from edge_ad.compile.target import Calibration
from edge_ad.detectors.efficientad.network import PDN, Autoencoder
from edge_ad.detectors.efficientad.simplify import SimplifiedNetwork
from edge_ad.runtime.engines import open_model
from edge_ad.targets import get


class Joined(nn.Module):
    """Features of teacher and student, (N, 2 w3, h, w): the first convolution of both is one, so that the image is read
    once; with `groups` the second and third are one too, of two groups each."""

    def __init__(self, teacher: PDN, student: PDN, groups: bool):
        super().__init__()
        self.first = _joined(teacher.conv1, student.conv1, 1)
        self.teacher, self.student = teacher, student
        self.rest = None
        if groups:
            pairs = ((teacher.conv2, student.conv2), (teacher.conv3, student.conv3))
            self.rest = nn.ModuleList(_joined(a, b, 2) for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.relu(self.first(x)), 2)
        if self.rest is not None:
            x = F.avg_pool2d(F.relu(self.rest[0](x)), 2)
            return F.relu(self.rest[1](x))
        halves = []
        for pdn, half in zip((self.teacher, self.student), x.chunk(2, 1), strict=True):
            half = F.avg_pool2d(F.relu(pdn.conv2(half)), 2)
            halves.append(F.relu(pdn.conv3(half)))
        return torch.cat(halves, 1)


@torch.no_grad()
def _joined(a: nn.Conv2d, b: nn.Conv2d, groups: int) -> nn.Conv2d:
    both = nn.Conv2d(groups * a.in_channels, a.out_channels + b.out_channels, a.kernel_size, groups=groups)
    both.weight.copy_(torch.cat([a.weight, b.weight]))
    both.bias.copy_(torch.cat([a.bias, b.bias]))
    return both


class JoinedNetwork(SimplifiedNetwork):
    """The compiled graph with `Joined` features; the maps are the same."""

    def __init__(self, plain: Any, groups: bool):
        super().__init__(plain)
        self.joined = Joined(self.teacher, self.student, groups)

    def differences(self, x: Tensor) -> tuple[Tensor, ...]:
        both = self.joined(x)
        first = self.difference(both)
        if self.autoencoder is None:
            return (first,)
        features = F.pad(self.autoencoder.features(x - self.mean), (1, 2, 1, 2))
        student = both[:, both.shape[1] // 2 :]
        return first, self.difference_ae(torch.cat([features, student], 1))


def _without_last_stage(autoencoder: Autoencoder) -> Autoencoder:
    short = deepcopy(autoencoder)
    short.decoder, short.sides = short.decoder[:-1], short.sides[:-1]
    return short


class _Variant:
    """As much of a detector as `capture` asks for."""

    outputs = ("maps",)

    def __init__(self, base: _Unfitted, network: nn.Module, batch: int = 1):
        self.input = base.input.model_copy(update={"shape": (batch, *base.input.shape[1:])})
        self._network = network.eval()

    def simplified(self) -> nn.Module:
        return self._network

    def parts(self) -> dict[str, Any]:
        return {}


def variants(base: _Unfitted) -> dict[str, _Variant]:
    """By name, the graph that is compiled first."""
    plain, size = base.plain, base.input.shape[-1]

    def changed(change: Callable[[Any], None]) -> SimplifiedNetwork:
        copy = deepcopy(plain)
        change(copy)
        return SimplifiedNetwork(copy)

    found = {
        "as compiled": _Variant(base, SimplifiedNetwork(plain)),
        "one first convolution for teacher and student (exact)": _Variant(
            base, JoinedNetwork(plain, groups=False)
        ),
        "all their convolutions joined, two groups (exact)": _Variant(
            base, JoinedNetwork(plain, groups=True)
        ),
        "static batch of 4, an image (exact)": _Variant(base, SimplifiedNetwork(plain), 4),
    }
    if plain.autoencoder is not None:
        found["decoder without its largest stage"] = _Variant(
            base, changed(lambda n: setattr(n, "autoencoder", _without_last_stage(n.autoencoder)))
        )
        narrow = Autoencoder(size, plain.channels, width=32).eval()
        found["autoencoder of half the width"] = _Variant(
            base, changed(lambda n: setattr(n, "autoencoder", narrow))
        )
    return found


@click.command(help=__doc__.splitlines()[0])
@click.option("--preset", default="small", show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--runs", default=9, show_default=True)
def main(preset: str, threads: int, runs: int) -> None:
    target, base = get("openvino-cpu"), _Unfitted(preset)
    rng = np.random.default_rng(0)
    engines: dict[tuple[str, str], Any] = {}
    batches = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, variant in variants(base).items():
            batches[name] = rng.integers(0, 256, variant.input.shape, np.uint8)
            captured = capture(variant)  # type: ignore[arg-type]
            calibration = Calibration(lambda batch=batches[name]: iter([batch]), 1)  # type: ignore[misc]
            for precision in ("int8", "fp32"):
                lowered = target.lower(captured, precision, calibration)  # type: ignore[arg-type]
                place = Path(folder) / str(len(engines))
                place.mkdir()
                for file, content in lowered.files.items():
                    (place / file).write_bytes(content)
                options = {**target.options, "threads": threads}
                engines[name, precision] = open_model(target.engine, place / lowered.model, options)
        times: dict[tuple[str, str], list[float]] = {key: [] for key in engines}
        for _ in range(2 + runs):
            for key, engine in engines.items():
                begun = time.perf_counter()
                engine.infer(batches[key[0]])
                times[key].append(1e3 * (time.perf_counter() - begun) / len(batches[key[0]]))
    print("| graph | INT8 ms | times faster | float32 ms | times faster |\n| --- | --- | --- | --- | --- |")
    first = next(iter(batches))
    for name in batches:
        cells = []
        for precision in ("int8", "fp32"):
            own, usual = (np.array(times[one, precision][2:]) for one in (name, first))
            cells += [f"{median(own):.1f}", f"{median(usual / own):.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\nEfficientAD `{preset}`, medians of {runs} interleaved runs, {threads} thread(s).")


if __name__ == "__main__":
    main()
