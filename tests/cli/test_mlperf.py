"""`edge-ad mlperf`: performance and accuracy of a foreign board, and of ours with what was flashed to it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board
from command_line import run_here
from foreign_board import INFERENCE_US, ForeignBoard
from small_networks import dense

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.client import open_client
from edge_ad.firmware_bridge.emulator import Emulator
from edge_ad.firmware_bridge.flasher import flash_image
from edge_ad.firmware_bridge.host_library import HostModel


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(12, dtype=np.uint8).reshape(4, 3))
    return path


def test_performance_of_a_foreign_board(rows: Path) -> None:
    with ForeignBoard() as board:
        done = run_here(
            "mlperf", "performance", "--port", board.path, "--input", rows, "--seconds", 0.1, "--json"
        )
    told = json.loads(done.out)
    assert done.code == 0 and told["median_us"] == INFERENCE_US and told["board"]["model"] == "kws01"


def test_accuracy_of_a_foreign_board(rows: Path, tmp_path: Path) -> None:
    sums = np.load(rows).sum(axis=1) / 2
    np.save(tmp_path / "expected.npy", np.stack([sums, -sums], axis=1))
    with ForeignBoard() as board:
        asked = ("mlperf", "accuracy", "--port", board.path, "--input", rows)
        done = run_here(*asked, "--expected", tmp_path / "expected.npy", "--out", tmp_path / "out.npy")
        assert done.code == 0 and "4 samples, all within 0.0005" in done.out
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.load(tmp_path / "expected.npy"))
        np.save(tmp_path / "expected.npy", np.stack([sums, -sums + [0, 0, 0.1, 0]], axis=1))
        done = run_here(*asked, "--expected", tmp_path / "expected.npy")
        assert (
            done.code == 4
            and "1 of 4 samples differ: output 1 of sample 2 is -10.5, expected -10.4" in done.error
        )


def test_what_a_board_refuses_is_one_line(rows: Path) -> None:
    with ForeignBoard("refuses") as board:
        done = run_here("mlperf", "accuracy", "--port", board.path, "--input", rows)
    assert done.code == 1 and "refuses 'infer 1 0': Inference is out of order" in done.error


def test_inputs_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "no.npy").write_bytes(b"x")
    (tmp_path / "no.bin").write_bytes(b"")
    for name, told in (("no.npy", "is no .npy"), ("no.bin", "is empty")):
        done = run_here("mlperf", "accuracy", "--port", "/dev/null", "--input", tmp_path / name)
        assert done.code == 1 and told in done.error
    (tmp_path / "one.bin").write_bytes(b"x")
    done = run_here("mlperf", "performance", "--input", tmp_path / "one.bin")
    assert done.code == 2 and "say which board" in done.error


def test_a_board_of_ours_has_what_was_flashed_to_it(tmp_path: Path) -> None:
    require_board("posix")
    image = build_image(parse_tflite(dense((40, 16, 5))), "plain")
    with Emulator(find("posix"), state=tmp_path) as board, open_client(board.url) as client:
        client.hello()
        flash_image(client, image.content)
    values = np.random.default_rng(1).integers(-128, 128, (3, 40)).astype(np.int8)
    model = HostModel(image.content, inputs=image.inputs, outputs=image.outputs)
    (port,) = image.outputs
    np.save(tmp_path / "in.npy", values)
    np.save(
        tmp_path / "out.npy", np.stack([port.dequantize(model.infer([v[None]])[0]).ravel() for v in values])
    )
    done = run_here(
        "mlperf", "accuracy", "--board", "posix", "--state", tmp_path, "--input", tmp_path / "in.npy", "--expected",
        tmp_path / "out.npy",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "edge-ad posix: ad01" in done.out and "3 samples, all within" in done.out


def test_the_dialect_is_of_firmware_that_is_written() -> None:
    done = run_here("flash", "x.edgead", "--port", "/dev/null", "--dialect", "mlperf")
    assert done.code == 2 and "--dialect goes with --program" in done.error
