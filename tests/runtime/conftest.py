"""What the tests of the runtime share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edge_ad.bundle.archive import write_bundle
from edge_ad.bundle.manifest import Manifest, Payload
from edge_ad.runtime.engines.base import EngineInfo, Tensor
from edge_ad.runtime.events import Event
from edge_ad.runtime.golden import make_golden

TS = datetime(2025, 11, 23, 15, 4, 5, 678_000, tzinfo=timezone.utc)


@pytest.fixture
def make_event() -> Callable[..., Event]:
    """`make_event(seq, **changes)`: a whole event."""

    def make(seq: int = 1, **changes: Any) -> Event:
        fields: dict[str, Any] = {
            "event_id": f"line3-00ff-{seq}",
            "kind": "new",
            "ts": TS,
            "stream": "cam0",
            "score": 0.75,
            "threshold": 0.5,
            "bundle": "ab" * 32,
            "seq": seq,
            "boot_id": "00ff",
            "latency_us": 1234,
            "sample": f"{seq}.png",
        }
        return Event(**{**fields, **changes})

    return make


# Bundles for boards whose engine is a few lines of NumPy


class FakeEngine:
    """map = gain of the model file times the image (1, 1, 4, 5) uint8."""

    parts: ClassVar[dict[str, Any]] = {}

    def __init__(self, model: Path):
        self.gain = json.loads(model.read_bytes())["gain"]

    def infer(self, batch: Tensor) -> dict[str, Tensor]:
        return {"map": np.float32(self.gain) * batch.astype(np.float32)}

    def describe(self) -> EngineInfo:
        return EngineInfo("fake", "1", "CPU", "none", 1, "fp32")

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def open_fake() -> Callable[[Payload, Path], FakeEngine]:
    """Opens a payload's model file, as `open_engine` does."""
    return lambda payload, folder: FakeEngine(folder / payload.model)


def _payload(target: str) -> dict[str, Any]:
    threshold = {"value": 9.0, "requested_rate": 0.1, "expected_rate": 0.05, "interval": [0.0, 0.2],
                 "n": 19, "rank": 19}  # fmt: skip
    drift = dict.fromkeys(
        ["rank_correlation", "mean_shift", "spread", "flips_kept", "flips_recalibrated", "false_alarms_kept",
         "false_alarms_recalibrated"], 0.0,
    )  # fmt: skip
    return {
        "target": target,
        "engine": "fake",
        "precision": "fp32",
        "model": f"payload/{target}/model.json",
        "files": [f"payload/{target}/model.json"],
        "outputs": ["map"],
        "head": {"name": "map-max", "params": {"output": "map", "gain": [1.0], "offset": 0.0, "pad": 0}},
        "thresholds": {"float": threshold, "compiled": threshold},
        "drift": {"n": 19, **drift},
        "budget": {"flash_bytes": 1, "ram_bytes": 1, "macs": 1, "parameters": 1},
        "golden": {"file": f"golden/{target}.npz", "count": 2, "atol": 0, "rtol": 0, "basis": "exact"},
    }


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`make_bundle(name, gain, targets, golden_gain, ballast_bytes)`: a bundle file; `gain` makes it differ.

    golden_gain: that of the network that the golden vectors came from, when it is another.
    """
    folder = tmp_path_factory.mktemp("bundles")

    def make(
        name: str,
        gain: float = 1.0,
        targets: tuple[str, ...] = ("board",),
        *,
        golden_gain: float | None = None,
        ballast_bytes: int = 1000,
    ) -> Path:
        rng = np.random.default_rng(0)
        inputs = [rng.integers(0, 256, (1, 1, 4, 5), dtype=np.uint8) for _ in range(2)]
        members: dict[str, bytes] = {"report/report.html": rng.bytes(ballast_bytes)}
        payloads = [Payload.model_validate(_payload(target)) for target in targets]
        for payload in payloads:
            members[payload.model] = json.dumps({"gain": gain, "target": payload.target}).encode()
            host = FakeEngine.__new__(FakeEngine)
            host.gain = gain if golden_gain is None else golden_gain
            members[payload.golden.file] = make_golden(inputs, host, payload.head, payload.outputs)
        manifest = Manifest.model_validate(
            {
                "schema": "edge-ad/bundle/1",
                "name": name,
                "detector": {"name": "efficientad", "preset": "micro", "version": 1},
                "input": {
                    "modality": "image",
                    "shape": [1, 1, 4, 5],
                    "dtype": "uint8",
                    "preprocess": {"name": "resize", "version": 1},
                },
                "payloads": payloads,
                "files": {
                    member: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
                    for member, content in members.items()
                },
            }
        )
        write_bundle(folder / f"{name}.edgead", manifest, members)
        return folder / f"{name}.edgead"

    return make
