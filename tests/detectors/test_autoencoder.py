"""The autoencoder: fitted repeatably on vectors of any width, resumed to the bit, the same on every target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_ad import targets
from edge_ad.compile import board_payload
from edge_ad.compile.capture import Captured, capture
from edge_ad.compile.scores import batches, run
from edge_ad.compile.target import Calibration, Precision
from edge_ad.compile.verify import open_lowered
from edge_ad.data.inputs import find_normals
from edge_ad.detectors import load_detector
from edge_ad.detectors.autoencoder.config import PRESETS, AutoencoderConfig
from edge_ad.detectors.autoencoder.detector import Autoencoder
from edge_ad.detectors.autoencoder.fit import fit
from edge_ad.detectors.loop import Loop
from edge_ad.errors import DataError, ModelError
from edge_ad.runtime.heads import evaluate
from edge_ad.runtime.preprocess import preprocess

WIDTH, ANOMALIES, STEPS = 70, 40, 60


def vectors(n: int, seed: int) -> np.ndarray:
    """Rows of WIDTH values, wider than a sensor's channels, that five causes explain but for a little noise."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).normal(0, 1, (5, WIDTH))
    causes = np.tanh(rng.normal(0, 1, (n, 5)))
    return (20 + 3 * causes @ mixing + 0.1 * rng.normal(0, 1, (n, WIDTH))).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("autoencoder")
    (root / "train" / "good").mkdir(parents=True)
    np.save(root / "train" / "good" / "rows.npy", vectors(1200, 0))
    return root


def config(**changes: object) -> AutoencoderConfig:
    return PRESETS["micro"].model_copy(update={"steps": STEPS, "batch": 64, **changes})


@pytest.fixture(scope="module")
def fitted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Autoencoder:
    return fit(config(steps=400), data, tmp_path_factory.mktemp("autoencoder") / "model")


@pytest.fixture(scope="module")
def captured(fitted: Autoencoder) -> dict[int, Captured]:
    """By opset, each made when a target first asks for it."""

    class ByOpset(dict[int, Captured]):
        def __missing__(self, opset: int) -> Captured:
            self[opset] = capture(fitted, opset)
            return self[opset]

    return ByOpset()


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def test_the_same_rows_give_the_same_model_also_when_interrupted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(config(), data, tmp_path / "a")
    step = Loop._step

    def interrupted(self: Loop, losses) -> None:
        if self.state.step == STEPS // 2:
            raise KeyboardInterrupt
        step(self, losses)

    monkeypatch.setattr(Loop, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(config(), data, tmp_path / "b")
    monkeypatch.undo()
    with pytest.raises(ModelError, match="has not finished"):
        load_detector(tmp_path / "b")
    fit(config(), data, tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert (tmp_path / "a" / "model.json").read_bytes() == (tmp_path / "b" / "model.json").read_bytes()
    loaded: Any = load_detector(tmp_path / "b")
    x = torch.randn(1, WIDTH, 1)
    with torch.no_grad():
        for a, b in zip(loaded.network()(x), loaded.simplified()(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    (tmp_path / "b" / "weights.safetensors").write_bytes(weights(tmp_path / "b")[:-9])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_detector(tmp_path / "b")


def test_a_window_is_one_vector(data: Path, tmp_path: Path) -> None:
    made = fit(config(window=3, steps=2), data, tmp_path / "m")
    assert made.input.shape == (1, WIDTH, 3) and made.input.window is not None
    assert (made.input.window.length, made.input.window.hop) == (3, 1)
    rows = vectors(3, 9)
    x = torch.from_numpy(preprocess(made.input.preprocess, rows))
    with torch.no_grad():
        restored, errors = made.network()(x)
    assert restored.shape == (1, 3 * WIDTH)
    by_hand = np.square(restored.numpy().reshape(WIDTH, 3) - x.numpy()[0]).mean(1)
    np.testing.assert_allclose(errors.numpy()[0], by_hand, rtol=1e-5)


def test_too_few_rows_are_told(tmp_path: Path) -> None:
    (tmp_path / "train" / "good").mkdir(parents=True)
    np.save(tmp_path / "train" / "good" / "rows.npy", vectors(9, 0))
    with pytest.raises(DataError, match="for windows of 5 rows"):
        fit(config(window=5), tmp_path, tmp_path / "m")


@pytest.mark.parametrize(
    ("target", "precision"),
    [("openvino-cpu", "int8"), ("litert", "fp32"), ("litert", "int8"), ("onnx-cpu", "int8"), ("jetson-orin", "int8"),
     ("posix", "int8")],
)  # fmt: skip
def test_every_target_restores_and_scores_alike(
    fitted: Autoencoder,
    captured: dict[int, Captured],
    data: Path,
    tmp_path: Path,
    target: str,
    precision: Precision,
) -> None:
    normals = find_normals(fitted.splits, data, fitted.input)
    calibration = Calibration(lambda: batches(normals.calibration, fitted.input), len(normals.calibration))
    lowered = targets.get(target).lower(captured[targets.get(target).opset], precision, calibration)
    head = fitted.fit_head([], {})
    if lowered.board is not None:
        lowered, head = board_payload.finish(lowered, head)
    engine = open_lowered(targets.get(target), lowered, tmp_path / "payload")
    strange = vectors(ANOMALIES, 5)
    strange[:, :20] = vectors(ANOMALIES, 7)[:, :20]  # what no mixture of the causes gives
    inputs = [preprocess(fitted.input.preprocess, row[None]) for row in (*vectors(ANOMALIES, 6), *strange)]
    network = fitted.network()
    with torch.no_grad():
        wanted = [
            {n: t.numpy() for n, t in zip(fitted.outputs, network(torch.from_numpy(x)), strict=True)}
            for x in inputs
        ]
    expected = np.array([evaluate(fitted.fit_head([], {}), outputs).scores[0] for outputs in wanted])
    found = np.array([evaluate(head, outputs).scores[0] for outputs in run(engine, iter(inputs))])
    engine.close()
    np.testing.assert_allclose(found, expected, rtol=1e-3 if precision == "fp32" else 0.25, atol=1e-4)
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    assert np.quantile(found[ANOMALIES:], 0.05) > np.quantile(found[:ANOMALIES], 0.95)


def test_the_channel_that_cannot_be_restored_is_named(fitted: Autoencoder) -> None:
    row = vectors(1, 6)
    row[0, 30] += 8.0
    with torch.no_grad():
        outputs = fitted.network()(torch.from_numpy(preprocess(fitted.input.preprocess, row)))
    named = {n: t.numpy() for n, t in zip(fitted.outputs, outputs, strict=True)}
    result = evaluate(fitted.fit_head([], {}), named)
    assert result.channels is not None and int(result.channels[0].argmax()) == 30
    assert float(result.channels.sum()) == pytest.approx(float(result.scores[0]), rel=1e-5)
