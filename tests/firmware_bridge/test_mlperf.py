"""Driving foreign boards that speak MLPerf Tiny's text, whole and with faults."""

from __future__ import annotations

import pytest
from foreign_board import INFERENCE_US, ForeignBoard

from edge_ad.errors import DialectError, LinkError, PortError, UsageError
from edge_ad.firmware_bridge import mlperf
from edge_ad.firmware_bridge.mlperf import TextBoard, TextDifference, open_text_board

VALUES = bytes(range(100))


def opened(board: ForeignBoard) -> TextBoard:
    return open_text_board(board.path, silence_s=0.4)


def test_who_is_there() -> None:
    with ForeignBoard() as board, opened(board) as line:
        told = line.identify()
        assert (told.vendor, told.model) == ("Foreign Co.", "kws01") and told.profile.startswith("ULPMark")


@pytest.mark.parametrize("fault", ["late", "noise"])
def test_what_was_said_before_is_passed_over(fault: str) -> None:
    with ForeignBoard(fault) as board, opened(board) as line:
        assert line.identify().vendor == "Foreign Co."
        assert mlperf.compute(line, [VALUES]) == [(sum(VALUES) / 2, -sum(VALUES) / 2)]


def test_performance_is_the_median_of_windows_that_are_long_enough() -> None:
    with ForeignBoard() as board, opened(board) as line:
        found = mlperf.measure(line, VALUES, windows=3, seconds=0.5)
        assert (
            found.median_us == INFERENCE_US and found.windows_us == (INFERENCE_US,) * 3
        )  # the timer wraps between
        assert found.iterations * INFERENCE_US >= 0.5e6
        assert board.heard[-1] == f"infer {found.iterations} 10"


def test_accuracy_loads_each_input_in_commands_that_are_short_enough() -> None:
    inputs = [bytes([n]) * n for n in (1, 30, 31, 32, 62, 63)]
    with ForeignBoard() as board, opened(board) as line:
        assert mlperf.compute(line, inputs) == [(n * n / 2, -n * n / 2) for n in (1, 30, 31, 32, 62, 63)]
        assert line.results() == (63 * 63 / 2, -63 * 63 / 2)
        assert max(map(len, board.heard)) == len("db ") + 62


def test_differences_are_the_first_of_each_sample() -> None:
    got, wanted = (
        [(1.0, 2.0), (1.0, 2.0), (1.0,), (float("nan"),)],
        [(1.0, 2.001), (0.0, 0.0), (1.0, 2.0), (1.0,)],
    )
    found = mlperf.compare(got, wanted, tolerance=0.01)
    assert (
        found[:2] == [TextDifference(1, 0, 1.0, 0.0), TextDifference(2, 1, None, 2.0)]
        and found[2].sample == 3
    )
    with pytest.raises(UsageError, match="4 samples are expected, not 1"):
        mlperf.compare(got[:1], wanted, tolerance=0)


def test_what_the_board_says_against_it_is_told() -> None:
    with ForeignBoard("refuses") as board, opened(board) as line:
        line.load(VALUES)
        with pytest.raises(DialectError, match=r"refuses 'infer 1 0': Inference is out of order") as caught:
            line.infer(1)
        assert caught.value.said == "Inference is out of order"
        assert line.identify().vendor == "Foreign Co."  # the line is where it was
        with pytest.raises(DialectError, match="Unknown command: help"):
            line.ask("help")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("one lap", "1 lap times"),
        ("words", "what the dialect does not have: up,down"),
        ("no done", "no m-load-done"),
        ("hangs", r"does not answer 'infer 1 0' within 0\.3 s"),
        ("hangs up", "was cut"),
    ],
)
def test_a_board_that_breaks_the_dialect_is_told_of(fault: str, told: str) -> None:
    with ForeignBoard(fault) as board, opened(board) as line, pytest.raises(LinkError, match=told):
        line.load(VALUES)
        line.infer(1, silence_s=0.3)


@pytest.mark.parametrize("fault", ["silent", "endless"])
def test_a_board_that_speaks_something_else_is_no_such_board(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlperf, "_NAME_WAIT_S", 0.1)
    with (
        ForeignBoard(fault) as board,
        opened(board) as line,
        pytest.raises(LinkError, match=r"does not answer 'name'.*reset the board"),
    ):
        line.identify()


def test_commands_that_cannot_be_are_not_sent() -> None:
    with ForeignBoard() as board, opened(board) as line:
        for command in ("x" * 81, "a%b", "a\nb", "ä"):
            with pytest.raises(UsageError, match="a command is printable ASCII"):
                line.ask(command)
        with pytest.raises(UsageError, match="without bytes"):
            line.load(b"")
        assert board.heard == []


def test_a_port_that_is_not_there() -> None:
    with pytest.raises(PortError, match="no such serial port"):
        open_text_board("/dev/nothing-here")
