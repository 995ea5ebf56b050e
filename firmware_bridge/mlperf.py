"""A foreign board that speaks MLPerf Tiny's text dialect (docs/mlperf.md): its name, its speed, what it computes.

Written from the dialect's description. Commands end in `%`; replies are lines, and `m-ready` ends each of them.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import serial

from edge_ad.errors import DialectError, LinkError, UsageError
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD, open_port

READY = "m-ready"
COMMAND_BYTES = 80  # most characters of a command
LOAD_BYTES = 31  # of an input, in one command
SILENCE_S = 5.0  # between two lines, as the runners have it
_NAME_WAIT_S, _NAME_TRIES = 2.0, 4  # for a board that is starting, or in the middle of something
_LONGEST_LINE = 1 << 20
_MOST_LINES = 10_000
_WRAP_US = 1 << 32  # of a board whose timer is an unsigned 32-bit integer
_MOST_INFERENCES = 1_000_000


@dataclass(frozen=True)
class TextIdentity:
    """What a board says of itself. model: the benchmark's name of its network, e.g. ad01."""

    vendor: str
    profile: str
    model: str


@dataclass(frozen=True)
class TextInference:
    """What `infer` said: how long so many inferences took together, and the last one's outputs."""

    iterations: int
    elapsed_us: int
    results: tuple[float, ...]


@dataclass(frozen=True)
class TextPerformance:
    """Microseconds an inference: of each window of `iterations`, and the median over the windows."""

    iterations: int
    windows_us: tuple[float, ...]
    median_us: float


@dataclass(frozen=True)
class TextDifference:
    """The first output of a sample that is not what it should be. expected: None where there is no such output."""

    sample: int
    output: int
    got: float | None
    expected: float | None


class TextBoard:
    """A board behind a serial port; a context manager that closes it.

    All methods raise LinkError when the board falls silent or answers nonsense, and DialectError, with what it said,
    when it answers e-[…].
    """

    def __init__(self, port: Any, *, where: str, silence_s: float = SILENCE_S):
        self._port = port
        self._where = where
        self._silence_s = silence_s
        self._rest = bytearray()

    def __enter__(self) -> TextBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def ask(self, command: str, *, silence_s: float | None = None) -> list[str]:
        """The reply's lines without `m-ready`. silence_s: most seconds between two lines."""
        if (
            len(command) > COMMAND_BYTES
            or not (command.isascii() and command.isprintable())
            or "%" in command
        ):
            raise UsageError(
                f"a command is printable ASCII without %, at most {COMMAND_BYTES} characters, not {command[:90]!r}"
            )
        self._write(command.encode() + b"%")
        lines: list[str] = []
        for line in self._lines(command, self._silence_s if silence_s is None else silence_s):
            if line == READY:
                break
            lines.append(line)
            if len(lines) > _MOST_LINES:
                raise self._nonsense(command, "no end")
        for line in lines:
            if line.startswith("e-"):
                said = line[3:-1] if line.startswith("e-[") and line.endswith("]") else line
                raise DialectError(f"the board refuses '{command}': {said}", where=self._where, said=said)
        return lines

    def identify(self) -> TextIdentity:
        """Who is there. Asks again while nobody answers, and passes over what was said before: a board may be starting,
        or may still answer a program that spoke before us."""
        for attempt in range(_NAME_TRIES):
            try:
                lines = self.ask("name", silence_s=_NAME_WAIT_S)
                while not any(line.startswith("m-name-") for line in lines):
                    lines = self._reply("name", _NAME_WAIT_S)
                break
            except LinkError:
                if attempt + 1 == _NAME_TRIES:
                    raise
        self._settle()
        told = self.ask("profile")
        return TextIdentity(
            self._found(lines, r"m-name-dut-\[(.*)\]", "name"), self._found(told, r"m-profile-\[(.*)\]", "profile"),
            self._found(told, r"m-model-\[(.*)\]", "profile"),
        )  # fmt: skip

    def load(self, values: bytes) -> None:
        """The bytes of the input tensor, for all inferences until the next load."""
        if not values:
            raise UsageError("an input without bytes cannot be loaded")
        self._found(self.ask(f"db load {len(values)}"), r"m-\[Expecting (\d+) bytes\]", "db load")
        for at in range(0, len(values), LOAD_BYTES):
            lines = self.ask(f"db {values[at : at + LOAD_BYTES].hex()}")
            if ("m-load-done" in lines) != (at + LOAD_BYTES >= len(values)):
                raise self._nonsense("db", f"{'no ' if not lines else ''}m-load-done")

    def infer(self, iterations: int, warm_up: int = 0, *, silence_s: float = 60.0) -> TextInference:
        """Run the network on what is loaded. silence_s: for all inferences of a batch together."""
        command = f"infer {iterations} {warm_up}"
        lines = self.ask(command, silence_s=silence_s)
        laps = [int(found[1]) for line in lines if (found := re.fullmatch(r"m-lap-us-(\d+)", line))]
        if len(laps) != 2:
            raise self._nonsense(command, f"{len(laps)} lap times")
        elapsed = laps[1] - laps[0]
        return TextInference(
            iterations, elapsed if elapsed >= 0 else elapsed % _WRAP_US, self._results(lines, command)
        )

    def results(self) -> tuple[float, ...]:
        """The outputs of the last inference."""
        return self._results(self.ask("results"), "results")

    def timestamp_us(self) -> int:
        """The board's timer."""
        return int(self._found(self.ask("timestamp"), r"m-lap-us-(\d+)", "timestamp"))

    def _results(self, lines: Sequence[str], command: str) -> tuple[float, ...]:
        text = self._found(lines, r"m-results-\[(.*)\]", command)
        try:
            return tuple(float(word) for word in text.split(",") if word.strip())
        except ValueError as error:
            raise self._nonsense(command, text[:60]) from error

    def _found(self, lines: Sequence[str], pattern: str, command: str) -> str:
        for line in lines:
            if match := re.fullmatch(pattern, line):
                return match[1]
        raise self._nonsense(command, " ".join(lines)[:60] or "nothing")

    def _reply(self, command: str, silence_s: float) -> list[str]:
        lines = []
        for line in self._lines(command, silence_s):
            if line == READY:
                break
            lines.append(line)
        return lines

    def _settle(self) -> None:
        """Pass over the replies to names that were asked for more than once."""
        while True:
            try:
                self._reply("name", 0.2)
            except LinkError:
                return

    def _lines(self, command: str, silence_s: float) -> Iterator[str]:
        while True:
            deadline = time.monotonic() + silence_s
            while (end := self._rest.find(b"\n")) < 0:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or len(self._rest) > _LONGEST_LINE:
                    raise LinkError(
                        f"the board does not answer '{command}' within {silence_s:g} s", where=self._where,
                        hint="check the cable and the baud rate, and reset the board: its firmware may speak something "
                        "else",
                    )  # fmt: skip
                self._rest += self._read(remaining)
            line = self._rest[:end].rstrip(b"\r").decode("ascii", "replace")
            del self._rest[: end + 1]
            if line:
                yield line

    def _read(self, seconds: float) -> bytes:
        try:
            self._port.timeout = min(seconds, 0.2)
            data: bytes = self._port.read(max(1, self._port.in_waiting))
        except (serial.SerialException, OSError) as error:
            raise self._cut(error) from error
        return data

    def _write(self, raw: bytes) -> None:
        try:
            self._port.write(raw)
        except (serial.SerialException, OSError) as error:
            raise self._cut(error) from error

    def _cut(self, error: Exception) -> LinkError:
        return LinkError(
            f"the line to the board was cut ({error})", where=self._where, hint="check cable and power"
        )

    def _nonsense(self, command: str, got: str) -> LinkError:
        return LinkError(
            f"the board answers '{command}' with what the dialect does not have: {got}", where=self._where,
            hint="docs/mlperf.md has what is expected",
        )  # fmt: skip


def open_text_board(url: str, baud: int = DEFAULT_BAUD, *, silence_s: float = SILENCE_S) -> TextBoard:
    """A board on a device file or pyserial URL, which it holds alone. Raises PortError. `identify` first."""
    return TextBoard(open_port(url, baud), where=url, silence_s=silence_s)


def measure(
    board: TextBoard, values: bytes, *, windows: int = 5, seconds: float = 10.0, warm_up: int = 10,
    progress: Callable[[int], None] = lambda window: None,
) -> TextPerformance:  # fmt: skip
    """Performance mode: the median over windows of so many inferences that each lasts `seconds` at least.

    values: the bytes of one input. The rules of MLPerf Tiny ask for five windows of ten seconds.
    """
    board.load(values)
    iterations, elapsed = 1, board.infer(1, warm_up).elapsed_us
    while elapsed < seconds * 1e6 and iterations < _MOST_INFERENCES:
        # Towards the goal by what is known, at most tenfold, since a short lap is a poor measure.
        wanted = iterations * 1.1 * seconds * 1e6 / max(elapsed, 1)
        iterations = min(max(iterations + 1, round(min(wanted, 10.0 * iterations))), _MOST_INFERENCES)
        elapsed = board.infer(iterations, 0, silence_s=60 + 20 * seconds).elapsed_us
    laps = []
    for window in range(windows):
        laps.append(board.infer(iterations, warm_up, silence_s=60 + 20 * seconds).elapsed_us / iterations)
        progress(window + 1)
    return TextPerformance(iterations, tuple(laps), statistics.median(laps))


def compute(
    board: TextBoard, inputs: Sequence[bytes], *, progress: Callable[[int], None] = lambda sample: None
) -> list[tuple[float, ...]]:
    """Accuracy mode: what the board computes for each input, given as the bytes of its tensor."""
    outputs = []
    for number, values in enumerate(inputs):
        board.load(values)
        outputs.append(board.infer(1, 0).results)
        progress(number + 1)
    return outputs


def compare(
    outputs: Sequence[Sequence[float]], expected: Sequence[Sequence[float]], *, tolerance: float
) -> list[TextDifference]:
    """Of each sample the first output that is further than `tolerance` from what is expected, or that only one has.

    Raises UsageError for another number of samples.
    """
    if len(outputs) != len(expected):
        raise UsageError(f"{len(expected)} samples are expected, not {len(outputs)}")
    found = []
    for sample, (got, want) in enumerate(zip(outputs, expected, strict=True)):
        for output in range(max(len(got), len(want))):
            one = got[output] if output < len(got) else None
            other = want[output] if output < len(want) else None
            if one is None or other is None or not abs(one - other) <= tolerance:
                found.append(TextDifference(sample, output, one, other))
                break
    return found
