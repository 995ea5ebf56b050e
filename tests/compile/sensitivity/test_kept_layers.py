"""Layers that are kept, in the payloads themselves; and the search on a network whose one sensitive layer is known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import planted_layers as planted
import pytest

from edge_ad import targets
from edge_ad.compile import openvino_ir
from edge_ad.compile.capture import Captured, capture
from edge_ad.compile.layers import chosen, layers_of
from edge_ad.compile.opening import open_lowered
from edge_ad.compile.sensitivity.agreement import Tolerance
from edge_ad.compile.sensitivity.plan import find_plan
from edge_ad.compile.sensitivity.report import PrecisionPlan
from edge_ad.compile.target import Lowered
from edge_ad.errors import QualityError, UsageError

LINUX = ("openvino-cpu", "onnx-cpu", "jetson-orin", "jetson-xavier", "litert")
BY_NODE = ("onnx-cpu", "jetson-orin", "jetson-xavier")
TOLERANCE = Tolerance(0.25)


@pytest.fixture(scope="module")
def captures() -> dict[int, Captured]:
    """By opset, shared, so that each quantizer runs once."""
    return {opset: capture(planted.Planted(), opset) for opset in (20, 17, 16)}  # type: ignore[arg-type]


def _lowered(captures: dict[int, Captured], name: str, keep: tuple[str, ...] = ()) -> Lowered:
    target = targets.get(name)
    return target.lower(captures[target.opset], "int8", planted.calibration(), keep)


def _outputs(name: str, lowered: Lowered, folder: Path) -> np.ndarray:
    engine = open_lowered(targets.get(name), lowered, folder)
    return np.concatenate([engine.infer(batch)["errors"] for batch in planted.batches()])


def _plan(captures: dict[int, Captured], name: str, folder: Path, tolerance: Tolerance) -> PrecisionPlan:
    target, detector = targets.get(name), planted.Planted()
    float_ = open_lowered(target, target.lower(captures[target.opset], "fp32", None), folder / "float")
    return find_plan(
        detector, target, captures[target.opset], planted.calibration(), planted.normals(), tolerance, float_,  # type: ignore[arg-type]
        lambda what, n: lambda: None,
    )  # fmt: skip


@pytest.mark.parametrize("opset", [20, 17, 16])
def test_layers_have_the_same_names_in_every_opset(captures: dict[int, Captured], opset: int) -> None:
    layers = layers_of(captures[opset])
    assert tuple(layer.name for layer in layers) == planted.LAYERS
    side = (planted.SIDE - 2) // 2
    macs = {"first": 38 * 38 * 8 * 27, "block.wide": side**2 * 12 * 72, "block.back": side**2 * 8 * 108,
            "block.sum": side**2 * 8, "last": (side - 2) ** 2 * 4 * 72}  # fmt: skip
    assert {layer.name: layer.macs for layer in layers} == macs


@pytest.mark.parametrize("name", LINUX)
def test_the_planted_layer_is_found(captures: dict[int, Captured], name: str, tmp_path: Path) -> None:
    plan = _plan(captures, name, tmp_path, TOLERANCE)
    assert planted.PLANTED in plan.kept
    # LiteRT rounds what is made, the others what is taken: there the layer before has to go along.
    assert plan.kept == (["first", "block.wide"] if name == "litert" else [planted.PLANTED])
    assert plan.after.drift <= TOLERANCE.score_drift < plan.before.drift
    alone = {layer.name: layer.alone.drift for layer in plan.layers}
    assert alone[planted.PLANTED] > 3 * max(
        value for layer, value in alone.items() if layer not in ("first", planted.PLANTED)
    )
    if name != "litert":
        assert plan.layers[0].name == planted.PLANTED
    assert [step.kept for step in plan.steps if step.holds]  # and all that it took is told


def test_a_plain_network_keeps_nothing(tmp_path: Path) -> None:
    plain = {20: capture(planted.Planted(reach=1.0))}  # type: ignore[arg-type]
    plan = _plan(plain, "openvino-cpu", tmp_path, TOLERANCE)
    assert plan.kept == [] and plan.layers == [] and "no layer has to stay" in plan.told()[0]


def test_a_tolerance_that_nothing_holds_is_refused(
    captures: dict[int, Captured], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edge_ad.compile.sensitivity.plan.layers_of", lambda captured: layers_of(captured)[:1]
    )
    with pytest.raises(QualityError, match=r"no set of layers .* holds a score drift of 0\.01") as caught:
        _plan(captures, "openvino-cpu", tmp_path, Tolerance(0.01))
    assert "--precision fp32" in str(caught.value)


def _openvino(lowered: Lowered) -> dict[int, Any]:
    """Convolutions of an IR by their output channels, which differ in this network."""
    import openvino

    model = openvino.Core().read_model(lowered.files["network.xml"], lowered.files["network.bin"])
    return {
        (op.get_output_shape(0)[1], op.get_input_shape(0)[1]): op
        for op in model.get_ordered_ops()
        if op.get_type_name() == "Convolution"
    }


def test_openvino_has_no_fake_quantize_at_a_kept_layer(captures: dict[int, Captured]) -> None:
    convolutions = _openvino(_lowered(captures, "openvino-cpu", ("block.wide",)))
    shapes = {"first": (8, 3), "block.wide": (12, 8), "block.back": (8, 12), "last": (4, 8)}
    for layer, shape in shapes.items():
        data, weight = (convolutions[shape].input_value(i).get_node() for i in (0, 1))
        before = data
        while before.get_type_name() in ("MaxPool", "Relu"):
            before = before.input_value(0).get_node()
        rounded = "FakeQuantize" in (data.get_type_name(), before.get_type_name())
        assert rounded == (layer != "block.wide"), layer
        assert (weight.get_type_name() == "Constant") == (layer == "block.wide"), layer
    wide = convolutions[shapes["block.wide"]].input_value(1).get_node().data
    np.testing.assert_array_equal(wide, planted.Planted().core.block.wide.weight.detach().numpy())


def test_openvino_computes_what_nncf_does_with_the_layer_ignored(captures: dict[int, Captured]) -> None:
    """The independent way: nncf told beforehand to leave the layer, and the pooling before it, alone."""
    os.environ.setdefault("NNCF_CI", "1")
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    captured = captures[20]
    front, core, tail = (
        openvino_ir.import_onnx(one) for one in (captured.front, captured.onnx, captured.tail)
    )  # type: ignore[arg-type]
    names = [p.output(0).get_any_name() for p in core.get_parameters()]
    feeds = [{name: made[name] for name in names} for made in openvino_ir.through(front, planted.batches())]
    pooling = [op.get_friendly_name() for op in core.get_ordered_ops() if op.get_type_name() == "MaxPool"]
    ignored = nncf.quantize(
        core, nncf.Dataset(feeds), subset_size=len(feeds), preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=["block.wide", *pooling]),
        advanced_parameters=AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.ENABLE, disable_bias_correction=True,
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        ),
    )  # fmt: skip
    whole = openvino_ir.joined(front, ignored, tail)
    expected = np.concatenate([made["errors"] for made in openvino_ir.through(whole, planted.batches())])
    import openvino

    kept = _lowered(captures, "openvino-cpu", ("block.wide",))
    model = openvino.Core().read_model(kept.files["network.xml"], kept.files["network.bin"])
    got = np.concatenate([made["errors"] for made in openvino_ir.through(model, planted.batches())])
    np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.parametrize("name", BY_NODE)
def test_an_onnx_file_has_no_pair_at_a_kept_layer(captures: dict[int, Captured], name: str) -> None:
    lowered = _lowered(captures, name, ("block.wide",))
    graph = onnx.load_from_string(lowered.files["network.onnx"]).graph
    made = {output: node for node in graph.node for output in node.output}
    fixed = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        source = made[node.input[0]]
        while source.op_type in ("MaxPool", "Relu"):
            source = made[source.input[0]]
        kept = "block.wide" in node.name
        assert (source.op_type == "DequantizeLinear") != kept, node.name
        assert (node.input[1] in fixed) == kept, node.name
    assert any("block.wide" in line for line in lowered.decisions)


@pytest.mark.parametrize("name", LINUX)
def test_keeping_everything_is_the_float_network(
    captures: dict[int, Captured], name: str, tmp_path: Path
) -> None:
    target = targets.get(name)
    float_ = _outputs(name, target.lower(captures[target.opset], "fp32", None), tmp_path / "float")
    every = _outputs(name, _lowered(captures, name, ("*",)), tmp_path / "every")
    none = _outputs(name, _lowered(captures, name), tmp_path / "none")
    np.testing.assert_allclose(every, float_, rtol=1e-3)
    assert np.abs(none / float_ - 1).max() > 0.02


@pytest.mark.parametrize("name", LINUX)
def test_a_form_does_not_depend_on_those_made_before(captures: dict[int, Captured], name: str) -> None:
    first = _lowered(captures, name, ("last",)).files
    _lowered(captures, name, ("first", "block"))
    assert _lowered(captures, name, ("last",)).files == first


def test_and_is_the_same_when_made_anew(captures: dict[int, Captured]) -> None:
    first = _lowered(captures, "openvino-cpu", ("last",)).files
    anew = {20: capture(planted.Planted())}  # type: ignore[arg-type]
    assert _lowered(anew, "openvino-cpu", ("last",)).files == first


def test_a_module_or_a_pattern_names_all_in_it(captures: dict[int, Captured]) -> None:
    def names(*keep: str) -> list[str]:
        return [layer.name for layer in chosen(layers_of(captures[20]), keep, "x")]

    assert names("block") == ["block.wide", "block.back", "block.sum"]
    assert names("*.sum", "last") == ["block.sum", "last"]
    assert _lowered(captures, "openvino-cpu", ("block",)).kept == ("block.wide", "block.back", "block.sum")


@pytest.mark.parametrize("name", LINUX)
def test_an_unknown_layer_is_named_with_those_that_are_close(
    captures: dict[int, Captured], name: str
) -> None:
    with pytest.raises(UsageError, match=r"no layer block\.wade.*did you mean block\.wide"):
        _lowered(captures, name, ("block.wade",))
