"""TensorRT's rules: a file that keeps them passes, and one that breaks a rule is refused by that rule, at its node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_ad.compile.onnx_graphs import attributes
from edge_ad.compile.qdq import quantize_for_cpu, quantize_symmetric
from edge_ad.compile.tensorrt_graph import TensorRt
from edge_ad.compile.tensorrt_rules import RULES, require, violations
from edge_ad.errors import TargetError
from edge_ad.targets.jetson import NANO, ORIN, XAVIER

SHAPE = (1, 3, 8, 8)


def residual(opset: int = 17) -> onnx.ModelProto:
    """Conv, Relu, Conv, and an Add with what came before: y = conv2(relu(conv1(x))) + relu(conv1(x))."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(4, 3, 3, 3)), "b1": rng.normal(size=4),
        "w2": rng.normal(size=(4, 4, 3, 3)), "b2": rng.normal(size=4),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1] * 4),
        helper.make_node("Add", ["c2", "r1"], ["y"], "add"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8))],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def feeds() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=SHAPE).astype(np.float32)} for _ in range(4)]


@pytest.fixture(scope="module")
def sound() -> onnx.ModelProto:
    return quantize_symmetric(residual(), feeds())


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(one for one in model.graph.node if one.name == name)


def first(model: onnx.ModelProto, kind: str, *, of_weight: bool = False) -> onnx.NodeProto:
    fixed = {tensor.name for tensor in model.graph.initializer}
    return next(n for n in model.graph.node if n.op_type == kind and (n.input[0] in fixed) == of_weight)


def constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    tensor = next(one for one in model.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value, name))


def value(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == name)).copy()


def taker(model: onnx.ModelProto, of: onnx.NodeProto) -> onnx.NodeProto:
    return next(one for one in model.graph.node if of.output[0] in one.input)


def bypass(model: onnx.ModelProto, user: str, index: int) -> None:
    """Let a node take its input from before the Q and DQ."""
    made = {output: one for one in model.graph.node for output in one.output}
    taker = node(model, user)
    taker.input[index] = made[made[taker.input[index]].input[0]].input[0]


def test_the_quantized_network_keeps_every_rule_and_still_computes_the_same(sound: onnx.ModelProto) -> None:
    import onnxruntime

    assert violations(sound, ORIN) == []
    kinds = [one.op_type for one in sound.graph.node]
    assert kinds.count("QuantizeLinear") == 6  # x, w1, r1 for conv2, w2, and both branches of the Add
    results = []
    for model in (residual(), sound):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        results.append(session.run(None, feeds()[0])[0])
    assert np.abs(results[1] - results[0]).max() < 0.05 * np.abs(results[0]).max()


def break_opset(model: onnx.ModelProto) -> str:
    model.opset_import[0].version = 21
    return "model"


def break_operators(model: onnx.ModelProto) -> str:
    node(model, "relu").op_type = "Celu"
    return "relu"


def break_static_shapes(model: onnx.ModelProto) -> str:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    return "x"


def break_input_types(model: onnx.ModelProto) -> str:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return "x"


def break_zero_points(model: onnx.ModelProto) -> str:
    one = first(model, "QuantizeLinear")
    constant(model, one.input[2], np.array(3, np.int8))
    return one.name


def break_scales(model: onnx.ModelProto) -> str:
    one = first(model, "QuantizeLinear")
    constant(model, one.input[1], np.array(0, np.float32))
    return one.name


def break_pairs(model: onnx.ModelProto) -> str:
    dq = first(model, "DequantizeLinear")
    scale = numpy_helper.from_array(value(model, dq.input[1]) * 2, "another")
    model.graph.initializer.append(scale)
    dq.input[1] = "another"
    return dq.name


def break_granularity(model: onnx.ModelProto) -> str:
    one = first(model, "QuantizeLinear", of_weight=True)
    for attribute in one.attribute:
        if attribute.name == "axis":
            attribute.i = 1
    assert attributes(one)["axis"] == 1
    return one.name


def break_placement(model: onnx.ModelProto) -> str:
    """Q and DQ behind the first convolution, before its Relu."""
    q, dq = first(model, "QuantizeLinear"), first(model, "DequantizeLinear")
    node(model, "relu").input[0] = "c1_dq"
    model.graph.node.extend([
        helper.make_node("QuantizeLinear", ["c1", q.input[1], q.input[2]], ["c1_q"], "late_q"),
        helper.make_node("DequantizeLinear", ["c1_q", dq.input[1], dq.input[2]], ["c1_dq"], "late_dq"),
    ])  # fmt: skip
    return "late_dq"


def break_weighted_inputs(model: onnx.ModelProto) -> str:
    bypass(model, "conv2", 1)
    return "conv2"


def break_biases(model: onnx.ModelProto) -> str:
    dq = first(model, "DequantizeLinear")
    node(model, "conv1").input[2] = dq.output[0]
    return "conv1"


def break_additions(model: onnx.ModelProto) -> str:
    bypass(model, "add", 1)
    return "add"


def break_outputs(model: onnx.ModelProto) -> str:
    q, dq = first(model, "QuantizeLinear"), first(model, "DequantizeLinear")
    node(model, "add").output[0] = "sum"
    model.graph.node.extend([
        helper.make_node("QuantizeLinear", ["sum", q.input[1], q.input[2]], ["sum_q"], "last_q"),
        helper.make_node("DequantizeLinear", ["sum_q", dq.input[1], dq.input[2]], ["y"], "last_dq"),
    ])  # fmt: skip
    return "last_dq"


BREAKS: dict[str, Callable[[onnx.ModelProto], str]] = {
    name.removeprefix("break_").replace("_", "-"): function
    for name, function in globals().copy().items()
    if name.startswith("break_")
}


def test_every_rule_has_a_file_that_breaks_it() -> None:
    assert {*BREAKS, "int8-hardware"} == set(RULES)


@pytest.mark.parametrize("rule", BREAKS)
def test_a_file_that_breaks_a_rule_is_refused_by_that_rule_at_its_node(
    sound: onnx.ModelProto, rule: str
) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(sound)
    place = BREAKS[rule](broken)
    found = violations(broken, ORIN)
    assert (rule, place) in {(one.rule, one.node) for one in found}, found
    with pytest.raises(TargetError, match=r"network\.onnx: TensorRT 10\.3 would not take the network"):
        require(broken, ORIN, where="network.onnx")


@pytest.mark.parametrize(
    ("scales", "said"),
    [(1, "one scale for all 4 channels of this Conv's weight"), (3, "3 scales for 4 channels")],
)
def test_a_weight_has_a_scale_for_each_of_its_channels(
    sound: onnx.ModelProto, scales: int, said: str
) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(sound)
    q = first(broken, "QuantizeLinear", of_weight=True)
    for one in (q, taker(broken, q)):
        constant(broken, one.input[1], np.full(scales, 0.1, np.float32))
        constant(broken, one.input[2], np.zeros(scales, np.int8))
    found = {(one.rule, one.node): one.text for one in violations(broken, ORIN)}
    assert said in found["granularity", q.name]


@pytest.mark.parametrize(("transposed", "wanted"), [(0, 1), (1, 0)])
def test_the_axis_of_a_matrixs_scales_is_that_of_its_outputs(transposed: int, wanted: int) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 3) if transposed else (3, 5)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], "gemm", transB=transposed)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 5))], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = quantize_symmetric(model, [{"x": rng.normal(size=(1, 3)).astype(np.float32)} for _ in range(4)])
    assert violations(made, ORIN) == []
    q = first(made, "QuantizeLinear", of_weight=True)
    assert attributes(q)["axis"] % 2 == wanted
    for attribute in q.attribute:
        if attribute.name == "axis":
            attribute.i = 1 - wanted
    assert any(f"Gemm wants them along {wanted}" in one.text for one in violations(made, ORIN))


def test_a_gpu_without_int8_takes_no_quantized_file(sound: onnx.ModelProto) -> None:
    assert {one.rule for one in violations(sound, NANO)} == {"opset", "int8-hardware"}


def test_older_tensorrts_lack_operators_and_byte_inputs() -> None:
    model = residual(13)
    assert violations(model, NANO) == []
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    assert [one.rule for one in violations(model, NANO)] == ["input-types"]
    node(model, "relu").op_type = "LayerNormalization"
    assert "operators" in {one.rule for one in violations(model, XAVIER)}
    assert "operators" not in {one.rule for one in violations(model, TensorRt("10.3", 17, more=ORIN.more))}


def test_unsigned_ranges_as_cpus_like_them_are_found() -> None:
    """What nncf makes for CPUs is not for TensorRT: the reason why another quantizer does it there."""
    model = quantize_for_cpu(residual(), feeds(), 4)
    found = violations(model, ORIN)
    assert any(one.rule == "zero-points" and "uint8" in one.text for one in found)


def test_a_missing_quantize_before_a_dequantize_is_found(sound: onnx.ModelProto) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(sound)
    q = first(broken, "QuantizeLinear", of_weight=True)
    weight = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.int8), q.output[0])
    broken.graph.node.remove(q)
    broken.graph.initializer.append(weight)
    assert any(
        one.rule == "pairs" and "float32 with Q and DQ" in one.text for one in violations(broken, ORIN)
    )
