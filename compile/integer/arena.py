"""Planning the arena: which buffer lies where, so that buffers whose lives do not meet share memory."""

from __future__ import annotations

from dataclasses import dataclass

from edge_ad.compile.integer.lower import ALIGNMENT, Program
from edge_ad.compile.integer.records import Buffer


@dataclass(frozen=True)
class Placed:
    """A buffer's place. first, last: the steps at which it is alive; inputs from -1, outputs to the end."""

    buffer: Buffer
    offset: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """size: of the arena in bytes. needed: what the step with the most live bytes needs, a lower bound."""

    placed: tuple[Placed, ...]
    size: int
    needed: int

    def offset(self, buffer: Buffer) -> int:
        return self.placed[buffer.number].offset


def plan(program: Program) -> Plan:
    """Largest first, each at the lowest offset that is free for all its life (Pisarchyk & Lee, arXiv 2001.03288).

    A written buffer takes the place of a read one where the step allows it and that one is read no more.
    """
    lives = _lives(program)
    hosts = _in_place(program, lives)
    spans: dict[int, tuple[int, int, int]] = {}  # of a group that shares its memory: size, first, last
    for buffer in program.buffers:
        group = _root(hosts, buffer.number)
        first, last = lives[buffer.number]
        size, begin, end = spans.get(group, (0, first, last))
        spans[group] = max(size, _aligned(buffer.size)), min(begin, first), max(end, last)
    offsets: dict[int, int] = {}
    for group in sorted(spans, key=lambda g: (-spans[g][0], spans[g][1], g)):
        offsets[group] = _lowest_free(group, spans, offsets)
    size = max((offsets[g] + spans[g][0] for g in spans), default=0)
    needed = max(
        (
            sum(size for size, begin, end in spans.values() if begin <= step <= end)
            for step in range(-1, len(program.steps))
        ),
        default=0,
    )
    placed = tuple(Placed(b, offsets[_root(hosts, b.number)], *lives[b.number]) for b in program.buffers)
    return Plan(placed, size, needed)


def _aligned(size: int) -> int:
    return size + -size % ALIGNMENT


def _lives(program: Program) -> dict[int, tuple[int, int]]:
    """First and last step of each buffer."""
    lives: dict[int, tuple[int, int]] = {b.number: (-1, -1) for b, _ in program.inputs}
    for number, step in enumerate(program.steps):
        for buffer in (*step.reads, *step.writes):
            first, _ = lives.get(buffer.number, (number, number))
            lives[buffer.number] = first, number
    for buffer, _ in program.outputs:
        lives[buffer.number] = lives[buffer.number][0], len(program.steps)
    for buffer in program.buffers:
        lives.setdefault(buffer.number, (-1, -1))
    return lives


def _in_place(program: Program, lives: dict[int, tuple[int, int]]) -> dict[int, int]:
    """Written buffer -> read buffer whose memory it takes."""
    hosts: dict[int, int] = {}
    for number, step in enumerate(program.steps):
        for source, target in step.in_place:
            dies = lives[source.number][1] == number
            born = lives[target.number][0] == number and target.number not in hosts
            if dies and born and target.size <= source.size and source.number != target.number:
                taken = any(h == source.number and lives[t][0] == number for t, h in hosts.items())
                if not taken:
                    hosts[target.number] = source.number
    return hosts


def _root(hosts: dict[int, int], number: int) -> int:
    while number in hosts:
        number = hosts[number]
    return number


def _lowest_free(group: int, spans: dict[int, tuple[int, int, int]], offsets: dict[int, int]) -> int:
    size, first, last = spans[group]
    busy = sorted(
        (offsets[g], offsets[g] + spans[g][0])
        for g in offsets
        if spans[g][1] <= last and first <= spans[g][2]
    )
    offset = 0
    for begin, end in busy:
        if offset + size <= begin:
            break
        offset = max(offset, end)
    return offset


def describe(program: Program, result: Plan) -> str:
    """The plan as lines of text: one a buffer, then the peak."""
    lines = ["offset     bytes  steps     written by"]
    for place in sorted(result.placed, key=lambda p: (p.first, p.offset)):
        writer = str(program.steps[place.first].node) if place.first >= 0 else "input"
        lines.append(
            f"{place.offset:6d} {place.buffer.size:9d}  {place.first:3d}..{place.last:<3d}  {writer}"
        )
    lines.append(f"arena {result.size} bytes; the widest step needs {result.needed}")
    return "\n".join(lines)
