"""A staged network is one network: joined as it was cut, only its middle in INT8, its parts beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_ad.bundle.manifest import InputSpec
from edge_ad.compile import openvino_ir
from edge_ad.compile.capture import capture, check_parity
from edge_ad.compile.target import Calibration, Lowered
from edge_ad.detectors.base import Part, Staged
from edge_ad.errors import EngineError
from edge_ad.runtime.engines import open_model
from edge_ad.runtime.preprocess import resize_spec
from edge_ad.targets import get

SHAPE = (1, 3, 16, 16)


class _Front(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scaled = x.float() / 255
        return scaled, scaled.mean((2, 3)), scaled * 1.0


class _Core(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.a(x)) * (1 + colour.mean())
        return self.b(h), h.mean((2, 3))


class _Tail(nn.Module):
    def forward(self, made: Tensor, pooled: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        return (made - kept).square().mean(1, keepdim=True), pooled * 2


class _Detector:
    outputs = ("map", "pooled")
    input = InputSpec(modality="image", shape=SHAPE, dtype="uint8", preprocess=resize_spec(16, 16))

    def __init__(self, exact_types: tuple[str, ...] = ()) -> None:
        torch.manual_seed(0)
        self._whole = Staged(_Front(), _Core(), _Tail(), core_inputs=2, exact_types=exact_types).eval()
        self._part = nn.Linear(8, 4)

    def network(self) -> nn.Module:
        return self._whole

    def simplified(self) -> nn.Module:
        return self._whole

    def parts(self) -> dict[str, Part]:
        def inputs(outputs) -> Iterator[np.ndarray]:
            yield np.concatenate([outputs["pooled"], -outputs["pooled"]]).astype(np.float32)

        return {"decoder": Part(self._part, (2, 8), ("made",), inputs)}


def images(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, SHAPE, np.uint8) for _ in range(n)]


def lowered(detector: _Detector, precision: str) -> Lowered:
    calibration = Calibration(lambda: iter(images(6)), 6)
    return get("openvino-cpu").lower(
        capture(detector), precision, calibration if precision == "int8" else None  # type: ignore[arg-type]
    )  # fmt: skip


def opened(form: Lowered, folder: Path):
    folder.mkdir(
        exist_ok=True
    )  # one for each: OpenVINO maps the weights file, so it must not be written again
    for name, content in form.files.items():
        (folder / name).write_bytes(content)
    return open_model(
        "openvino", folder / form.model, {}, {name: folder / file for name, file in form.parts.items()}
    )


def operators(form: Lowered, name: str = "network") -> list:
    import openvino

    return openvino.Core().read_model(form.files[f"{name}.xml"], form.files[f"{name}.bin"]).get_ordered_ops()


def test_joined_in_float_it_is_the_same_function(tmp_path: Path) -> None:
    detector = _Detector()
    engine = opened(lowered(detector, "fp32"), tmp_path)
    parity = check_parity(detector, engine, images(3))  # type: ignore[arg-type]
    assert parity.n == 3 and parity.worst < 1e-4
    assert set(engine.infer(images(1)[0])) == {"map", "pooled"}
    z = np.random.default_rng(1).normal(size=(2, 8)).astype(np.float32)
    with torch.no_grad():
        wanted = detector._part(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(engine.parts["decoder"].infer(z)["made"], wanted, rtol=1e-4, atol=1e-5)


def test_only_the_middle_is_quantized_and_the_part_is_too(tmp_path: Path) -> None:
    form = lowered(_Detector(), "int8")
    ops = operators(form)
    kinds = [op.get_type_name() for op in ops]
    last = max(i for i, kind in enumerate(kinds) if kind == "Convolution")
    assert "FakeQuantize" in kinds[:last] and "FakeQuantize" not in kinds[last + 2 :]
    assert "FakeQuantize" in [op.get_type_name() for op in operators(form, "decoder")]
    assert openvino_ir.float_operators(_model(form)) == []
    assert form.parts == {"decoder": "decoder.xml"} and any("'decoder'" in d for d in form.decisions)
    engine = opened(form, tmp_path / "int8")
    close = opened(lowered(_Detector(), "fp32"), tmp_path / "fp32").infer(images(1)[0])
    made = engine.infer(images(1)[0])
    for name, reference in close.items():
        assert np.abs(made[name] - reference).max() < 0.02 * np.abs(reference).max()


def _model(form: Lowered):
    import openvino

    return openvino.Core().read_model(form.files["network.xml"], form.files["network.bin"])


def test_exact_types_take_their_inputs_as_they_are() -> None:
    def quantized_products(form: Lowered) -> int:
        return sum(
            op.get_type_name() == "Multiply"
            and any(i.get_source_output().get_node().get_type_name() == "FakeQuantize" for i in op.inputs())
            for op in operators(form)
        )

    assert quantized_products(lowered(_Detector(("Multiply",)), "int8")) == 0
    assert quantized_products(lowered(_Detector(), "int8")) > 0


def test_the_same_network_gives_the_same_bytes() -> None:
    assert lowered(_Detector(), "int8").files == lowered(_Detector(), "int8").files


def test_an_engine_of_one_network_refuses_parts(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="runs one network a payload, this one has 2"):
        open_model("board", tmp_path / "m", {}, {"decoder": tmp_path / "d"})


def test_inputs_that_hold_pixels_have_their_range_whatever_was_shown(tmp_path: Path) -> None:
    class Pixels(_Detector):
        def __init__(self) -> None:
            torch.manual_seed(0)
            self._whole = Staged(_Bytes(), nn.Conv2d(3, 1, 3), None, pixels=True).eval()

        outputs = ("map",)

        def parts(self) -> dict[str, Part]:
            return {}

    dark = Calibration(lambda: iter([image // 4 for image in images(4)]), 4)
    form = get("openvino-cpu").lower(capture(Pixels()), "int8", dark)  # type: ignore[arg-type]
    first = next(op for op in operators(form) if op.get_type_name() == "FakeQuantize")
    assert [float(first.input_value(i).get_node().data.flat[0]) for i in (1, 2)] == [0.0, 255.0]


class _Bytes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float() + 0.0
