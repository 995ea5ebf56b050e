"""Fitting: repeatable, resumable to the bit, on disjoint splits, blind to test images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edge_ad.data.samples import make_parts
from edge_ad.data.splits import find_splits, split_normals
from edge_ad.detectors import load_detector
from edge_ad.detectors.efficientad.config import PRESETS, EfficientAdConfig
from edge_ad.detectors.efficientad.fit import fit
from edge_ad.detectors.efficientad.training import Trainer
from edge_ad.errors import DataError, ModelError

STEPS = 30


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_parts(
        tmp_path_factory.mktemp("data") / "parts", 1, size=96, n_train=16, n_test_good=2, n_defective=6
    )


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _config(preset: str = "micro", **changes: object) -> EfficientAdConfig:
    return PRESETS[preset].model_copy(update={"steps": STEPS, "teacher": "random-dct", **changes})


def _weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "weights.safetensors")


def _equal(a: Path, b: Path) -> bool:
    first, second = _weights(a), _weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("preset", ["micro", "tiny"])
def test_same_seed_same_weights_and_learning_happens(parts: Path, tmp_path: Path, preset: str) -> None:
    config = _config(preset)
    fit(config, parts, tmp_path / "a")
    fit(config, parts, tmp_path / "b")
    fit(_config(preset, seed=7), parts, tmp_path / "c")
    assert _equal(tmp_path / "a", tmp_path / "b")
    assert not _equal(tmp_path / "a", tmp_path / "c")
    assert _weights(tmp_path / "a")["student.conv4.weight"].abs().sum() > 0  # it started at zero
    assert not (tmp_path / "a" / ".unfinished").exists()


@pytest.mark.parametrize("preset", ["micro", "tiny"])
def test_interrupted_fit_resumes_to_the_bit(
    parts: Path, tmp_path: Path, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(preset)
    fit(config, parts, tmp_path / "whole")
    step = Trainer._step

    def interrupted(self: Trainer) -> dict[str, torch.Tensor]:
        if self.loop.state.step == STEPS // 2:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(config, parts, tmp_path / "halves")
    monkeypatch.undo()
    with pytest.raises(ModelError, match="has not finished"):
        load_detector(tmp_path / "halves")
    with pytest.raises(ModelError, match="--restart"):
        fit(_config(preset, seed=8), parts, tmp_path / "halves")
    fit(config, parts, tmp_path / "halves")
    assert _equal(tmp_path / "whole", tmp_path / "halves")


def test_budget_stops_in_good_order(parts: Path, tmp_path: Path) -> None:
    detector = fit(_config(steps=10_000_000), parts, tmp_path / "m", budget_s=1.0)
    assert detector.fit_info["stopped_by"] == "budget"
    assert 0 < detector.fit_info["steps"] < 10_000_000
    assert load_detector(tmp_path / "m").input.shape == (1, 3, 64, 64)


def test_a_fitted_model_is_not_overwritten_by_accident(parts: Path, tmp_path: Path) -> None:
    fit(_config(), parts, tmp_path / "m")
    before = (tmp_path / "m" / "weights.safetensors").read_bytes()
    with pytest.raises(ModelError, match="already"):
        fit(_config(seed=5), parts, tmp_path / "m")
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() == before
    fit(_config(seed=5), parts, tmp_path / "m", restart=True)
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() != before


def test_saved_and_loaded_give_the_same_maps(parts: Path, tmp_path: Path) -> None:
    fitted = fit(_config("tiny"), parts, tmp_path / "m")
    loaded = load_detector(tmp_path / "m")
    pixels = torch.randint(0, 256, loaded.input.shape, dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(fitted.network()(pixels), loaded.network()(pixels))
    assert loaded.info() == fitted.info()


def test_test_images_are_never_opened(parts: Path, tmp_path: Path) -> None:
    """With every test image replaced by rubbish the fit is the same."""
    copy = tmp_path / "parts"
    shutil.copytree(parts, copy)
    for path in (copy / "test").rglob("*.*"):
        path.write_bytes(b"rubbish")
    fit(_config(), parts, tmp_path / "a")
    fit(_config(), copy, tmp_path / "b")
    assert _equal(tmp_path / "a", tmp_path / "b")


def test_penalty_changes_the_fit_and_needs_images(parts: Path, tmp_path: Path) -> None:
    fit(_config(), parts, tmp_path / "none")
    fit(_config(penalty="textures"), parts, tmp_path / "textures")
    fit(_config(penalty=str(parts / "test" / "good")), parts, tmp_path / "folder")
    assert not _equal(tmp_path / "none", tmp_path / "textures")
    assert not _equal(tmp_path / "textures", tmp_path / "folder")
    with pytest.raises(DataError, match="penalty"):
        fit(_config(penalty=str(tmp_path / "nothing")), parts, tmp_path / "x")


def test_head_is_the_papers_normalisation(parts: Path, tmp_path: Path) -> None:
    detector = fit(_config("tiny"), parts, tmp_path / "m")
    rng = np.random.default_rng(0)
    outputs = [{"maps": rng.gamma(2, size=(1, 2, 24, 24)).astype(np.float32)} for _ in range(5)]
    detector.fit_info["autoencoder_trust"] = 1.0
    params = detector.fit_head(outputs, {}).params
    maps = np.concatenate([o["maps"] for o in outputs])
    expected = np.zeros((24, 24))
    for k in range(2):
        q_a, q_b = np.quantile(maps[:, k], 0.9), np.quantile(maps[:, k], 0.995)
        expected += 0.5 * 0.1 * (maps[0, k] - q_a) / (q_b - q_a)
    combined = params["gain"][0] * maps[0, 0] + params["gain"][1] * maps[0, 1] + params["offset"]
    assert np.allclose(combined, expected)
    with pytest.raises(ModelError, match="constant"):
        detector.fit_head([{"maps": np.ones((1, 2, 24, 24), np.float32)}], {})


def test_splits_are_disjoint_and_copies_stay_together(parts: Path, tmp_path: Path) -> None:
    root = tmp_path / "parts"
    shutil.copytree(parts, root)
    images = sorted((root / "train" / "good").iterdir())
    for index, image in enumerate(images[:6]):
        shutil.copy(image, image.with_name(f"copy{index}{image.suffix}"))
    splits = split_normals(root, 0)
    digests = [{f.sha256 for f in part} for part in (splits.fit, splits.calibration, splits.threshold)]
    assert not digests[0] & digests[1] and not digests[0] & digests[2] and not digests[1] & digests[2]
    assert sum(map(len, (splits.fit, splits.calibration, splits.threshold))) == len(images) + 6


def test_new_images_join_the_threshold_split(parts: Path, tmp_path: Path) -> None:
    splits = split_normals(parts, 0)
    root = tmp_path / "parts"
    shutil.copytree(parts, root)
    shutil.copy(next((root / "test" / "good").iterdir()), root / "train" / "good" / "new.png")
    found = find_splits(splits, root)
    assert found.new == 1 and len(found.threshold) == len(splits.threshold) + 1
    assert {p.name for p in found.fit} == {f.name for f in splits.fit}
    for entry in splits.threshold:
        (root / "train" / "good" / entry.name).unlink()
    (root / "train" / "good" / "new.png").unlink()
    with pytest.raises(DataError, match="threshold"):
        find_splits(splits, root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "edge-ad/model/9"}, "another version"),
        ({"version": 99}, "another version"),
        ({"detector": "resnet"}, "unknown detector"),
        ({"config": {}}, "cannot be loaded"),
    ],
)
def test_foreign_model_folders_are_named(parts: Path, tmp_path: Path, change: dict, message: str) -> None:
    import json

    fit(_config(), parts, tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=message):
        load_detector(tmp_path / "m")
    with pytest.raises(ModelError, match="no model folder"):
        load_detector(tmp_path)


def test_missing_or_empty_train_good(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train/good"):
        fit(_config(), tmp_path, tmp_path / "m")
    (tmp_path / "train" / "good").mkdir(parents=True)
    with pytest.raises(DataError, match="no image"):
        fit(_config(), tmp_path, tmp_path / "m")
    assert not (tmp_path / "m").exists()
