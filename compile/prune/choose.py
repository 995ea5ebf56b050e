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
    most_macs: float, multiple: int, least: int = 1,
) -> Choice:  # fmt: skip
    """Take chunks of channels, the least important of a group first, until no more than `most_macs` remain.

    widths: of the groups in the unpruned network, by their root. multiple, least: what is left of a group is a multiple
    of `step_of` it, so that kernels that compute so many channels at once compute none for nothing. Each time the chunk
    goes whose summed importance is least for the work that it saves in the network as it is then: multiply-accumulates
    and the anatomy's overhead. A chunk of a group given by hand may save far more than was needed; what went before it
    comes back, the last first, as far as there is room.
    """
    order = [values.argsort(stable=True).tolist() for values in importance]
    gone = [0] * len(groups)
    without: Fewer = {}
    total = channels.macs()
    taken: list[tuple[int, int]] = []
    while total > most_macs:
        best: tuple[float, int, int, int] | None = None
        for index, group in enumerate(groups):
            unpruned = widths[group.root]
            count = _chunk(group, group.width - gone[index], unpruned, step_of(unpruned, multiple, least))
            if count == 0:
                continue
            saved = _saved(channels, group, count, without)
            work = _saved(channels, group, count, without, channels.overhead)
            chunk = order[index][gone[index] : gone[index] + count]
            cost = float(importance[index][chunk].sum()) / max(work, 1)
            if saved > 0 and (best is None or cost < best[0]):
                best = (cost, index, count, saved)
        if best is None:
            break
        _, index, count, saved = best
        without = _less(without, groups[index], count)
        gone[index] += count
        taken.append((index, count))
        total -= saved
    if taken and groups[taken[-1][0]].joined is not None:
        total = _given_back(channels, groups, taken, gone, without, most_macs)
    return Choice({i: order[i][: gone[i]] for i in range(len(groups)) if gone[i]}, total)


def step_of(width: int, multiple: int, least: int = 1) -> int:
    """What the remaining channels of a group of `width` are a multiple of: `multiple`, halved as often as needed to
    leave four steps to choose from, but no less than `least` of them."""
    while multiple > max(1, least) and width < 4 * multiple:
        multiple //= 2
    return multiple


def _chunk(group: Group, now: int, unpruned: int, usual: int) -> int:
    """How many channels may go next of a group that is `now` wide and goes by `usual` steps unless it was given others;
    0 for none."""
    given = group.joined
    step = usual if given is None or given.step is None else given.step
    count = now % step or step
    least = max(step, round(unpruned * KEPT_SHARE)) if given is None or given.least is None else given.least
    return count if now - count >= least else 0


def _saved(channels: Channels, group: Group, count: int, without: Fewer, overhead: int = 0) -> int:
    after = _less(without, group, count)
    names = {name for (name, _), _ in removed(group, count)}
    return sum(
        channels.layer_macs(n, without, overhead) - channels.layer_macs(n, after, overhead) for n in names
    )


def _less(without: Fewer, group: Group, count: int) -> Fewer:
    """`without` and `count` channels of a group; of a negative count, they are back."""
    after = dict(without)
    for key, fewer in removed(group, count):
        after[key] = after.get(key, 0) + fewer
    return after


def _given_back(
    channels: Channels, groups: Sequence[Group], taken: Sequence[tuple[int, int]], gone: list[int], without: Fewer,
    most_macs: float,
) -> int:  # fmt: skip
    """Undo what was taken before the last, last first, where the work stays within `most_macs`; gives the work.

    A group's chunks come back in turn: of one that does not fit, none that went before it does.
    """
    total, full = channels.macs(without), set[int]()
    for index, count in reversed(taken[:-1]):
        back = _less(without, groups[index], -count)
        if index in full or channels.macs(back) > most_macs:
            full.add(index)
            continue
        without, total = back, channels.macs(back)
        gone[index] -= count
    return total
