"""A bundle for series whose network is a mean of squares: quick to make, quick to run, with a score known by heart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle.archive import write_bundle
from edge_ad.bundle.manifest import HeadSpec, Manifest, WindowSpec
from edge_ad.runtime.engines.openvino import OpenVinoEngine
from edge_ad.runtime.golden import make_golden
from edge_ad.runtime.series.standardise import standardise_spec

THRESHOLD = 1.0


def make_series_bundle(
    path: Path, *, channels: Sequence[str] = ("a", "b"), length: int = 8, hop: int = 1, rate_hz: float | None = None,
    thresholds: dict[str, Any] | None = None, by_channel: bool = False,
) -> Path:  # fmt: skip
    """Write `path`: windows of `length` rows, threshold 1; score = mean of squares, or by channel: log(1 + that of the
    channel with the largest)."""
    import openvino as ov
    from openvino import opset13 as ops

    shape = (1, len(channels), length)
    window = ops.parameter(shape, np.float32, name="input")
    mean = ops.reduce_mean(
        ops.multiply(window, window), np.array([2] if by_channel else [1, 2]), keep_dims=True
    )
    named = ops.reshape(
        mean, np.array([1, 1, len(channels)] if by_channel else [1, 1, 1, 1]), special_zero=False
    )
    named.output(0).set_names({"map"})
    model = ov.Model([named.output(0)], [window], "mean_of_squares")
    model.inputs[0].set_names({"input"})
    files = path.with_suffix(".files")
    files.mkdir()
    ov.save_model(model, files / "model.xml", compress_to_fp16=False)
    head = HeadSpec(name="map-max", params={"output": "map", "gain": [1.0], "offset": 0.0, "pad": 0})
    if by_channel:
        params = {"output": "map", "streams": ["square"], "scale": [[1.0] * len(channels)], "top": 1}
        head = HeadSpec(name="error-streams", params=params)
    engine = OpenVinoEngine(files / "model.xml", threads=1)
    rng = np.random.default_rng(0)
    golden = make_golden([rng.normal(size=shape).astype(np.float32) for _ in range(2)], engine, head, ["map"])
    engine.close()
    limit = {
        "value": THRESHOLD,
        "requested_rate": 0.1,
        "expected_rate": 0.05,
        "interval": [0.0, 0.2],
        "n": 19,
        "rank": 19,
    }
    members = {
        "payload/cpu/model.xml": (files / "model.xml").read_bytes(),
        "payload/cpu/model.bin": (files / "model.bin").read_bytes(),
        "golden/cpu.npz": golden,
    }
    manifest = Manifest.model_validate(
        {
            "name": "mean-of-squares",
            "detector": {"name": "test", "preset": "none", "version": 1},
            "input": {
                "modality": "series", "shape": shape, "dtype": "float32",
                "preprocess": standardise_spec([0.0] * len(channels), [1.0] * len(channels)),
                "window": WindowSpec(length=length, hop=hop, rate_hz=rate_hz, channels=list(channels)),
            },
            "payloads": [
                {
                    "target": "cpu", "engine": "openvino", "precision": "fp32", "model": "payload/cpu/model.xml",
                    "files": ["payload/cpu/model.xml", "payload/cpu/model.bin"], "outputs": ["map"], "head": head,
                    "options": {"threads": 1},
                    "thresholds": {"float": limit, "compiled": limit, **(thresholds or {})}, "drift": None,
                    "budget": {"flash_bytes": 1, "ram_bytes": 1, "macs": 1, "parameters": 1},
                    "golden": {"file": "golden/cpu.npz", "count": 2, "atol": 1e-5, "rtol": 1e-5, "basis": "float32"},
                }
            ],
            "files": {
                name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
                for name, content in members.items()
            },
        }
    )  # fmt: skip
    write_bundle(path, manifest, members)
    return path
