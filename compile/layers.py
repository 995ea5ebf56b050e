"""What is quantized of a captured network, by names that every target and every report shares.

A layer is a weighted operator, a convolution or a matrix product, or a sum of two activations. Its name is where it
lies in the network, like `mixers.3.up` or, for a sum, `mixers.3.sum`; a layer of a further network that the score head
calls has that one's name in front, `decoder.body.4`. A network that came as ONNX has the names of its nodes.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import onnx
import torch
from torch import nn

from edge_ad.bundle.names import shown
from edge_ad.compile.onnx_cost import work_by_node
from edge_ad.compile.onnx_graphs import constants
from edge_ad.detectors.imported.graphs import name_nodes
from edge_ad.errors import UsageError

if TYPE_CHECKING:
    from edge_ad.compile.capture import Captured

Kind = Literal["Conv", "ConvTranspose", "MatMul", "Sum"]
MAIN = ""  # the main network among those of a detector
_MODULES: dict[str, tuple[type[nn.Module], ...]] = {
    "Conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "ConvTranspose": (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    "MatMul": (nn.Linear,),
}
_KINDS: dict[str, Kind] = {
    "Conv": "Conv", "ConvTranspose": "ConvTranspose", "Gemm": "MatMul", "MatMul": "MatMul", "Add": "Sum",
}  # fmt: skip
_SCOPES = "pkg.torch.onnx.name_scopes"  # where torch's exporter notes the modules that a node came from


@dataclass(frozen=True)
class Layer:
    """One layer. network: MAIN or the name of a further network; local: its node's name there. macs:
    multiply-accumulates an inference, of a sum its additions."""

    name: str
    network: str
    local: str
    kind: Kind
    macs: int


def nodes_of(graph: onnx.GraphProto) -> list[tuple[onnx.NodeProto, Kind]]:
    """The nodes of a float network that are layers, in their order."""
    fixed = constants(graph)
    return [
        (node, _KINDS[node.op_type])
        for node in graph.node
        if node.op_type in _KINDS
        and not fixed.issuperset(node.output)
        and (node.op_type != "Add" or fixed.isdisjoint(node.input))
    ]


def named(content: bytes, network: nn.Module, examples: Sequence[torch.Tensor]) -> bytes:
    """An exported network whose layers' nodes are called by where they lie, all others by names of their own."""
    model = onnx.load_from_string(content)
    found = nodes_of(model.graph)
    weighted = [node for node, kind in found if kind != "Sum"]
    called = _called(network, examples)
    if [kind for kind, _ in called] == [_KINDS[node.op_type] for node in weighted]:
        paths = [path for _, path in called]
    else:  # products of two activations, and weights that are no module's
        paths = [_path(node) for node in weighted]
    ready = iter(paths)
    names = _distinct(_sum(node) if kind == "Sum" else next(ready) for node, kind in found)
    for node in model.graph.node:
        if node.name in names:
            node.name = ""  # gives way
    for (node, _), name in zip(found, names, strict=True):
        node.name = name
    name_nodes(model.graph)
    return bytes(model.SerializeToString())


@torch.no_grad()
def _called(network: nn.Module, examples: Sequence[torch.Tensor]) -> list[tuple[str, str]]:
    """Kind and path of each weighted module, in the order in which a forward pass calls them."""
    found: list[tuple[str, str]] = []
    handles = []
    for path, module in network.named_modules():
        for kind, types in _MODULES.items():
            if isinstance(module, types):
                call = (kind, path)
                handles.append(module.register_forward_hook(lambda *_, call=call: found.append(call)))
    try:
        network(*examples)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _sum(node: onnx.NodeProto) -> str:
    path = _path(node)
    return "sum" if path == node.name else f"{path}.sum"


def _path(node: onnx.NodeProto) -> str:
    """The modules that a node came from, as torch's exporters tell; the node's own name where they do not."""
    for prop in node.metadata_props:
        if prop.key == _SCOPES:
            scopes = [part.strip(" '\"") for part in prop.value.strip("[]").split(",")]
            return scopes[-2] if len(scopes) > 1 and scopes[-2] else node.name
    path = ""
    for part in node.name.strip("/").split("/")[:-1]:  # /mixers/mixers.0/up/MatMul
        last = path.rpartition(".")[2]
        path = f"{path}.{part.removeprefix(f'{last}.')}" if path else part
    return path or node.name


def _distinct(paths: Iterable[str]) -> list[str]:
    """With a number behind each that is there already: one module may be called twice."""
    found: list[str] = []
    for path in paths:
        name, n = path or "layer", 1
        while name in found:
            n += 1
            name = f"{path or 'layer'}#{n}"
        found.append(name)
    return found


def layers_of(captured: Captured) -> list[Layer]:
    """The layers of a captured detector in their order; none of one that was not exported."""
    networks = {MAIN: captured.onnx, **{name: part.onnx for name, part in captured.parts.items()}}
    found = []
    for network, content in networks.items():
        if not content:
            continue
        model = onnx.load_from_string(content)
        work = work_by_node(model)
        for node, kind in nodes_of(model.graph):
            name = f"{network}.{node.name}" if network else node.name
            found.append(Layer(name, network, node.name, kind, work[node.name]))
    return found


def chosen(layers: Sequence[Layer], keep: Sequence[str], where: str) -> list[Layer]:
    """The layers that `keep` names, each by its own name, that of a module around it, or a pattern like `*.sum`.

    Raises UsageError, with names that are close, for one that names none. where: the target.
    """
    for name in keep:
        if not any(_covers(name, layer.name) for layer in layers):
            known = [layer.name for layer in layers]
            close = difflib.get_close_matches(name, [*known, *_modules(known)], n=3, cutoff=0.5)
            meant = f"did you mean {' or '.join(close)}?" if close else f"there are: {_some(known)}"
            raise UsageError(f"the network has no layer {shown(name)}", where=where, hint=meant)
    return [layer for layer in layers if any(_covers(name, layer.name) for name in keep)]


def _covers(name: str, layer: str) -> bool:
    return layer == name or layer.startswith((f"{name}.", f"{name}#")) or fnmatch.fnmatchcase(layer, name)


def _modules(names: Iterable[str]) -> list[str]:
    """What the layers lie in, each once."""
    parts = [name.split(".") for name in names]
    return list(dict.fromkeys(".".join(part[:n]) for part in parts for n in range(1, len(part))))


def _some(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def local_names(layers: Iterable[Layer], network: str) -> frozenset[str]:
    """Names of the nodes of those layers that are in `network`."""
    return frozenset(layer.local for layer in layers if layer.network == network)


def called(node_name: str, names: Iterable[str]) -> str | None:
    """The layer among `names` that a node belongs to: optimisers put what they did behind a node's name."""
    base = node_name
    while base not in names:
        base, slash, _ = base.rpartition("/")
        if not slash:
            return None
    return base


def told(kept: Sequence[Layer], format_: str) -> list[str]:
    """The decision that layers stay in `format_`, a sentence; none without any."""
    if not kept:
        return []
    return [
        f"Kept in {format_} as asked: {', '.join(layer.name for layer in kept)}; all other layers are INT8."
    ]
