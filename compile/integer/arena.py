"""Planning the arena: which buffer lies where, so that buffers whose lives do not meet share memory."""

from __future__ import annotations

from dataclasses import dataclass

from edge_ad.compile.integer.lower import ALIGNMENT, Program
from edge_ad.compile.integer.records import Buffer, Loop


@dataclass(frozen=True)
class Placed:
    """A buffer's place. first, last: the steps at which it is alive; inputs from -1, outputs to the end."""

    buffer: Buffer
    offset: int
    first: int
    last: int


@dataclass(frozen=True)
class _Life:
    """Steps first to last. body: where all of them lie in the body of a loop, from its first step to the loop's own,
    which runs them again."""

    first: int
    last: int
    body: tuple[int, int] | None = None

    def meets(self, other: _Life) -> bool:
        """Whether both are alive at once. What lives in a body is alive again whenever the loop comes back to it."""
        a, b = self, other
        if a.body != b.body:
            a, b = a.repeated, b.repeated
        return a.first <= b.last and b.first <= a.last

    @property
    def repeated(self) -> _Life:
        return self if self.body is None else _Life(*self.body)

    def joined(self, other: _Life) -> _Life:
        """The life of what holds both."""
        a, b = (self, other) if self.body == other.body else (self.repeated, other.repeated)
        return _Life(min(a.first, b.first), max(a.last, b.last), a.body)


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
    spans: dict[int, tuple[int, _Life]] = {}  # of a group that shares its memory: size, life
    for buffer in program.buffers:
        group = _root(hosts, buffer.number)
        life = lives[buffer.number]
        size, known = spans.get(group, (0, life))
        spans[group] = max(size, _aligned(buffer.size)), known.joined(life)
    offsets: dict[int, int] = {}
    for group in sorted(spans, key=lambda g: (-spans[g][0], spans[g][1].first, g)):
        offsets[group] = _lowest_free(group, spans, offsets)
    size = max((offsets[g] + spans[g][0] for g in spans), default=0)
    needed = max(
        (
            sum(size for size, life in spans.values() if life.first <= step <= life.last)
            for step in range(-1, len(program.steps))
        ),
        default=0,
    )
    placed = tuple(
        Placed(b, offsets[_root(hosts, b.number)], lives[b.number].first, lives[b.number].last)
        for b in program.buffers
    )
    return Plan(placed, size, needed)


def _aligned(size: int) -> int:
    return size + -size % ALIGNMENT


def _lives(program: Program) -> dict[int, _Life]:
    """First and last step of each buffer."""
    lives: dict[int, tuple[int, int]] = {b.number: (-1, -1) for b, _ in program.inputs}
    for number, step in enumerate(program.steps):
        for buffer in (*step.reads, *step.writes):
            first, _ = lives.get(buffer.number, (number, number))
            lives[buffer.number] = first, number
    for kept in (*program.kept, *(b.number for b, _ in program.outputs)):
        lives[kept] = lives[kept][0], len(program.steps)
    for buffer in program.buffers:
        lives.setdefault(buffer.number, (-1, -1))
    found = {number: _Life(*life) for number, life in lives.items()}
    for number, step in enumerate(program.steps):
        if isinstance(step.record, Loop):
            _repeat(program, found, step.record, number)
    return found


def _repeat(program: Program, lives: dict[int, _Life], loop: Loop, number: int) -> None:
    """What the body of a loop, step `number`, shares with other steps lives until the loop has ended."""
    first, last = loop.first, loop.first + loop.count - 1
    for step in program.steps[first : last + 1]:
        for buffer in (*step.reads, *step.writes):
            life = lives[buffer.number]
            if first <= life.first and life.last <= last:
                begin = first if life.body is None else min(first, life.body[0])
                lives[buffer.number] = _Life(life.first, life.last, (begin, number))
            else:
                whole = life.repeated
                lives[buffer.number] = _Life(whole.first, max(whole.last, number))


def _in_place(program: Program, lives: dict[int, _Life]) -> dict[int, int]:
    """Written buffer -> read buffer whose memory it takes."""
    hosts: dict[int, int] = {}
    for number, step in enumerate(program.steps):
        for source, target in step.in_place:
            dies = lives[source.number].last == number
            born = lives[target.number].first == number and target.number not in hosts
            if dies and born and target.size <= source.size and source.number != target.number:
                taken = any(h == source.number and lives[t].first == number for t, h in hosts.items())
                if not taken:
                    hosts[target.number] = source.number
    return hosts


def _root(hosts: dict[int, int], number: int) -> int:
    while number in hosts:
        number = hosts[number]
    return number


def _lowest_free(group: int, spans: dict[int, tuple[int, _Life]], offsets: dict[int, int]) -> int:
    size, life = spans[group]
    busy = sorted((offsets[g], offsets[g] + spans[g][0]) for g in offsets if life.meets(spans[g][1]))
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
