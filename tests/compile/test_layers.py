"""Names of layers: where they lie, whatever exported them."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from edge_ad.compile import capture
from edge_ad.compile.layers import Layer, called, chosen, nodes_of
from edge_ad.errors import UsageError


class _Twice(nn.Module):
    """One module that is called twice, and a convolution with its normalisation behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Linear(4, 4)
        self.body = nn.Sequential(nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.same(torch.relu(self.same(self.body(x))))


class _Functional(nn.Module):
    """A product of two activations, which is no module's."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) @ self.right(x).transpose(1, 2)


def _names(network: nn.Module, opset: int) -> list[str]:
    content = capture._export(network.eval(), (torch.zeros(1, 2, 4),), ["x"], ["y"], opset)
    model = onnx.load_from_string(content)
    every = [node.name for node in model.graph.node]
    assert all(every) and len(set(every)) == len(every)
    return [node.name for node, _ in nodes_of(model.graph)]


@pytest.mark.parametrize("opset", [20, 16])
def test_a_module_called_twice_and_one_that_is_folded(opset: int) -> None:
    assert _names(_Twice(), opset) == ["body.0", "same", "same#2"]


@pytest.mark.parametrize("opset", [20, 16])
def test_what_is_no_module_keeps_its_exporters_name(opset: int) -> None:
    names = _names(_Functional(), opset)
    assert names[:2] == ["left", "right"] and len(names) == 3 and names[2] not in ("left", "right")


def test_additions_of_a_constant_are_no_layers() -> None:
    nodes = [
        helper.make_node("Add", ["x", "c"], ["a"], name="bias"),
        helper.make_node("Add", ["x", "a"], ["b"], name="both"),
        helper.make_node("Add", ["c", "c"], ["d"], name="fixed"),
        helper.make_node("Add", ["b", "d"], ["y"], name="bias2"),
    ]
    value = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [value])
    assert [node.name for node, _ in nodes_of(graph)] == ["both"]


def test_optimised_nodes_are_known_by_what_they_were() -> None:
    assert called("a.b/MatMulAddFusion", {"a.b"}) == "a.b"
    assert called("/enc/Conv", {"/enc/Conv"}) == "/enc/Conv"
    assert called("a.bc", {"a.b"}) is None


def test_names_are_of_layers_modules_and_patterns() -> None:
    layers = [Layer(name, "", name, "Conv", 1) for name in ("enc.0", "enc.1", "enc10.0", "head", "head#2")]

    def found(*keep: str) -> list[str]:
        return [layer.name for layer in chosen(layers, keep, "x")]

    assert found("enc") == ["enc.0", "enc.1"]
    assert found("head") == ["head", "head#2"]
    assert found("enc*.0", "enc.0") == ["enc.0", "enc10.0"]
    assert found() == []
    with pytest.raises(UsageError, match=r"x: the network has no layer encode; did you mean enc\b"):
        found("encode")
    with pytest.raises(UsageError, match=r"there are: enc\.0, enc\.1"):
        found("nothing-like-it")
