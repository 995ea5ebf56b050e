"""What `edge-ad import` does not take, and what a target does not: one line each, and nothing is written."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from command_line import run_here
from foreign_networks import export
from onnx import helper, numpy_helper
from torch import Tensor, nn

from edge_ad.data.samples import make_parts

SIZE = 48
RATE = 0.1


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("import") / "parts"
    return make_parts(folder, 5, size=SIZE, n_train=44, n_test_good=0, n_defective=0)


def odd_network(path: Path, kind: str = "Det", domain: str = "") -> Path:
    """A convolution and an operator that some targets lack, to one value."""
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["f"], "conv", pads=[1] * 4),
        helper.make_node(kind, ["f"], ["d"], "odd", domain=domain),
        helper.make_node("Reshape", ["d", "s"], ["flat"], "flat"),
        helper.make_node("ReduceMax", ["flat"], ["score"], "max", axes=[1], keepdims=1),
    ]
    weights = [
        numpy_helper.from_array(
            np.random.default_rng(0).normal(0, 0.1, (4, 3, 3, 3)).astype(np.float32), "w"
        ),
        numpy_helper.from_array(np.array([1, -1]), "s"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, [1, 1])], weights,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path


def test_an_operator_that_targets_lack_is_named_for_each(parts: Path, tmp_path: Path) -> None:
    """The others take the network."""
    file = odd_network(tmp_path / "odd.onnx")
    done = run_here("import", file, "--head", "value", "--data", parts, "--out", tmp_path / "m", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["targets"]
    assert found["onnx-cpu"] is None
    assert (
        found["openvino-cpu"]
        == "OpenVINO does not take the network (No conversion rule found for operations: Det-17)"
    )
    for name, version in (("nano", "8.2"), ("xavier", "8.5"), ("orin", "10.3")):
        said = f"TensorRT {version} would not take the network: tail/odd: Det is no operator of TensorRT {version}"
        assert said in found[f"jetson-{name}"]
    compile_ = (
        "compile",
        tmp_path / "m",
        "--data",
        parts,
        "--max-false-alarms",
        RATE,
        "--out",
        tmp_path / "b.edgead",
    )
    done = run_here(*compile_, "--target", "openvino-cpu")
    assert (
        done.code == 1
        and "openvino-cpu: OpenVINO does not take the network" in done.error
        and "Det" in done.error
    )
    done = run_here(*compile_, "--target", "jetson-orin")
    assert done.code == 1 and "Det is no operator of TensorRT 10.3" in done.error
    assert not (tmp_path / "b.edgead").exists()
    assert run_here(*compile_, "--target", "onnx-cpu", "--precision", "fp32").code == 0


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.conv(x) + z


def quantized(file: Path, path: Path) -> Path:
    from onnxruntime.quantization import QuantFormat, quantize_static

    class Reader:
        left = 2

        def get_next(self) -> dict | None:
            self.left -= 1
            return {"given": np.zeros((1, 3, SIZE, SIZE), np.float32)} if self.left >= 0 else None

    quantize_static(file, path, Reader(), quant_format=QuantFormat.QDQ)
    return path


@pytest.fixture(scope="module")
def files(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that cannot be imported, or not so."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    made = {"plain": export(nn.Conv2d(3, 3, 3, padding=1), (1, 3, SIZE, SIZE), folder / "plain.onnx")}
    made["open"] = export(nn.Conv2d(3, 3, 3), (1, 3, 8, 8), folder / "open.onnx", dynamic=(0, 2, 3))
    made["foreign"] = odd_network(folder / "foreign.onnx", "Odd", "com.example")
    made["quantized"] = quantized(made["plain"], folder / "quantized.onnx")
    made["random"] = export(
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), _Noise()), (1, 3, 8, 8), folder / "random.onnx"
    )
    two = folder / "two.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = (torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
        torch.onnx.export(TwoInputs(), given, two, dynamo=False, input_names=["x", "z"])
    made["two"] = two
    content = made["plain"].read_bytes()
    for name, damaged in (("cut", content[:-200]), ("rubbish", b"no network at all"), ("empty", b"")):
        made[name] = folder / f"{name}.onnx"
        made[name].write_bytes(damaged)
    beside = export(nn.Conv2d(3, 64, 3), (1, 3, 8, 8), folder / "beside.onnx")
    model = onnx.load(beside)
    onnx.save(model, beside, save_as_external_data=True, location="beside.data", size_threshold=0)
    (folder / "beside.data").unlink()
    made["beside"] = beside
    made["missing"], made["folder"] = folder / "missing.onnx", folder
    return made


class _Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


@pytest.mark.parametrize(
    ("file", "options", "code", "said"),
    [
        ("open", (), 1, "its input (?, 3, ?, ?) is not of a fixed shape (dimension 2, 3); export it with fixed shapes, "
                        "or say the whole of it: --shape 1,3,256,256"),
        ("open", ("--shape", "1,4,8,8"), 1, "takes (?, 3, ?, ?), not (1, 4, 8, 8)"),
        ("open", ("--shape", "3,8,8"), 1, "takes (?, 3, ?, ?), not (3, 8, 8)"),
        ("open", ("--shape", "2,3,8,8"), 1, "takes batches of 2, one input at a time is needed"),
        ("open", ("--shape", "1,3,2,2"), 1, "error: "),
        ("plain", ("--shape", "1,3,8,8"), 1, f"takes (1, 3, {SIZE}, {SIZE}), not (1, 3, 8, 8)"),
        ("plain", ("--shape", "1,3,x"), 2, None),
        ("plain", ("--std", "1,nan,1"), 2, None),
        ("plain", ("--head", "value"), 2, f"gives nothing that the head 'value' takes; its input is (1, 3, {SIZE}, "
                                          f"{SIZE}), it gives: out (1, 3, {SIZE}, {SIZE})"),
        ("plain", ("--head", "map-max"), 2, "gives nothing that the head 'map-max' takes"),
        ("plain", ("--output", "other"), 2, "has no output other in float32; it gives: out"),
        ("plain", ("--hop", 8), 2, "--hop is for series; --input series"),
        ("quantized", (), 1, "is quantized already (node "),
        ("two", (), 1, "has 2 inputs (x, z), one is needed"),
        ("foreign", (), 1, "node odd is a Odd of com.example, which no target here has; export it with standard ONNX"),
        ("random", (), 1, "its output differs from run to run; export it in evaluation mode"),
        ("cut", (), 1, "is no ONNX network ("),
        ("rubbish", (), 1, "is no ONNX network ("),
        ("empty", (), 1, "is no ONNX network ("),
        ("folder", (), 1, "is no ONNX network ("),
        ("beside", (), 1, "beside.data"),
        ("missing", (), 1, "there is no such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_one_line(
    files: dict[str, Path],
    parts: Path,
    tmp_path: Path,
    file: str,
    options: tuple[object, ...],
    code: int,
    said: str | None,
) -> None:
    head = () if "--head" in options else ("--head", "mse")
    done = run_here("import", files[file], *head, *options, "--data", parts, "--out", tmp_path / "m")
    assert done.code == code, done.err
    if said is not None:
        assert said in done.error and len(done.error) < 400, done.error
    assert not (tmp_path / "m").exists()
