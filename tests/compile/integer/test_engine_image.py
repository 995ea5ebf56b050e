"""A model image on this machine behind the engine contract: numbers are quantized as its port says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from small_networks import dense
from tflite_maker import reference

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.errors import EngineError, UsageError
from edge_ad.runtime.engines import open_model

CONTENT = dense((12, 5, 8), 1)

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (apt-get install gcc)")


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, dict]:
    image = build_image(parse_tflite(CONTENT), "plain")
    (tmp_path / "model.bin").write_bytes(image.content)
    return tmp_path / "model.bin", {
        "input": image.inputs[0].option(), "outputs": {"y": image.outputs[0].option()}
    }  # fmt: skip


def test_numbers_and_their_integers_give_the_same_outputs(model: tuple[Path, dict]) -> None:
    path, options = model
    engine = open_model("image", path, options)
    scale, zero = options["input"]["scale"], options["input"]["zero_point"]
    rng = np.random.default_rng(0)
    for values in rng.normal(0, 2, (10, 1, 12)).astype(np.float32):
        integers = np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)
        y = engine.infer(values)["y"]
        assert y.dtype == np.int8 and y.shape == (1, 8)
        np.testing.assert_array_equal(y, reference(CONTENT, [integers])[0])
        np.testing.assert_array_equal(engine.infer(integers)["y"], y)
    info = engine.describe()
    assert (info.engine, info.provider, info.isa, info.precision) == (
        "board",
        "host",
        "plain C on this machine",
        "int8",
    )
    engine.close()


def test_another_input_is_refused(model: tuple[Path, dict]) -> None:
    path, options = model
    engine = open_model("image", path, options)
    for wrong in (np.zeros((1, 11), np.float32), np.zeros((1, 12), np.int16)):
        with pytest.raises(EngineError, match=r"takes \(1, 12\) int8, not"):
            engine.infer(wrong)
    bare = open_model("image", path, {"input": [1, 12], "outputs": {"y": [1, 8]}})
    with pytest.raises(EngineError, match=r"takes \(1, 12\) int8, not \(1, 12\) float32"):
        bare.infer(np.zeros((1, 12), np.float32))
    with pytest.raises(UsageError, match="no --threads"):
        open_model("image", path, {**options, "threads": 2})
    with pytest.raises(EngineError, match="cannot be read"):
        open_model("image", path.parent / "gone.bin", options)
