"""INT8 by the rules that the scores rest on: exact inputs, exact tail, weights on their grid, repeatable bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_ad.bundle.manifest import InputSpec
from edge_ad.compile import openvino_ir
from edge_ad.compile.capture import Captured, capture, check_parity
from edge_ad.compile.cost import count
from edge_ad.compile.target import Calibration
from edge_ad.detectors.base import Part
from edge_ad.detectors.efficientad.grid import on_grid, step_of
from edge_ad.errors import ParityError, TargetError
from edge_ad.runtime.engines import open_model
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.preprocess import resize_spec
from edge_ad.targets import get, names

SHAPE = (1, 3, 32, 32)


class _Network(nn.Module):
    """One convolution and the exact tail of EfficientAD."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.conv(pixels.float()).square().mean(1, keepdim=True)


class _Detector:
    """As much of a detector as `capture` and `check_parity` ask for."""

    outputs = ("maps",)
    input = InputSpec(modality="image", shape=SHAPE, dtype="uint8", preprocess=resize_spec(32, 32))

    def __init__(self, network: nn.Module, simplified: nn.Module | None = None) -> None:
        self._network, self._simplified = network, simplified or network

    def network(self) -> nn.Module:
        return self._network.eval()

    def parts(self) -> dict[str, Part]:
        return {}

    def simplified(self) -> nn.Module:
        return self._simplified.eval()


def _images(n: int, high: int = 200) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(20, high, SHAPE, np.uint8) for _ in range(n)]


def _engine(folder: Path, network: nn.Module, int8: bool) -> Engine:
    model = openvino_ir.import_onnx(capture(_Detector(network)).onnx)  # type: ignore[arg-type]
    if int8:
        model = openvino_ir.quantize(model, iter(_images(6)), 6)
    folder.mkdir()
    xml, weights = openvino_ir.serialise(model)
    (folder / "n.xml").write_bytes(xml)
    (folder / "n.bin").write_bytes(weights)
    return open_model("openvino", folder / "n.xml", {"threads": 1})


def _error(tmp_path: Path, network: nn.Module) -> float:
    """INT8 against float on pixels beyond the calibration's range, relative to the largest output."""
    batch = np.random.default_rng(2).integers(0, 256, SHAPE, np.uint8)
    outputs = [_engine(tmp_path / str(int8), network, int8).infer(batch)["maps"] for int8 in (False, True)]
    return float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max())


def test_weights_on_the_grid_and_raw_pixels_lose_nothing(tmp_path: Path) -> None:
    network = _Network()
    (tmp_path / "off").mkdir()
    off_grid = _error(tmp_path / "off", network)
    with torch.no_grad():
        network.conv.weight.copy_(on_grid(network.conv.weight))
    (tmp_path / "on").mkdir()
    remaining = _error(tmp_path / "on", network)
    assert off_grid > 1e-3
    assert remaining < off_grid / 3  # left: the one weight of 48 a channel that sets the step


def test_the_grid_is_stable_and_keeps_the_step() -> None:
    weight = torch.randn(8, 5, 3, 3, generator=torch.Generator().manual_seed(3))
    rounded = on_grid(weight)
    assert torch.equal(step_of(rounded), step_of(weight))
    assert torch.allclose(on_grid(rounded), rounded, atol=1e-7)
    assert (rounded - weight).abs().max() <= (0.5001 + 0.5) * step_of(weight).max()
    levels = (rounded / step_of(weight)).flatten(1).sort(1).values
    near = (levels - levels.round()).abs() > 1e-3
    assert (near.sum(1) <= 1).all()  # only the largest weight lies off the grid


def test_the_tail_stays_in_float_and_the_input_is_exact() -> None:
    model = openvino_ir.quantize(
        openvino_ir.import_onnx(capture(_Detector(_Network())).onnx), iter(_images(4)), 4  # type: ignore[arg-type]
    )  # fmt: skip
    kinds = {op.get_friendly_name(): op for op in model.get_ordered_ops()}
    quantizers = [op for op in kinds.values() if op.get_type_name() == "FakeQuantize"]
    assert len(quantizers) == 1  # the input's; the tail has none, and weights are stored as integers
    low, high = (quantizers[0].input_value(i).get_node().get_data().item() for i in (1, 2))
    assert (low, high) == (0.0, 255.0)
    assert openvino_ir.float_operators(model) == []
    assert quantizers[0].get_attributes()["levels"] == 256


def test_calibration_is_read_one_batch_at_a_time() -> None:
    alive = most = 0

    def batches() -> Iterator[np.ndarray]:
        nonlocal alive, most
        for image in _images(5):
            alive += 1
            most = max(most, alive)
            yield image
            alive -= 1

    openvino_ir.quantize(openvino_ir.import_onnx(capture(_Detector(_Network())).onnx), batches(), 5)  # type: ignore[arg-type]
    assert most == 1


def test_equal_networks_give_equal_bytes() -> None:
    made = []
    for _ in range(2):
        captured: Captured = capture(_Detector(_Network()))  # type: ignore[arg-type]
        lowered = get("openvino-cpu").lower(captured, "int8", Calibration(lambda: iter(_images(4)), 4))
        made.append(lowered.files)
    assert made[0] == made[1]


def test_cost_of_a_known_network() -> None:
    model = openvino_ir.import_onnx(capture(_Detector(_Network())).onnx)  # type: ignore[arg-type]
    cost = count(model, int8=False)
    assert cost.macs == 6 * 29 * 29 * 3 * 16
    assert cost.parameters == 6 * 3 * 16 + 6
    assert cost.activation_bytes >= 4 * 6 * 29 * 29


def test_parity_refuses_another_function(tmp_path: Path) -> None:
    network, other = _Network(), _Network()
    with torch.no_grad():
        other.conv.bias.add_(0.5)  # type: ignore[union-attr]
    engine = _engine(tmp_path / "e", other, int8=False)
    assert check_parity(_Detector(other), engine, iter(_images(2))).n == 2  # type: ignore[arg-type]
    with pytest.raises(ParityError, match="calibration input 1") as failure:
        check_parity(_Detector(network, other), engine, iter(_images(2)))  # type: ignore[arg-type]
    assert failure.value.exit_code == 4


def test_engine_says_what_runs_and_refuses_other_inputs(tmp_path: Path) -> None:
    from edge_ad.errors import EngineError
    from edge_ad.runtime.isa import cpu_isa

    float_, int8 = (_engine(tmp_path / str(i), _Network(), bool(i)) for i in range(2))
    assert (float_.describe().precision, int8.describe().precision) == ("fp32", "int8")
    assert int8.describe().isa == cpu_isa() and int8.describe().threads == 1
    with pytest.raises(EngineError, match="takes"):
        int8.infer(np.zeros((1, 3, 16, 16), np.uint8))
    with pytest.raises(EngineError, match="takes"):
        int8.infer(np.zeros(SHAPE, np.float32))
    (tmp_path / "bad.xml").write_text("<net")
    with pytest.raises(EngineError, match=r"bad\.xml"):
        open_model("openvino", tmp_path / "bad.xml", {})


def test_targets_by_name() -> None:
    assert [get(name).name for name in names()] == names()
    with pytest.raises(TargetError, match="unknown target 'abacus'; known: " + ", ".join(names())):
        get("abacus")
