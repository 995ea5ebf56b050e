"""Latency of EfficientAD on this CPU, float32 against INT8, side by side.

Weights are random: latency does not depend on them.

    make bench        or        python tests/bench/latency.py --preset small --threads 1

Prints Markdown: medians over interleaved runs, their ratio, and the instruction set. ONEDNN_MAX_CPU_ISA limits it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click
import numpy as np
import torch

from edge_ad.bundle.manifest import InputSpec
from edge_ad.compile.capture import capture
from edge_ad.compile.latency import compare
from edge_ad.compile.target import Calibration
from edge_ad.detectors.efficientad.config import PRESETS
from edge_ad.detectors.efficientad.network import PDN, Autoencoder
from edge_ad.detectors.efficientad.simplify import PlainNetwork, SimplifiedNetwork
from edge_ad.detectors.efficientad.statistics import OutputTransform
from edge_ad.runtime.engines import open_model
from edge_ad.runtime.preprocess import resize_spec
from edge_ad.targets import get


class _Unfitted:
    """As much of a detector as `capture` asks for."""

    outputs = ("maps",)

    def __init__(self, preset: str):
        torch.manual_seed(0)
        config = PRESETS[preset]
        c, s = config.channels, config.size
        student = PDN(config.widths, c * (2 if config.autoencoder else 1))
        autoencoder = Autoencoder(s, c) if config.autoencoder else None
        transform = OutputTransform(np.eye(c), np.zeros(c))
        self.plain = PlainNetwork(PDN(config.widths, c), transform, student, autoencoder).eval()
        self.input = InputSpec(
            modality="image", shape=(1, 3, s, s), dtype="uint8", preprocess=resize_spec(s, s)
        )

    def simplified(self) -> SimplifiedNetwork:
        return SimplifiedNetwork(self.plain).eval()


@click.command(help=__doc__.splitlines()[0])
@click.option("--preset", "presets", multiple=True, default=tuple(PRESETS), show_default=True)
@click.option("--threads", type=int, help="Default: all.")
@click.option("--runs", default=15, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(presets: tuple[str, ...], threads: int | None, runs: int, as_json: bool) -> None:
    target, rows = get("openvino-cpu"), []
    for preset in presets:
        detector = _Unfitted(preset)
        captured = capture(detector)  # type: ignore[arg-type]
        rng = np.random.default_rng(0)
        inputs = [rng.integers(0, 256, detector.input.shape, np.uint8) for _ in range(4)]
        calibration = Calibration(lambda inputs=inputs: iter(inputs), len(inputs))  # type: ignore[misc]
        with tempfile.TemporaryDirectory() as folder:
            engines = []
            for precision in ("fp32", "int8"):
                lowered = target.lower(captured, precision, calibration)  # type: ignore[arg-type]
                place = Path(folder) / precision
                place.mkdir()
                for name, content in lowered.files.items():
                    (place / name).write_bytes(content)
                engines.append(open_model(target.engine, place / lowered.model, {"threads": threads}))
            found = compare(engines[0], engines[1], inputs[0], runs)
            info = engines[1].describe()
            rows.append({"preset": preset, "macs": lowered.cost.macs, **vars(found), "isa": info.isa,
                         "kernels": info.details["kernels"], "threads": info.threads})  # fmt: skip
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print("| preset | GMAC | float32 ms | INT8 ms | times faster | threads | kernels |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for r in rows:
        print(
            f"| {r['preset']} | {r['macs'] / 1e9:.2f} | {r['float_us'] / 1e3:.2f} | {r['compiled_us'] / 1e3:.2f} | "
            f"{r['ratio']:.1f} | {r['threads']} | {r['kernels']} |"
        )
    print(f"\n{rows[0]['isa']}, medians of {runs} interleaved runs.")


if __name__ == "__main__":
    main()
