"""Groups of layers whose channels go together, and the multiply-accumulates that this saves.

The groups are torch-pruning's (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023): it follows the
network's graph from a layer's output channels to all layers that a channel lives in, through additions,
concatenations and reshapes. Where it cannot, an anatomy gives groups by hand (`joined`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from edge_ad.compile.prune.anatomy import Anatomy
from edge_ad.compile.prune.joined import Joined, Slices, cut
from edge_ad.errors import MissingDependencyError

Layer: TypeAlias = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
Fewer: TypeAlias = dict[
    tuple[str, str], int
]  # channels less, by layer and whether of its "in", "out" or "runs"


@dataclass(frozen=True)
class Member:
    """A layer of a group. outputs: whether its output channels are meant, else its inputs. channels: (width, m), the
    layer's own numbers of each of the group's channels."""

    name: str
    outputs: bool
    channels: Tensor


@dataclass(frozen=True)
class Group:
    """width channels that can be taken away one by one. root: what torch-pruning is told, in words.

    reads: what scales a channel where it is read, or where nothing reads it, made. joined: where it was given by hand.
    """

    root: str
    width: int
    members: tuple[Member, ...]
    reads: tuple[Slices, ...]
    joined: Joined | None
    _function: Any

    @property
    def consumers(self) -> list[Member]:
        return [member for member in self.members if not member.outputs]

    @property
    def producers(self) -> list[Member]:
        return [member for member in self.members if member.outputs]


class Channels:
    """A network's groups, and which channels remain of each layer."""

    def __init__(self, anatomy: Anatomy, inputs: Tensor):
        """inputs: one (1, …)."""
        try:
            import torch_pruning
        except ImportError as error:
            raise MissingDependencyError(
                "pruning needs the package torch-pruning", hint="pip install 'edge-ad[compile]'"
            ) from error
        network = anatomy.network
        self.network, self._anatomy, self.overhead = network, anatomy, anatomy.overhead
        self.layers: dict[str, Layer] = {n: m for n, m in network.named_modules() if isinstance(m, LAYERS)}
        self._names = {module: name for name, module in network.named_modules()}
        self.kept = {name: torch.arange(_width(layer)) for name, layer in self.layers.items()}
        self._inputs, self._new_graph = inputs, torch_pruning.DependencyGraph
        self._trace()

    def _trace(self) -> None:
        self._graph = self._new_graph().build_dependency(
            self.network, example_inputs=self._inputs, forward_fn=self._anatomy.traced, verbose=False
        )
        self._runs = dict.fromkeys(
            self.layers, 1
        )  # along the axis of a group given by hand, where there is one
        for joined in self._joined():
            self._runs.update(joined.runs)
        counted = _positions(self.network, self.layers, self._inputs)
        self.positions = {
            name: count // self._runs[name] * self._anatomy.passes_of(name) for name, count in counted.items()
        }

    def groups(self) -> list[Group]:
        """All groups none of whose layers is fixed, as wide as they are now."""
        fixed = self._anatomy.fixed
        found = self._graph.get_all_groups(
            ignored_layers=[self.layers[name] for name in fixed], root_module_types=list(LAYERS)
        )
        groups = [self._group(items) for items in found]
        traced = [g for g in groups if g is not None and not any(m.name in fixed for m in g.producers)]
        return traced + [self._given(joined) for joined in self._joined()]

    def _joined(self) -> list[Joined]:
        return [] if self._anatomy.joined is None else self._anatomy.joined(self.network)

    def _given(self, joined: Joined) -> Group:
        members = []
        for part in joined.slices:
            name, _, leaf = part.tensor.rpartition(".")
            if leaf == "weight" and name in self.layers:
                members.append(Member(name, part.axis == 0, part.places))
        reads = tuple(part for part in joined.slices if part.read)
        return Group(joined.name, joined.width, tuple(members), reads, joined, None)

    def _group(self, items: Any) -> Group | None:
        """torch-pruning's group, told from its narrowest member: a channel there may be several values elsewhere."""
        # torch-pruning names a channel once or, on some ways to it, once for each value that it is elsewhere.
        narrowest = min(
            (i for i in items if i.dep.target.module in self._names), key=lambda i: len(set(i.idxs))
        )
        module, function = narrowest.dep.target.module, narrowest.dep.handler
        width = len(set(narrowest.idxs))
        if width < len(items[0].idxs):
            items = self._graph.get_pruning_group(module, function, list(range(width)))
        members = []
        for item in items:
            layer = item.dep.target.module
            if not isinstance(layer, LAYERS):
                continue
            order = torch.tensor(item.root_idxs)
            if len(order) % width or len(order) == 0:
                return None
            rows = torch.tensor(list(item.idxs))[order.argsort(stable=True)].reshape(width, -1)
            outputs = self._graph.is_out_channel_pruning_fn(item.dep.handler)
            members.append(Member(self._names[layer], outputs, rows))
        side = "out" if self._graph.is_out_channel_pruning_fn(function) else "in"
        scaling = [m for m in members if not m.outputs] or members
        reads = tuple(part for member in scaling for part in self._scaled_by(member))
        return Group(f"{self._names[module]} {side}", width, tuple(members), reads, None, (module, function))

    def _scaled_by(self, member: Member) -> Iterator[Slices]:
        layer = self.layers[member.name]
        axis = 0 if member.outputs != isinstance(layer, nn.ConvTranspose2d) else 1
        yield Slices(f"{member.name}.weight", axis, member.channels, True)
        if member.outputs and layer.bias is not None:
            yield Slices(f"{member.name}.bias", 0, member.channels, True)

    def prune(self, group: Group, channels: Sequence[int]) -> None:
        """Take these channels of the group out of all its layers; groups found before are void."""
        chosen = sorted(channels)
        for member in group.producers:
            gone = member.channels[chosen].flatten()
            stay = torch.ones(len(self.kept[member.name]), dtype=torch.bool)
            stay[gone] = False
            self.kept[member.name] = self.kept[member.name][stay]
            if member.name in self._anatomy.followers:
                self._anatomy.followers[member.name](stay)
        if group.joined is not None:
            cut(self.network, group.joined, chosen)
            self._trace()
        else:
            module, function = group._function
            self._graph.get_pruning_group(module, function, chosen).prune()

    def macs(self, without: Fewer | None = None) -> int:
        """Multiply-accumulates of all layers for one score."""
        return sum(self.layer_macs(name, without or {}) for name in self.layers)

    def layer_macs(self, name: str, without: Fewer, overhead: int = 0) -> int:
        """Of one layer; overhead: besides, for each output."""
        layer = self.layers[name]
        inputs, outputs, runs = (
            width - without.get((name, side), 0)
            for side, width in (("in", _inputs(layer)), ("out", _width(layer)), ("runs", self._runs[name]))
        )
        return self.positions[name] * runs * (inputs + overhead) * outputs

    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())


def cost_of(anatomy: Anatomy, inputs: Tensor) -> tuple[int, int]:
    """Multiply-accumulates of the unpruned network's layers for one score of inputs (1, …), and its parameters."""
    network = anatomy.unpruned or anatomy.network
    layers: dict[str, Layer] = {n: m for n, m in network.named_modules() if isinstance(m, LAYERS)}
    positions = _positions(network, layers, inputs)
    macs = sum(
        positions[name] * _inputs(layer) * _width(layer) * anatomy.passes_of(name)
        for name, layer in layers.items()
    )
    return macs, sum(p.numel() for p in network.parameters())


def removed(group: Group, count: int) -> Iterator[tuple[tuple[str, str], int]]:
    """How many channels each layer of a group loses when `count` of the group's go."""
    for member in group.members:
        yield (member.name, "out" if member.outputs else "in"), count * member.channels.shape[1]
    for name in () if group.joined is None else group.joined.runs:
        yield (name, "runs"), count


def _width(layer: Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _inputs(layer: Layer) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


@torch.no_grad()
def _positions(network: nn.Module, layers: Mapping[str, Layer], inputs: Tensor) -> dict[str, int]:
    """Multiply-accumulates of one input that each pair of an input and an output channel of a layer costs."""
    found = dict.fromkeys(layers, 0)

    def count(name: str) -> Any:
        def hook(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            if isinstance(layer, nn.Linear):
                each = made.numel() // layer.out_features
            elif isinstance(layer, nn.ConvTranspose2d):
                each = given[0][:, 0].numel() * layer.weight[0, 0].numel()
            else:
                assert isinstance(layer, nn.Conv2d)
                each = made[:, 0].numel() * layer.weight[0, 0].numel()
            found[name] += each // len(inputs)

        return hook

    hooks = [layer.register_forward_hook(count(name)) for name, layer in layers.items()]
    network(inputs)
    for hook in hooks:
        hook.remove()
    return found
