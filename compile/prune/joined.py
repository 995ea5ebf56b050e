"""Groups given by hand, where the graph does not show what hangs together: channels that are flattened into others, lie
in parameters of no layer, or along axes that layers run over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edge_ad.detectors.widths import describe


@dataclass(frozen=True)
class Slices:
    """Where a tensor holds a group's channels.

    tensor: a parameter or buffer, by its full name. places (width, m): along `axis`, of each channel. read: whether all
    that is read of a channel is scaled by these places (of several tensors, by each a part), so that a gate on them is
    one on the channel.
    """

    tensor: str
    axis: int
    places: Tensor
    read: bool = False


@dataclass(frozen=True)
class Joined:
    """width channels that can be taken away one by one. name: of the group.

    runs: layers that run once for each channel, and how often they run with all others of its kind. step, least: what
    goes in multiples of how many and how many stay, None for what is usual.
    """

    name: str
    width: int
    slices: tuple[Slices, ...]
    runs: Mapping[str, int] = field(default_factory=dict)
    step: int | None = None
    least: int | None = None


def of_layer(name: str, axis: int, places: Tensor, *, read: bool = False) -> tuple[Slices, ...]:
    """A linear layer's outputs (axis 0), with their bias, or its inputs (axis 1)."""
    weight = Slices(f"{name}.weight", axis, places, read)
    return (weight,) if axis else (weight, Slices(f"{name}.bias", 0, places, read))


@torch.no_grad()
def cut(network: nn.Module, joined: Joined, gone: Sequence[int]) -> None:
    """Take channels out of all tensors that hold them."""
    changed: dict[str, nn.Module] = {}
    for part in joined.slices:
        where, _, name = part.tensor.rpartition(".")
        module = changed[where] = network.get_submodule(where)
        own = getattr(module, name)
        stay = torch.ones(own.shape[part.axis], dtype=torch.bool)
        stay[part.places[list(gone)].flatten()] = False
        value = own.detach().movedim(part.axis, 0)[stay].movedim(0, part.axis).contiguous()
        if isinstance(own, nn.Parameter):
            setattr(module, name, nn.Parameter(value, requires_grad=own.requires_grad))
        else:
            setattr(module, name, value)
    for where, module in changed.items():
        describe(module, where)
