"""FADeR through OpenVINO: exact front and tail, and a gate of all ones that changes no bit of the INT8 network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

pytest.importorskip("openvino")
pytest.importorskip("nncf")

from edge_ad.compile.capture import Captured, capture, check_parity
from edge_ad.compile.target import Calibration, Precision
from edge_ad.data.splits import Splits
from edge_ad.detectors.fader.comparison import Comparison
from edge_ad.detectors.fader.config import PRESETS, FaderConfig
from edge_ad.detectors.fader.detector import Fader
from edge_ad.detectors.fader.masks import make_mask
from edge_ad.detectors.fader.network import Inpainter, UNet, make_gates
from edge_ad.runtime.engines import open_model
from edge_ad.runtime.engines.base import Engine
from edge_ad.targets.openvino_cpu import TARGET

N = 4
Batch = npt.NDArray[np.uint8]


def _images() -> list[Batch]:
    """Blobs of every brightness, (1, 3, 64, 64) each."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (N, 3, 8, 8)).repeat(8, 2).repeat(8, 3)
    return [
        image[None]
        for image in np.clip(coarse + rng.integers(-20, 20, coarse.shape), 0, 255).astype(np.uint8)
    ]


@torch.no_grad()
def _detector(config: FaderConfig, open_gates: bool = False) -> Fader:
    """A U-Net of random weights, the same for every attenuation; gates that vary over the image, or let all through."""
    torch.manual_seed(11)
    unet = UNet(config.widths)
    for _ in range(5):
        unet(torch.rand(4, 3, 64, 64))
    unet.out.bias.fill_(0.5)
    torch.manual_seed(12)
    gates = make_gates(config.widths, config.attenuated_levels, config.cell_px, config.attenuation)
    for gate in gates.values():
        gate.prototype.uniform_()
        if open_gates:
            gate.weigh.bias.fill_(200.0)
        else:
            gate.weigh.bias.zero_()
            torch.nn.init.normal_(gate.weigh.weight, std=2.0)
    mask = make_mask(config).requires_grad_(False).eval()
    mask.fit(torch.from_numpy(np.concatenate(_images())))
    splits = Splits(seed=0, fit=[], calibration=[], threshold=[])
    inpainter = Inpainter(unet, gates).eval().requires_grad_(False)
    comparison = Comparison(config)
    torch.manual_seed(13)
    comparison.mean.uniform_(0, 0.1)
    comparison.gain.uniform_(1, 3)  # real ones vary as little, relative to the map
    return Fader(config, splits, inpainter, mask, comparison)


def _engine(captured: Captured, folder: Path, precision: Precision) -> Engine:
    calibration = Calibration(lambda: iter(_images()), N) if precision == "int8" else None
    lowered = TARGET.lower(captured, precision, calibration)
    folder.mkdir()
    for name, content in lowered.files.items():
        (folder / name).write_bytes(content)
    return open_model(TARGET.engine, folder / lowered.model, TARGET.options)


def _maps(engine: Engine) -> npt.NDArray[np.float32]:
    return np.concatenate([engine.infer(image)["maps"] for image in _images()])


def _config(**changes: object) -> FaderConfig:
    return FaderConfig.model_validate({**PRESETS["micro"].model_dump(), **changes})


@pytest.mark.parametrize(
    ("mask", "attenuation", "compare", "standardise"),
    [
        ("template", "prototype", "msgms", False),
        ("two-pass", "soft", "both", True),
        ("saliency", "none", "l2", True),
    ],
)
def test_exported_float_network_is_the_published_one(
    tmp_path: Path, mask: str, attenuation: str, compare: str, standardise: bool
) -> None:
    config = _config(mask=mask, attenuation=attenuation, compare=compare, standardise=standardise)
    detector = _detector(config)
    parity = check_parity(detector, _engine(capture(detector), tmp_path / "m", "fp32"), iter(_images()))
    assert parity.n == N and parity.worst <= 1e-3


def test_a_gate_of_all_ones_changes_no_bit_in_float_and_in_int8(tmp_path: Path) -> None:
    levels = (0, 2)
    forms = {
        kind: capture(_detector(_config(attenuation=kind, attenuated_levels=levels), open_gates=True))
        for kind in ("none", "soft", "prototype")
    }
    for precision in ("fp32", "int8"):
        maps = {
            kind: _maps(_engine(form, tmp_path / f"{kind}-{precision}", precision))
            for kind, form in forms.items()
        }
        assert maps["none"].std() > 1e-3
        assert np.array_equal(maps["soft"], maps["none"])
        assert np.array_equal(maps["prototype"], maps["none"])


def test_int8_is_near_float_and_really_quantized(tmp_path: Path) -> None:
    captured = capture(_detector(_config(compare="msgms", standardise=False)))
    float_, int8 = (_maps(_engine(captured, tmp_path / p, p)) for p in ("fp32", "int8"))
    assert not np.array_equal(float_, int8)
    assert np.abs(int8 - float_).max() < 0.1 * float_.max()
    lowered = TARGET.lower(captured, "int8", Calibration(lambda: iter(_images()), N))
    kept = [d for d in lowered.decisions if "kept in float32" in d]
    assert kept and kept[0].endswith("none.")
