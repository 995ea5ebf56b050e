"""Networks that came as ONNX on their way to a target: older opsets, where quantization ends, what they cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from foreign_networks import FeatureReconstruction, SimpleNet, export
from onnx import TensorProto, helper, numpy_helper, shape_inference
from torch import Tensor, nn

from edge_ad.compile import cost, openvino_ir
from edge_ad.compile.from_onnx import stages_for
from edge_ad.compile.onnx_cost import count
from edge_ad.compile.onnx_graphs import folded, joined
from edge_ad.compile.onnx_opsets import at_most
from edge_ad.compile.onnx_split import after_the_last_weighted, made_from, split
from edge_ad.detectors.base import OnnxStages
from edge_ad.detectors.imported.graphs import WEIGHTED, name_nodes
from edge_ad.errors import TargetError

SHAPE = (1, 3, 24, 24)


class Modern(nn.Module):
    """Operators that came or changed after opset 13, by torch's own names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.batch, self.linear = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Linear(8, 8)
        self.group, self.layer, self.instance = nn.GroupNorm(2, 8), nn.LayerNorm(8), nn.InstanceNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y = F.mish(self.group(F.gelu(self.conv(x))))
        y = self.instance(F.hardswish(self.batch(y)))
        first, second = y.chunk(2, 1)
        z = self.layer(self.linear(torch.cat([second, first], 1).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        z = F.avg_pool2d(F.pad(z, (1, 2, 1, 0), mode="reflect"), 3, 1, 1)
        z = F.interpolate(F.silu(z) + F.elu(z), size=(16, 16), mode="bilinear")
        z = z / z.norm(dim=1, keepdim=True).clamp_min(1e-6)
        return z.amax(1, keepdim=True) + z.std(1, keepdim=True) + z.pow(2).sum(1, keepdim=True).sqrt()


def batch(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, inputs)


def ready(path: Path) -> onnx.ModelProto:
    """Folded, each node with a name."""
    model = folded(onnx.load(path).SerializeToString())
    name_nodes(model.graph)
    return model


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> tuple[onnx.ModelProto, np.ndarray]:
    """By torch's present exporter, and what torch gives."""
    torch.manual_seed(0)
    network = Modern().eval()
    path = export(network, SHAPE, tmp_path_factory.mktemp("modern") / "n.onnx", opset=20, new=True)
    with torch.no_grad():
        return ready(path), network(torch.from_numpy(batch())).numpy()


@pytest.mark.parametrize("opset", [20, 17, 16, 13])
def test_a_network_of_today_computes_the_same_in_an_older_opset(
    modern: tuple[onnx.ModelProto, np.ndarray], opset: int
) -> None:
    model, wanted = modern
    assert {"Gelu", "LayerNormalization", "ReduceL2"} <= {node.op_type for node in model.graph.node}
    made = at_most(model, opset)
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", opset)]
    onnx.checker.check_model(made, full_check=True)
    np.testing.assert_allclose(run(made, given=batch())[0], wanted, rtol=1e-4, atol=1e-5)


def one_node(
    kind: str, constants: list[np.ndarray], opset: int, outputs: int = 1, **attributes: object
) -> onnx.ModelProto:
    names = [f"c{i}" for i in range(len(constants))]
    # Inputs may be left out: an empty array stands for that.
    given = ["x", *("" if c.size == 0 else name for c, name in zip(constants, names, strict=True))]
    node = helper.make_node(kind, given, [f"y{i}" for i in range(outputs)], "odd", **attributes)
    weights = [numpy_helper.from_array(c, name) for c, name in zip(constants, names, strict=True) if c.size]
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 5, 6, 4])],
        [helper.make_empty_tensor_value_info(name) for name in node.output], weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


NONE = np.zeros(0, np.int64)


@pytest.mark.parametrize(
    ("kind", "constants", "attributes"),
    [
        ("ReduceMean", [np.array([1, -1])], {"keepdims": 0}),
        ("ReduceMax", [], {}),
        ("ReduceL2", [np.array([2])], {"noop_with_empty_axes": 1}),
        ("Split", [], {"axis": 1, "num_outputs": 2}),
        ("Pad", [np.array([1, 0, 2, 3]), np.array(0.5, np.float32), np.array([3, -3])], {}),
        ("Pad", [np.array([0, 1, 2, 0, 0, 0, 1, 1])], {"mode": "reflect"}),
        ("Reshape", [np.array([5, -1, 2])], {"allowzero": 1}),
        ("AveragePool", [], {"kernel_shape": [2, 2], "dilations": [1, 1]}),
        ("LpPool", [], {"kernel_shape": [2, 2], "dilations": [1, 1]}),
        ("Resize", [NONE, np.array([1, 1, 2, 2], np.float32)], {"mode": "linear", "antialias": 0}),
        (
            "GridSample",
            [np.random.default_rng(0).uniform(-1, 1, (1, 3, 3, 2)).astype(np.float32)],
            {"mode": "linear"},
        ),
        ("Shape", [], {"start": 0}),
        ("Cast", [], {"to": TensorProto.FLOAT, "saturate": 1}),
    ],
)
def test_an_operator_that_changed_is_said_in_its_older_form(
    kind: str, constants: list[np.ndarray], attributes: dict
) -> None:
    model = one_node(kind, constants, 20, outputs=2 if kind == "Split" else 1, **attributes)
    made = at_most(model, 16 if kind == "GridSample" else 13)
    given = batch((1, 5, 6, 4))
    for found, wanted in zip(run(made, x=given), run(model, x=given), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "constants", "attributes", "said"),
    [
        ("Resize", [NONE, np.array([1, 1, 0.5, 0.5], np.float32)], {"mode": "linear", "antialias": 1},
         "node odd: this Resize is newer than opset 17, which the target reads, and has no antialias there"),
        ("AveragePool", [], {"kernel_shape": [2, 2], "dilations": [2, 2]}, "has no dilations there"),
        ("DeformConv", [np.ones((2, 5, 1, 1), np.float32), np.zeros((1, 2, 6, 4), np.float32)], {},
         "node odd: DeformConv came with opset 19, the target reads up to 17; take another target"),
    ],
)  # fmt: skip
def test_what_an_older_opset_cannot_say_is_named(
    kind: str, constants: list[np.ndarray], attributes: dict, said: str
) -> None:
    with pytest.raises(TargetError, match=said):
        at_most(one_node(kind, constants, 20, **attributes), 17)


@pytest.mark.parametrize("network", [SimpleNet, FeatureReconstruction])
def test_what_follows_the_last_weighted_operator_is_cut_off_and_computes_the_same(
    network: type[nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    outputs = ("map", "mask") if network is SimpleNet else ("map",)
    model = ready(export(network(), SHAPE, tmp_path / "n.onnx", outputs=outputs))
    core, tail = split(model, after_the_last_weighted(model), "cut_")
    assert tail is not None
    assert [out.name for out in core.graph.output] == [f"cut_{i}" for i in range(len(core.graph.output))]
    assert not {node.op_type for node in tail.graph.node} & set(WEIGHTED)
    last = {node.output[0]: node.op_type for node in core.graph.node}
    kinds = [last[out.name] for out in core.graph.output]
    assert "Conv" in kinds and (
        len(kinds) == 1 or "Concat" in kinds
    )  # DFR's features go past the convolutions
    for found, wanted in zip(
        run(joined(None, core, tail), given=batch()), run(model, given=batch()), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_a_network_is_cut_at_any_tensor(tmp_path: Path) -> None:
    """Whatever is cut, both parts together are the whole; an output from before the cut goes through."""
    torch.manual_seed(0)
    model = ready(export(FeatureReconstruction(), SHAPE, tmp_path / "n.onnx"))
    inner = [name for node in model.graph.node[:-1] for name in node.output]
    model.graph.output.append(helper.make_tensor_value_info(inner[0], TensorProto.FLOAT, [1, 8, 12, 12]))
    wanted = run(model, given=batch())
    for name in inner:
        core, tail = split(model, made_from(model, [name]), "cut_")
        assert tail is not None
        found = run(joined(None, core, tail), given=batch())
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert split(model, set(), "cut_") == (model, None)


def stages(core: onnx.ModelProto, exact_from: tuple[str, ...] = ()) -> OnnxStages:
    """A network (1, 3, 8, 8) to (1, 1, 8, 8) with a front and a tail that do nothing."""

    def through(inputs: list[str], outputs: list[str], channels: int) -> bytes:
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            [helper.make_node("Identity", inputs, [name]) for name in outputs], "g",
            [value(name, TensorProto.FLOAT, [1, channels, 8, 8]) for name in inputs],
            [value(name, TensorProto.FLOAT, [1, channels, 8, 8]) for name in outputs],
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=core.opset_import, ir_version=8).SerializeToString()

    return OnnxStages(
        through(["input"], ["edge_0", "edge_1"], 3),
        core.SerializeToString(),
        through(["core_0"], ["map"], 1),
        exact_from,
    )


def by_text(body: str) -> onnx.ModelProto:
    """A core whose nodes are `body`, with weights w (1, 3, 1, 1) and k (1, 1, 1, 1)."""
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    net (float[1,3,8,8] edge_0) => (float[1,1,8,8] core_0)
    <float[1,3,1,1] w = {{0.5, -1.0, 2.0}}, float[1,1,1,1] k = {{3.0}}> {{ {body} }}"""
    return onnx.parser.parse_model(text)


def operators(stage: bytes | None) -> list[str]:
    """Types of the nodes of a stage that do something."""
    if stage is None:
        return []
    return [node.op_type for node in onnx.load_from_string(stage).graph.node if node.op_type != "Identity"]


@pytest.mark.parametrize(
    ("body", "kept", "passes"),
    [
        ("c = Conv(edge_0, w)  core_0 = Sigmoid(c)", ["Sigmoid"], False),
        ("c = Conv(edge_0, w)  s = Mul(c, c)  core_0 = Sqrt(s)", ["Mul", "Sqrt"], False),
        ("c = Conv(edge_0, w)  d = Sub(edge_0, c)  core_0 = ReduceMax<axes = [1]>(d)", ["Sub", "ReduceMax"], True),
        ("c = Conv(edge_0, w)  core_0 = Conv(c, k)", [], False),
    ],
)  # fmt: skip
def test_what_makes_the_score_goes_to_the_tail(body: str, kept: list[str], passes: bool) -> None:
    model = by_text(body)
    front, core, tail = stages_for(stages(model), 17)
    assert operators(tail) == kept and operators(core) == ["Conv"] * body.count("Conv")
    assert [out.name for out in onnx.load_from_string(front).graph.output] == ["edge_0"] + ["edge_1"] * passes
    given = batch((1, 3, 8, 8))
    parts = [None if one is None else onnx.load_from_string(one) for one in (front, core, tail)]
    found = run(joined(parts[0], parts[1], parts[2]), input=given)[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(found, run(model, edge_0=given)[0], rtol=1e-5, atol=1e-6)


def test_from_a_named_tensor_on_convolutions_stay_exact_too() -> None:
    """A map that is smoothed by a convolution would be quantized once more otherwise."""
    model = by_text("c = Conv(edge_0, w)  s = Mul(c, c)  core_0 = Conv(s, k)")
    for exact, kept in (((), []), (("c",), ["Mul", "Conv"]), (("s",), ["Conv"])):
        _, core, tail = stages_for(stages(model, exact), 17)
        assert operators(tail) == kept
        assert operators(core).count("Conv") == 2 - kept.count("Conv")


def test_a_named_tensor_outlives_folding_and_older_opsets() -> None:
    """A factor behind a convolution would be folded into it, and Mish has to be written out."""
    model = by_text("c = Conv(edge_0, w)  s = Mul(c, k)  m = Mish(s)  core_0 = Conv(m, k)")
    model.opset_import[0].version = 18
    for opset in (18, 13):
        _, core, tail = stages_for(stages(model, ("c",)), opset)
        assert operators(core) == ["Conv"] and operators(tail)[0] == "Mul" and operators(tail)[-1] == "Conv"
        assert "core_0" not in {
            name for node in onnx.load_from_string(core).graph.node for name in node.output
        }


def test_branches_and_loops_are_refused_by_name() -> None:
    body = """
        c = Conv(edge_0, w)  m = ReduceMax<keepdims = 0>(c)  zero = Constant<value = float {0.0}>()
        yes = Greater(m, zero)
        core_0 = If<then_branch = a () => (float[1,1,8,8] p) { p = Relu(c) },
                    else_branch = b () => (float[1,1,8,8] q) { q = Neg(c) }>(yes)"""
    with pytest.raises(TargetError, match="is a If, and no quantizer takes branches or loops"):
        stages_for(stages(by_text(body)), 17)


@pytest.mark.parametrize("network", [SimpleNet, FeatureReconstruction, Modern])
def test_costs_are_those_that_openvino_has(network: type[nn.Module], tmp_path: Path) -> None:
    outputs = ("map", "mask") if network is SimpleNet else ("map",)
    model = ready(export(network(), SHAPE, tmp_path / "n.onnx", outputs=outputs))
    if network is SimpleNet:
        del model.graph.output[1]
    found, wanted = count(model), cost.count(openvino_ir.import_onnx(model.SerializeToString()), int8=False)
    assert found.macs == wanted.macs
    assert found.parameters == pytest.approx(wanted.parameters, rel=0.1)
    assert found.activation_bytes == pytest.approx(wanted.activation_bytes, rel=0.3)
