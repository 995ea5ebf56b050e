"""Which channels go: those whose loss costs the score least for the multiply-accumulates that they save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from edge_ad.compile.prune.groups import Channels, Fewer, Group, removed

KEPT_SHARE = 1 / 8  # of a group's channels; a layer that is narrower still starves what lies behind it


@dataclass(frozen=True)
class Choice:
    """Of each group, by its place in the list, the channels to take away."""

    channels: dict[int, list[int]]
    macs: int


def choose(
    channels: Channels, groups: Sequence[Group], importance: Sequence[Tensor], widths: Mapping[str, int],
    most_macs: float, multiple: int,
) -> Choice:  # fmt: skip
    """Take chunks of channels, the least important of a group first, until no more than `most_macs` remain.

    widths: of the groups in the unpruned network, by their root. multiple: what is left of a group is a multiple of
    `step_of` it, so that kernels that compute so many channels at once compute none for nothing. Each time the chunk
    goes whose summed importance is least for the multiply-accumulates that it saves in the network as it is then.
    """
    order = [values.argsort(stable=True).tolist() for values in importance]
    gone = [0] * len(groups)
    without: Fewer = {}
    total = channels.macs()
    while total > most_macs:
        best: tuple[float, int, int, int] | None = None
        for index, group in enumerate(groups):
            count = _chunk(group, group.width - gone[index], widths[group.root], multiple)
            if count == 0:
                continue
            saved = _saved(channels, group, count, without)
            chunk = order[index][gone[index] : gone[index] + count]
            cost = float(importance[index][chunk].sum()) / max(saved, 1)
            if saved > 0 and (best is None or cost < best[0]):
                best = (cost, index, count, saved)
        if best is None:
            break
        _, index, count, saved = best
        for key, fewer in removed(groups[index], count):
            without[key] = without.get(key, 0) + fewer
        gone[index] += count
        total -= saved
    return Choice({i: order[i][: gone[i]] for i in range(len(groups)) if gone[i]}, total)


def step_of(width: int, multiple: int) -> int:
    """What the remaining channels of a group of `width` are a multiple of: `multiple`, halved as often as needed to
    leave four steps to choose from."""
    while multiple > 1 and width < 4 * multiple:
        multiple //= 2
    return multiple


def _chunk(group: Group, now: int, unpruned: int, multiple: int) -> int:
    """How many channels may go next of a group that is `now` wide; 0 for none."""
    given = group.joined
    step = step_of(unpruned, multiple) if given is None or given.step is None else given.step
    count = now % step or step
    least = max(step, round(unpruned * KEPT_SHARE)) if given is None or given.least is None else given.least
    return count if now - count >= least else 0


def _saved(channels: Channels, group: Group, count: int, without: Fewer) -> int:
    after = dict(without)
    for key, fewer in removed(group, count):
        after[key] = after.get(key, 0) + fewer
    names = {name for (name, _), _ in removed(group, count)}
    return sum(channels.layer_macs(n, without) - channels.layer_macs(n, after) for n in names)
