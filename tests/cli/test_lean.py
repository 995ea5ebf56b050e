"""`edge-ad flash --firmware lean`: a board with the operators of one bundle, and what becomes of other bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boards_here import require_board
from command_line import run_here as edge_ad
from matrix_models import random_model
from small_networks import dense
from tflite_maker import reference

from edge_ad.compile.integer.records import RECORDS
from edge_ad.firmware_bridge.boards import emulated

SIZES = (40, 12, 40)


@pytest.mark.parametrize("board", ["posix", "qemu:mps2-an386"])
def test_lean_from_the_command_line(board: str, tmp_path: Path) -> None:
    where = ("--board", require_board(board), "--state", tmp_path / "boards")
    target = emulated(board).target
    networks = {"matrix": dense(SIZES, 3), "picture": random_model(np.random.default_rng(4), "CONV_2D")[0]}
    for name, content in networks.items():
        (tmp_path / f"{name}.tflite").write_bytes(content)
        out = tmp_path / f"{name}.edgead"
        assert edge_ad("compile", tmp_path / f"{name}.tflite", "--target", target, "--out", out).code == 0
    matrix, picture = (tmp_path / f"{name}.edgead" for name in networks)
    rows = np.random.default_rng(5).integers(-128, 128, (6, SIZES[0])).astype(np.int8)
    np.save(tmp_path / "x.npy", rows)

    done = edge_ad("flash", matrix, *where, "--firmware", "lean")
    assert done.code == 0, done.err
    assert f"lean firmware: 1 of {len(RECORDS)} operators, no monitor" in done.out and "live on" in done.out
    assert ("bytes of flash" in done.out) == (board != "posix")
    done = edge_ad("infer", matrix, *where, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npz")
    assert done.code == 0, done.err
    wanted = [reference(networks["matrix"], [row])[0][0] for row in rows]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["output"], wanted)

    flash = next((tmp_path / "boards").glob("*/flash.bin")).read_bytes()
    done = edge_ad("flash", picture, *where)
    assert done.code == 1 and "built without the operator convolution, which the model needs" in done.error
    assert next((tmp_path / "boards").glob("*/flash.bin")).read_bytes() == flash

    assert edge_ad("flash", picture, *where, "--firmware", "lean").code == 0
    done = edge_ad("flash", "--rollback", *where)
    assert done.code == 1 and "built without" in done.error and "--firmware" in done.error
    assert edge_ad("flash", "--rollback", *where, "--firmware", "full").code == 0
    assert edge_ad("verify", matrix, *where).code == 0
    assert edge_ad("flash", picture, *where).code == 0  # the full one stayed


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "matrix.tflite").write_bytes(dense(SIZES, 3))
    bundle = tmp_path / "matrix.edgead"
    made = edge_ad("compile", tmp_path / "matrix.tflite", "--target", "cortex-m4", "--out", bundle)
    assert made.code == 0, made.err
    for words, code, text in (
        ((bundle, "--to", f"dir:{tmp_path}", "--firmware", "lean"), 2, "--firmware goes with --board, or"),
        ((bundle, "--port", "/dev/null", "--firmware", "lean"), 2, "--program nucleo-h743zi2"),
        (("--rollback", "--board", "posix", "--firmware", "lean"), 2, "that of a bundle, not of --rollback"),
        ((bundle, "--board", "posix", "--firmware", "lean"), 1, "no payload for 'posix'"),
    ):
        done = edge_ad("flash", *words)
        assert done.code == code and text in done.error, done.err
