"""What pruning has to know of a detector: its network down to what its score is made of, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from edge_ad.compile.prune.joined import Joined
from edge_ad.detectors.base import Detector

Kept = Mapping[
    str, Tensor
]  # by layer: which of its output channels remain, as numbers in the unpruned network
Parts = tuple[Tensor, ...]


@dataclass(frozen=True)
class Targets:
    """What the unpruned network gives. inputs: (n, …), normal ones and altered copies. parts: (n, C, …) float16 each.
    size: the mean square of each of them on normal inputs."""

    inputs: Tensor
    parts: Parts
    size: tuple[float, ...]


@dataclass(frozen=True)
class Link:
    """A tensor between layers, by their names: `maker` gives its channels, `readers` take them, and between lies only
    what keeps a positive factor of a channel."""

    maker: str
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Anatomy:
    """A detector as pruning sees it.

    network: a copy in evaluation mode, preprocessed inputs (N, …) to the tensors that the score is made of, its inputs
    (N, C, …) each; all that may be changed lies in it. score: those tensors and the inputs to one differentiable
    figure an input, (N,), that stands for the score. sources: of each tensor, the layer whose output channels are its
    axis 1 where those may be pruned, else None. fixed: layers whose output channels stay. rebuilt: the detector that a
    pruned copy of the network belongs to; its statistics are fitted anew on normal inputs (n, …) of the calibration
    split. batch, rate, steps: of the recovery. bfloat16: whether recovery may compute in it. traced: what runs the
    network to see which layers hang together, where `forward` would not show it. followers: called with which channels
    (C,) of a layer stay, for what hangs on it unseen. passes: how often the layers whose names begin so run for one
    score, where that is not once. least_step: multiples up to this are never halved for narrow layers. refit: sets what
    can be solved for in closed form, before and after the last recovery. links: tensors whose channels may be scaled
    (`equalise`), each once. rounded: puts weights where the quantizer will not move them, after the last recovery and
    given its inputs. notes: what was done before. joined: groups of the network as it is that are given by hand.
    unpruned: the network before it was rewritten for pruning, where it was: what costs are compared with. overhead: of
    each output of a layer besides its multiply-accumulates, in these: to scale it, and what is done to it by itself.
    """

    network: nn.Module
    score: Callable[[Parts, Tensor], Tensor]
    sources: tuple[str | None, ...]
    rebuilt: Callable[[nn.Module, Kept, Tensor, dict[str, Any]], Detector]
    fixed: frozenset[str] = frozenset()
    batch: int = 8
    rate: float = 1e-3
    steps: int = 1000
    bfloat16: bool = False
    traced: Callable[[nn.Module, Tensor], Parts] | None = None
    followers: Mapping[str, Callable[[Tensor], None]] = field(default_factory=dict)
    passes: Mapping[str, int] = field(default_factory=dict)
    least_step: int = 1
    refit: Callable[[nn.Module, Targets], None] | None = None
    rounded: Callable[[nn.Module, Tensor], None] | None = None
    links: tuple[Link, ...] = ()
    notes: list[str] = field(default_factory=list)
    joined: Callable[[nn.Module], list[Joined]] | None = None
    unpruned: nn.Module | None = None
    overhead: int = 0

    def passes_of(self, layer: str) -> int:
        """How often a layer runs for one score."""
        return next((n for start, n in self.passes.items() if layer.startswith(start)), 1)
