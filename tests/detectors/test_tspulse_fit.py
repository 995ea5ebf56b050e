"""Fitting TSPulse: repeatable, resumable to the bit, useful, and compiled without harm."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from edge_ad.compile import openvino_ir
from edge_ad.compile.capture import capture
from edge_ad.compile.target import Calibration, Precision
from edge_ad.data.inputs import Inputs, find_normals
from edge_ad.detectors import load_detector
from edge_ad.detectors.base import Outputs
from edge_ad.detectors.tspulse.config import PRESETS, TsPulseConfig
from edge_ad.detectors.tspulse.detector import TsPulse
from edge_ad.detectors.tspulse.fit import fit
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scaling
from edge_ad.detectors.tspulse.stages import STREAMS
from edge_ad.detectors.tspulse.training import Trainer
from edge_ad.detectors.tspulse.weights import load_published, published_names
from edge_ad.errors import DataError, ModelError
from edge_ad.runtime.heads.error_streams import error_streams
from edge_ad.runtime.preprocess import preprocess
from edge_ad.targets.openvino_cpu import lower

SMALL = PRESETS["micro"].model_copy(
    update={"context": 64, "patch": 8, "width": 8, "layers": 1, "batch": 16, "steps": 20}
)
CHANNELS = ("speed", "flow")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def machine(n: int, seed: int) -> np.ndarray:
    """Rows (n, 2) of two sines that belong together, with noise."""
    t, noise = np.arange(n) + 13 * seed, np.random.default_rng(seed).standard_normal((n, 2))
    return np.stack([3 * np.sin(t / 6), 40 + np.cos(t / 6)], 1) + 0.05 * noise


def write_csv(path: Path, rows: np.ndarray, names: tuple[str, ...] = CHANNELS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, delimiter=",", header=",".join(names), comments="", fmt="%.6g")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("series")
    for i in range(2):
        write_csv(root / "train" / "good" / f"{i}.csv", machine(1200, i))
    return root


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "weights.safetensors")


def equal(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_same_seed_same_weights_whatever_was_drawn_before(series: Path, tmp_path: Path) -> None:
    fit(SMALL, series, tmp_path / "a")
    torch.rand(7)
    fit(SMALL, series, tmp_path / "b")
    fit(SMALL.model_copy(update={"seed": 7}), series, tmp_path / "c")
    assert equal(tmp_path / "a", tmp_path / "b")
    assert not equal(tmp_path / "a", tmp_path / "c")


def test_test_data_has_no_influence(series: Path, tmp_path: Path) -> None:
    other = tmp_path / "data"
    shutil.copytree(series, other)
    write_csv(other / "test" / "broken" / "x.csv", np.full((500, 2), 1e6))
    fit(SMALL, series, tmp_path / "a")
    fit(SMALL, other, tmp_path / "b")
    assert equal(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_interrupted_fit_resumes_to_the_bit(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    config = SMALL.model_copy(update={"dropout": dropout})
    fit(config, series, tmp_path / "whole")
    losses = Trainer._losses

    def interrupted(self: Trainer) -> dict[str, torch.Tensor]:
        if self.loop.state.step == config.steps // 2:
            raise KeyboardInterrupt
        return losses(self)

    monkeypatch.setattr(Trainer, "_losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(config, series, tmp_path / "halves")
    monkeypatch.undo()
    with pytest.raises(ModelError, match="has not finished"):
        load_detector(tmp_path / "halves")
    with pytest.raises(ModelError, match="other settings"):
        fit(config.model_copy(update={"seed": 3}), series, tmp_path / "halves")
    fit(config, series, tmp_path / "halves")
    assert equal(tmp_path / "whole", tmp_path / "halves")


def test_a_fitted_folder_is_not_overwritten_unless_asked(series: Path, tmp_path: Path) -> None:
    fit(SMALL, series, tmp_path / "m")
    with pytest.raises(ModelError, match="--restart"):
        fit(SMALL, series, tmp_path / "m")
    fit(SMALL.model_copy(update={"seed": 1}), series, tmp_path / "m", restart=True)


def test_a_budget_ends_in_good_order(series: Path, tmp_path: Path) -> None:
    made = fit(SMALL.model_copy(update={"steps": 10**6}), series, tmp_path / "m", budget_s=0.3)
    assert made.fit_info["stopped_by"] == "budget"
    assert isinstance(load_detector(tmp_path / "m"), TsPulse)


@pytest.fixture(scope="module")
def fitted(series: Path, tmp_path_factory: pytest.TempPathFactory) -> TsPulse:
    """A model that has learnt something."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("model") / "m"
    fit(SMALL.model_copy(update={"steps": 500, "batch": 32}), series, out)
    loaded = load_detector(out)
    assert isinstance(loaded, TsPulse)
    return loaded


def batches(detector: TsPulse, inputs: Inputs) -> list[np.ndarray]:
    return [preprocess(detector.input.preprocess, window) for window in inputs]


@torch.no_grad()
def outputs(detector: TsPulse, inputs: list[np.ndarray]) -> list[Outputs]:
    network = detector.network()
    return [{"errors": network(torch.from_numpy(batch)).numpy()} for batch in inputs]


def test_what_was_saved_is_what_is_loaded(series: Path, tmp_path: Path) -> None:
    made = fit(SMALL, series, tmp_path / "m")
    loaded = load_detector(tmp_path / "m")
    assert isinstance(loaded, TsPulse)
    assert (loaded.config, loaded.splits, loaded.fit_info) == (made.config, made.splits, made.fit_info)
    assert loaded.input == made.input
    x = torch.randn(made.input.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.network()(x), made.network()(x))
    window = loaded.input.window
    assert window is not None
    assert (window.length, window.hop, window.channels) == (64, 8, list(CHANNELS))


def test_statistics_are_those_of_the_fit_rows(fitted: TsPulse, series: Path) -> None:
    rows = [
        np.loadtxt(series / "train" / "good" / part.name, delimiter=",", skiprows=1)[slice(*part.fit)]
        for part in fitted.splits.parts
    ]
    hop = fitted.config.hop
    rows = [r[: 64 + (len(r) - 64) // hop * hop] for r in rows]  # what whole hops reach
    together = np.concatenate(rows)
    assert fitted.mean == pytest.approx(together.mean(0), rel=1e-5)
    assert fitted.std == pytest.approx(together.std(0), rel=1e-5)


def test_a_lost_rhythm_is_found_and_its_channel_named(fitted: TsPulse, series: Path) -> None:
    """A frozen sensor keeps its values within the normal range: only the reconstruction can tell."""
    normals = find_normals(fitted.splits, series, fitted.input)
    head = fitted.fit_head(outputs(fitted, batches(fitted, normals.calibration)), {})
    window = machine(600, 9)[:64].astype(np.float32)
    frozen = window.copy()
    frozen[-8:, 1] = 40 + 0.9 * np.sign(40 - window[-1, 1])
    scored = [
        error_streams(head.params, found)
        for found in outputs(fitted, [preprocess(fitted.input.preprocess, w) for w in (window, frozen)])
    ]
    held_back = outputs(fitted, batches(fitted, normals.threshold))
    normal = [float(error_streams(head.params, found).scores[0]) for found in held_back]
    assert float(scored[1].scores[0]) > max(normal)
    assert scored[1].channels is not None
    assert int(scored[1].channels[0].argmax()) == 1


def test_compiled_in_float_and_int8(fitted: TsPulse, series: Path) -> None:
    """Through export, OpenVINO and nncf: float is equal, INT8 tells the same windows apart."""
    normals = find_normals(fitted.splits, series, fitted.input)
    calibration, normal = (batches(fitted, part) for part in (normals.calibration, normals.threshold))
    broken = [batch.copy() for batch in normal]
    for i, batch in enumerate(broken):
        batch[0, i % 2, -fitted.config.hop :] *= -1  # within the normal range, against the rhythm
    captured, tested = capture(fitted), normal + broken
    reference = np.concatenate([o["errors"] for o in outputs(fitted, tested)])
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    for precision in precisions:
        lowered = lower(captured, precision, Calibration(lambda: iter(calibration), len(calibration)))
        found = np.concatenate(run(lowered.files, tested))
        head = fitted.fit_head([{"errors": e} for e in run(lowered.files, calibration)], {})
        scores = error_streams(head.params, {"errors": found}).scores
        labels = [False] * len(normal) + [True] * len(broken)
        assert roc_auc_score(labels, scores) > 0.9
        if precision == "fp32":
            np.testing.assert_allclose(found, reference, rtol=1e-3, atol=1e-5)
        # the level stream does not pass the core, so quantization must not touch it
        np.testing.assert_allclose(found[:, STREAMS.index("level")], reference[:, 2], rtol=1e-5)


def run(files: dict[str, bytes], inputs: list[np.ndarray]) -> list[np.ndarray]:
    """`errors` of an IR for each batch."""
    import openvino

    model = openvino.Core().read_model(files["network.xml"], files["network.bin"])
    return [found["errors"] for found in openvino_ir.through(model, inputs)]


def test_gaps_are_not_trained_over(series: Path, tmp_path: Path) -> None:
    """A row that is no number ends a stretch; the fit goes on after it."""
    rows = machine(1600, 3)
    rows[300, 0] = np.nan
    write_csv(tmp_path / "train" / "good" / "a.csv", rows)
    made = fit(SMALL, tmp_path, tmp_path / "m")
    assert np.isfinite(list(made.fit_info["losses"].values())).all()
    assert np.isfinite(made.mean).all()


def test_a_constant_channel_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = np.concatenate([machine(1200, 0), np.full((1200, 1), 5.0)], 1)
    write_csv(tmp_path / "train" / "good" / "a.csv", rows, (*CHANNELS, "valve"))
    made = fit(SMALL, tmp_path, tmp_path / "m")
    assert made.fit_info["constant_channels"] == ["valve"]
    assert "valve" in caplog.text
    assert any("valve" in sentence for _, sentence in made.decisions())
    assert made.std[2] == 1.0


def test_series_that_are_too_short_are_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "train" / "good" / "a.csv", machine(200, 0))
    with pytest.raises(DataError, match=r"200 rows, \d+ are needed"):
        fit(SMALL, tmp_path, tmp_path / "m")


def published(config: TsPulseConfig, path: Path) -> tuple[Scaling, Core, str]:
    """A file in the published layout, with tensors of the training-only heads, and the modules it was made of."""
    torch.manual_seed(3)
    scaling, core = Scaling(config), Core(config)
    own = {f"scaling.{k}": v for k, v in scaling.state_dict().items()}
    own |= {f"core.{k}": v for k, v in core.state_dict().items()}
    tensors = {theirs: own[ours].clone() for ours, theirs in published_names(config).items()}
    tensors["backbone.scaler.affine_weight"] = tensors["backbone.scaler.affine_weight"].reshape(1, 1, 1)
    tensors["decoder_with_head.forecast_mapping.1.weight"] = torch.ones(3)
    save_file(tensors, path)
    return scaling, core, hashlib.sha256(path.read_bytes()).hexdigest()


def test_published_weights_are_loaded_by_name(series: Path, tmp_path: Path) -> None:
    config = SMALL.model_copy(
        update={"norm": "layer", "gate": "softmax", "expansion": 2, "learning_rate": 1e-12}
    )
    scaling, core, sha256 = published(config, tmp_path / "weights.safetensors")
    named = {"weights": str(tmp_path / "weights.safetensors"), "weights_sha256": sha256}
    made = fit(config.model_copy(update=named), series, tmp_path / "m")
    assert made.fit_info["unused_tensors"] == 1
    for own, loaded in ((scaling, made.scaling), (core, made.core)):
        for key, value in own.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[key], value, rtol=1e-4, atol=1e-6)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    config = PRESETS["micro"]
    published(config, path)
    modules = Scaling(config), Core(config)
    with pytest.raises(ModelError, match="has sha256"):
        load_published(path, "0" * 64, config, *modules)
    tiny = PRESETS["tiny"]
    with pytest.raises(ModelError, match="has shape"):
        load_published(path, None, tiny, Scaling(tiny), Core(tiny))
    full = PRESETS["full"]
    with pytest.raises(ModelError, match="'full' has the published shape"):
        load_published(path, None, full, Scaling(full), Core(full))
    tensors = load_file(path)
    del tensors["backbone.base_norm.bias"]
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"no tensor 'backbone\.base_norm\.bias'"):
        load_published(path, None, config, *modules)
    path.write_bytes(b"none")
    with pytest.raises(ModelError, match="no safetensors file"):
        load_published(path, None, config, *modules)


def test_a_damaged_model_is_refused_in_one_line(series: Path, tmp_path: Path) -> None:
    fit(SMALL, series, tmp_path / "m")
    path = tmp_path / "m" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="fit or import it again") as caught:
        load_detector(tmp_path / "m")
    assert "\n" not in str(caught.value)
