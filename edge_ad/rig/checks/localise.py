"""Which operator of a network is the first whose tensor differs between a board and its reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_ad.firmware_bridge.client import BoardClient
from edge_ad.firmware_bridge.image_steps import Step
from edge_ad.rig.checks.reference import Reference, tensor_of


@dataclass(frozen=True)
class Difference:
    """The first step whose tensor is another. first: the first byte that differs. got, wanted: its values there.
    compared: steps that were the same before it."""

    step: int
    operator: str
    node: int | None
    differing: int
    nbytes: int
    first: int
    got: int
    wanted: int
    compared: int

    def __str__(self) -> str:
        node = "" if self.node is None else f", node {self.node}"
        return (
            f"the first operator that differs is {self.operator} (step {self.step}{node}): {self.differing} of "
            f"{self.nbytes} bytes, at byte {self.first} {self.got} instead of {self.wanted}"
        )


def first_difference(
    client: BoardClient, steps: Sequence[Step], reference: Reference, values: bytes
) -> Difference | None:
    """Compare step by step, in order, until one differs; None where none does. steps: of the board's live image.

    A difference may be hidden again by what follows (a ReLU, a maximum), so that no search by halves would do. Steps
    that the two images do not share (stripes of another height) are not compared.
    """
    partners = matched(steps, reference.steps)
    wanted = {traced.step: traced for traced in reference.trace(values)}
    compared = 0
    for number, step in enumerate(steps):
        if step.output is None or number not in partners:
            continue
        want = wanted[partners[number]]
        got = np.frombuffer(tensor_of(client, number, step, values), np.uint8)
        apart = np.flatnonzero((got != want.tensor) & want.known)
        if len(apart):
            first = int(apart[0])
            return Difference(
                step=number, operator=step.operator, node=step.node, differing=len(apart), nbytes=step.nbytes,
                first=first, got=int(got[first]), wanted=int(want.tensor[first]), compared=compared,
            )  # fmt: skip
        compared += 1
    return None


def matched(ours: Sequence[Step], theirs: Sequence[Step]) -> Mapping[int, int]:
    """Which steps of two images are the same: all, in order, or those that occur once in each."""
    mine, other = [_key(step) for step in ours], [_key(step) for step in theirs]
    if mine == other:
        return {i: i for i in range(len(mine)) if ours[i].output is not None}
    once, once_there = Counter(mine), Counter(other)
    return {
        i: other.index(key)
        for i, key in enumerate(mine)
        if once[key] == once_there[key] == 1 and ours[i].output is not None
    }


def _key(step: Step) -> tuple[str, int | None, int]:
    return step.operator, step.node, step.nbytes
