"""A small bundle: a manifest as a compile writes it, and its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_ad.bundle.archive import write_bundle
from edge_ad.bundle.manifest import Manifest

TARGET = "openvino-cpu"


def manifest_data(members: Mapping[str, bytes]) -> dict[str, object]:
    """`manifest.json`, as plain data, of a bundle of these files."""
    threshold = {
        "value": 0.5,
        "requested_rate": 0.1,
        "expected_rate": 0.05,
        "interval": [0.0, 0.2],
        "n": 19,
        "rank": 19,
    }
    payload = {
        "target": TARGET,
        "engine": "openvino",
        "precision": "int8",
        "model": "payload/openvino-cpu/model.xml",
        "files": ["payload/openvino-cpu/model.bin", "payload/openvino-cpu/model.xml"],
        "outputs": ["map"],
        "head": {"name": "max", "params": {"margin": 4}},
        "thresholds": {"float": threshold, "compiled": dict(threshold)},
        "drift": {
            "n": 19,
            "rank_correlation": 0.999,
            "mean_shift": 0.01,
            "spread": 0.02,
            "flips_kept": 0.1,
            "flips_recalibrated": 0.0,
            "false_alarms_kept": 0.1,
            "false_alarms_recalibrated": 0.0,
        },
        "budget": {"flash_bytes": 300, "ram_bytes": 400, "macs": 10, "parameters": 5},
        "golden": {
            "file": "golden/openvino-cpu.npz",
            "count": 2,
            "atol": 0,
            "rtol": 0.001,
            "basis": "measured",
        },
        "decisions": ["kept the score in float"],
    }
    return {
        "schema": "edge-ad/bundle/1",
        "name": "part",
        "detector": {"name": "efficientad", "preset": "micro", "version": 1, "config": {"seed": 3}},
        "input": {
            "modality": "image",
            "shape": [1, 3, 64, 64],
            "dtype": "uint8",
            "preprocess": {"name": "image", "version": 1, "params": {"size": 64}},
        },
        "payloads": [payload],
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for name, content in members.items()
        },
        "report": "report/report.html",
        "tools": {"edge-ad": "0.1"},
    }


@dataclass(frozen=True)
class Sample:
    """What goes into a bundle."""

    members: dict[str, bytes] = field(
        default_factory=lambda: {
            "report/report.html": b"<p>part</p>",
            "payload/openvino-cpu/model.xml": b"<net/>",
            "payload/openvino-cpu/model.bin": bytes(range(256)),
            "golden/openvino-cpu.npz": b"",
        }
    )

    @property
    def data(self) -> dict[str, object]:
        return manifest_data(self.members)

    @property
    def manifest(self) -> Manifest:
        return Manifest.model_validate(self.data)


@pytest.fixture(scope="session")
def sample() -> Sample:
    return Sample()


@pytest.fixture
def bundle(tmp_path: Path, sample) -> Path:
    path = tmp_path / "part.edgead"
    write_bundle(path, sample.manifest, sample.members)
    return path
