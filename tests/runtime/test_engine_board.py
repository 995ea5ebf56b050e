"""A board as an engine: results are those of the given input, also when the line is bad or the board restarts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_board import SIZE, FakeBoard, Flash, Wire, image

from edge_ad.errors import EngineError, UsageError
from edge_ad.firmware_bridge.client import open_client
from edge_ad.firmware_bridge.connection import BoardAddress
from edge_ad.firmware_bridge.flasher import flash_image
from edge_ad.runtime.engines import open_model

OPTIONS = {"input": [1, SIZE], "outputs": {"output": [1, 30, SIZE // 30]}, "target": "cortex-m4"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(image(b"GOOD", 500))
    return tmp_path / "model.bin"


@pytest.fixture
def flash(model: Path) -> Flash:
    """Flash memory in which the model is live."""
    memory = Flash()
    with FakeBoard(flash=memory) as board, open_client(board.path) as client:
        flash_image(client, model.read_bytes())
    return memory


def inputs(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (n, 1, SIZE)).astype(np.int8)


@pytest.mark.parametrize(
    "wire", [Wire(), Wire(loss=0.05, damage=0.05, twice=0.05, seed=2)], ids=["clean", "bad"]
)
def test_outputs_by_name_in_their_shape(model: Path, flash: Flash, wire: Wire) -> None:
    with FakeBoard(wire, flash) as board:
        engine = open_model("board", model, {**OPTIONS, "address": BoardAddress(port=board.path)})
        for x in inputs(3):
            y = engine.infer(x)["output"]
            assert y.shape == (1, 30, SIZE // 30) and y.dtype == np.int8
            np.testing.assert_array_equal(y.ravel(), (x.astype(np.int64).ravel() + 1).astype(np.int8))
        info = engine.describe()
        assert (info.engine, info.provider, info.isa, info.precision) == ("board", "fake", "plain C", "int8")
        assert info.details["inference_us"] == "200000000"
        engine.close()


@pytest.mark.parametrize("cut_after", range(3, 12))
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_a_board_that_restarts_gives_no_wrong_output(
    model: Path, flash: Flash, cut_after: int, told: bool
) -> None:
    """Also when its BOOT frame is lost, so that a repeated request meets a board without the input."""
    with FakeBoard(flash=flash, cut_after=cut_after, tells=told) as board:
        engine = open_model("board", model, {**OPTIONS, "address": BoardAddress(port=board.path)})
        for x in inputs(3):
            y = engine.infer(x)["output"]
            np.testing.assert_array_equal(y.ravel(), (x.astype(np.int64).ravel() + 1).astype(np.int8))
        engine.close()


def test_another_model_or_none_is_refused_with_what_to_do(model: Path, flash: Flash, tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(image(b"GOOD", 600))
    with FakeBoard(flash=flash) as board, pytest.raises(EngineError) as caught:
        open_model("board", other, {**OPTIONS, "address": BoardAddress(port=board.path)})
    assert "another model is live on 'fake'" in str(caught.value)
    assert f"edge-ad flash BUNDLE --port {board.path}" in str(caught.value)
    with FakeBoard() as board, pytest.raises(EngineError, match="no model is live on 'fake'"):
        open_model("board", model, {**OPTIONS, "address": BoardAddress(port=board.path)})


def test_what_a_board_does_not_have_is_refused(model: Path, flash: Flash) -> None:
    with pytest.raises(UsageError, match="say which board"):
        open_model("board", model, OPTIONS)
    with pytest.raises(UsageError, match="no --threads"):
        open_model("board", model, {**OPTIONS, "threads": 2})
    with FakeBoard(flash=flash) as board:
        engine = open_model("board", model, {**OPTIONS, "address": BoardAddress(port=board.path)})
        with pytest.raises(EngineError, match=r"takes \(1, 300\) int8, not \(1, 300\) float32"):
            engine.infer(np.zeros((1, SIZE), np.float32))
        engine.close()
