"""`edge-ad mlperf`: any board that speaks MLPerf Tiny's text dialect."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from edge_ad.bundle.atomic import write_atomic
from edge_ad.cli.options import out, print_json, stages
from edge_ad.cli.payloads import board_address, board_options
from edge_ad.errors import DataError, ParityError, UsageError
from edge_ad.firmware_bridge.mlperf import TextBoard, TextIdentity, compare, compute, measure, open_text_board

Command = Callable[..., None]


@click.group("mlperf")
def command() -> None:
    """Drive a board that speaks MLPerf Tiny's text dialect, ours or anybody's.

    A board of this project speaks it with the firmware that flash --program … --dialect mlperf writes; emulated boards
    (--board) are started with it, and hold what was flashed to them. See docs/mlperf.md.
    """


def _options(command: Command) -> Command:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON."),
        board_options,
        click.option("--input", "inputs", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False),
                     help="Inputs, (N, …) in an .npy: integers as the network takes them, or float32; any other file "
                     "is the bytes of one."),
    ):  # fmt: skip
        command = option(command)
    return command


@command.command("performance")
@_options
@click.option("--windows", type=click.IntRange(1), default=5, show_default=True,
              help="Measurements, of which the median is told.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True,
              help="How long each lasts at least.")  # fmt: skip
def performance(
    inputs: Path, board: str | None, port: str | None, baud: int, state: Path | None, as_json: bool, windows: int,
    seconds: float,
) -> None:  # fmt: skip
    """How long an inference takes on the first input, by the board's own timer: the median over windows of many."""
    first = _read(inputs)[0]
    with _board(board, port, baud, state) as line:
        told = line.identify()
        with stages() as stage:
            done = stage("measure", windows)
            found = measure(line, first, windows=windows, seconds=seconds, progress=lambda window: done())
    if as_json:
        print_json({"board": asdict(told), **asdict(found)})
        return
    _tell(told)
    out.print(
        f"{found.median_us:,.1f} us an inference, median of {windows} windows of {found.iterations:,} "
        f"({min(found.windows_us):,.1f} to {max(found.windows_us):,.1f})", soft_wrap=True,
    )  # fmt: skip


@command.command("accuracy")
@_options
@click.option("--expected", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="What should come out, (N, …) in an .npy; exit 4 where it does not.")  # fmt: skip
@click.option("--tolerance", type=click.FloatRange(0), default=0.0005, show_default=True,
              help="Of --expected; the dialect prints few decimals.")  # fmt: skip
@click.option("--out", "written", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.npy",
              help="Write the outputs there, (N, outputs) float64.")  # fmt: skip
def accuracy(
    inputs: Path, board: str | None, port: str | None, baud: int, state: Path | None, as_json: bool,
    expected: Path | None, tolerance: float, written: Path | None,
) -> None:  # fmt: skip
    """What the board computes for each input, and whether it is what is expected."""
    samples = _read(inputs)
    wanted = None if expected is None else _array(expected).reshape(len(_array(expected)), -1)
    if wanted is not None and len(wanted) != len(samples):
        raise DataError(f"holds {len(wanted)} samples, the inputs are {len(samples)}", where=expected)
    with _board(board, port, baud, state) as line:
        told = line.identify()
        with stages() as stage:
            done = stage("compute", len(samples))
            outputs = compute(line, samples, progress=lambda sample: done())
    if written is not None:
        _write(written, outputs)
    differing = [] if wanted is None else compare(outputs, wanted.tolist(), tolerance=tolerance)
    if as_json:
        print_json({"board": asdict(told), "outputs": outputs, "differing": [asdict(d) for d in differing]})
    else:
        _tell(told)
    if differing:
        first = differing[0]
        raise ParityError(
            f"{len(differing)} of {len(samples)} samples differ: output {first.output} of sample {first.sample} is "
            f"{first.got}, expected {first.expected}", where=told.vendor,
        )  # fmt: skip
    if not as_json:
        agree = "" if wanted is None else f", all within {tolerance:g} of what is expected"
        out.print(f"{len(outputs)} samples{agree}", soft_wrap=True)


def _tell(told: TextIdentity) -> None:
    out.print(f"{told.vendor}: {told.model} ({told.profile})", soft_wrap=True, markup=False)


@contextlib.contextmanager
def _board(board: str | None, port: str | None, baud: int, state: Path | None) -> Iterator[TextBoard]:
    from edge_ad.firmware_bridge.boards import emulated
    from edge_ad.firmware_bridge.emulator import Emulator

    address = board_address(board, port, baud, state)
    if address is None:
        raise UsageError("say which board: --port /dev/ttyACM0, --board posix or --board qemu:mps2-an386")
    with contextlib.ExitStack() as opened:
        url = address.port
        if address.board is not None:
            found = emulated(address.board)
            url = opened.enter_context(Emulator(found, state=state, dialect="mlperf")).url
        assert url is not None
        yield opened.enter_context(open_text_board(url, baud))


def _read(path: Path) -> list[bytes]:
    """The bytes of each input."""
    if path.suffix.lower() != ".npy":
        content = path.read_bytes()
        if not content:
            raise DataError("is empty", where=path)
        return [content]
    rows = _array(path)
    little = rows.astype(np.float32) if rows.dtype.kind == "f" else rows
    return [row.astype(row.dtype.newbyteorder("<")).tobytes() for row in little]


def _array(path: Path) -> npt.NDArray[np.generic]:
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"is no .npy that can be read ({error})", where=path) from error
    if not isinstance(rows, np.ndarray) or rows.ndim < 2 or rows.size == 0 or rows.dtype.kind not in "iuf":
        raise DataError("holds no rows of numbers, (N, …)", where=path, hint="one row is (1, …)")
    return rows


def _write(path: Path, outputs: list[tuple[float, ...]]) -> None:
    if len({len(row) for row in outputs}) != 1:
        raise DataError("is not written: the board's outputs differ in number", where=path)
    content = io.BytesIO()
    np.save(content, np.array(outputs))
    write_atomic(path, content.getvalue())
