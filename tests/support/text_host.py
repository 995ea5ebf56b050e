"""A host of the MLPerf Tiny text dialect, written from its description alone; it forgives nothing.

Commands are ASCII ended by `%`, no newline, words separated by blanks, at most 80 characters; replies are lines that
end in CR LF; `m-ready` follows every command. It shares no code with `edge_ad.firmware_bridge.mlperf`.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import serial

LONGEST = 80
BYTES_A_COMMAND = 31
LAP = re.compile(r"m-lap-us-(\d+)")
RESULTS = re.compile(r"m-results-\[(-?\d+\.\d+(?:,-?\d+\.\d+)*)\]")


@dataclass(frozen=True)
class Measured:
    """What `infer` said. laps: microseconds; results: the numbers as printed."""

    laps: tuple[int, int]
    results: tuple[str, ...]


class TextHost:
    """At the other end of a board's line, which it opens at a baud rate; a context manager that closes it."""

    def __init__(self, path: str, baud: int, *, patience_s: float = 20.0):
        self._port = serial.Serial(path, baud, timeout=0.05)
        self._patience_s = patience_s
        self._rest = b""

    def __enter__(self) -> TextHost:
        return self

    def __exit__(self, *_: object) -> None:
        self._port.close()

    def line(self) -> str:
        """The next line, which must be printable ASCII and end in CR LF."""
        deadline = time.monotonic() + self._patience_s
        while b"\n" not in self._rest:
            assert time.monotonic() < deadline, f"no line, only {self._rest!r}"
            self._rest += self._port.read(max(1, self._port.in_waiting))
        raw, self._rest = self._rest.split(b"\n", 1)
        assert raw.endswith(b"\r"), raw
        text = raw[:-1].decode("ascii")
        assert text.isprintable() and text, raw
        return text

    def reply(self) -> list[str]:
        """Lines up to `m-ready`, without it."""
        lines = []
        while (line := self.line()) != "m-ready":
            lines.append(line)
        return lines

    def boot(self) -> None:
        """What a board says when it starts."""
        first, lap, done = self.reply()
        assert (first, done) == ("m-timestamp-mode-performance", "m-init-done") and LAP.fullmatch(lap)

    def send(self, raw: bytes) -> None:
        """Bytes that are no command."""
        self._port.write(raw)

    def pass_over(self, mark: bytes) -> None:
        """Everything before `mark`, which is what comes next then."""
        deadline = time.monotonic() + self._patience_s
        while mark not in self._rest:
            assert time.monotonic() < deadline, f"no {mark!r}, only {self._rest!r}"
            self._rest += self._port.read(max(1, self._port.in_waiting))
        self._rest = self._rest[self._rest.index(mark) :]

    def ask(self, command: str) -> list[str]:
        """Send a command as the description allows, and take its reply."""
        assert len(command) <= LONGEST and command.isascii() and "\n" not in command and "%" not in command
        return self.ask_anyway(command)

    def ask_anyway(self, command: str) -> list[str]:
        """Send whatever it is."""
        self._port.write(command.encode() + b"%")
        return self.reply()

    def refused(self, command: str) -> str:
        """What the board says against a command: one line, e-[...]."""
        (line,) = self.ask_anyway(command)
        assert line.startswith("e-[") and line.endswith("]"), line
        return line[3:-1]

    def load(self, values: bytes) -> None:
        """The input of the next inferences."""
        assert self.ask(f"db load {len(values)}") == [f"m-[Expecting {len(values)} bytes]"]
        for at in range(0, len(values), BYTES_A_COMMAND):
            block = values[at : at + BYTES_A_COMMAND]
            last = at + len(block) == len(values)
            assert self.ask(f"db {block.hex()}") == (["m-load-done"] if last else [])

    def infer(self, inferences: int, warm_up: int) -> Measured:
        """Run the network on what is loaded."""
        lines = self.ask(f"infer {inferences} {warm_up}")
        assert lines[:3] == [f"m-warmup-start-{warm_up}", "m-warmup-done", f"m-infer-start-{inferences}"]
        begin, end, done, results = lines[3:]
        laps = LAP.fullmatch(begin), LAP.fullmatch(end)
        assert laps[0] and laps[1] and done == "m-infer-done"
        return Measured((int(laps[0][1]), int(laps[1][1])), numbers(results))


def numbers(line: str) -> tuple[str, ...]:
    """Those of an m-results line."""
    found = RESULTS.fullmatch(line)
    assert found, line
    return tuple(found[1].split(","))
