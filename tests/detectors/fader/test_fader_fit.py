"""Fitting FADeR: repeatable, resumable to the bit in both trainings, blind to test images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edge_ad.data.samples import make_parts
from edge_ad.detectors import load_detector
from edge_ad.detectors.fader.config import PRESETS, FaderConfig
from edge_ad.detectors.fader.detector import Fader
from edge_ad.detectors.fader.fit import fit, identity_check
from edge_ad.detectors.fader.training import (
    AttenuationTraining,
    InpaintingTraining,
    attenuation_target,
    hard_cases,
    hardest_bce,
    training_mask,
)
from edge_ad.detectors.loop import Losses
from edge_ad.errors import DataError, ModelError
from edge_ad.runtime.heads import evaluate

STEPS = 4


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_parts(
        tmp_path_factory.mktemp("data") / "parts", 1, size=64, n_train=16, n_test_good=2, n_defective=6
    )


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("edge_ad.detectors.fader.training.N_HARD", 16)


def _config(**changes: object) -> FaderConfig:
    fast = {"steps": STEPS, "batch": 2, "attenuation_share": 1.0, "precision": "fp32"}
    return FaderConfig.model_validate({**PRESETS["micro"].model_dump(), **fast, **changes})


def _weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "weights.safetensors")


def _equal(a: Path, b: Path, part: str = "") -> bool:
    first, second = ({k: v for k, v in _weights(m).items() if k.startswith(part)} for m in (a, b))
    return (
        len(first) > 0
        and first.keys() == second.keys()
        and all(torch.equal(first[k], second[k]) for k in first)
    )


@pytest.mark.parametrize("mask", ["mosaic", "template", "two-pass", "saliency"])
def test_same_seed_same_weights(parts: Path, tmp_path: Path, mask: str) -> None:
    fit(_config(mask=mask), parts, tmp_path / "a")
    fit(_config(mask=mask), parts, tmp_path / "b")
    assert _equal(tmp_path / "a", tmp_path / "b")
    if mask == "mosaic":
        fit(_config(mask=mask, seed=7), parts, tmp_path / "c")
        assert not _equal(tmp_path / "a", tmp_path / "c")
    assert not (tmp_path / "a" / ".unfinished").exists()


@pytest.mark.parametrize("training", [InpaintingTraining, AttenuationTraining])
def test_interrupted_fit_resumes_to_the_bit(
    parts: Path, tmp_path: Path, training: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(_config(), parts, tmp_path / "whole")
    losses = training.losses

    def interrupted(self: InpaintingTraining | AttenuationTraining) -> Losses:
        if self.loop.state.step == STEPS // 2:
            raise KeyboardInterrupt
        found: Losses = losses(self)
        return found

    monkeypatch.setattr(training, "losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(_config(), parts, tmp_path / "halves")
    monkeypatch.setattr(training, "losses", losses)
    with pytest.raises(ModelError, match="has not finished"):
        load_detector(tmp_path / "halves")
    with pytest.raises(ModelError, match="--restart"):
        fit(_config(seed=8), parts, tmp_path / "halves")
    fit(_config(), parts, tmp_path / "halves")
    assert _equal(tmp_path / "whole", tmp_path / "halves")


def test_the_second_training_leaves_the_u_net_alone_and_changes_the_gates(
    parts: Path, tmp_path: Path
) -> None:
    fit(_config(attenuation="none"), parts, tmp_path / "none")
    fit(_config(), parts, tmp_path / "soft")
    fit(_config(attenuation="prototype"), parts, tmp_path / "prototype")
    assert _equal(tmp_path / "none", tmp_path / "soft", "unet.")
    assert _equal(tmp_path / "none", tmp_path / "prototype", "unet.")
    assert not any(k.startswith("gates.") for k in _weights(tmp_path / "none"))
    assert _weights(tmp_path / "soft")["gates.0.weigh.weight"].abs().sum() > 0  # it started at zero
    assert _weights(tmp_path / "soft")["gates.0.prototype"].abs().sum() == 0
    assert _weights(tmp_path / "prototype")["gates.0.prototype"].abs().sum() > 0


def test_budget_stops_both_trainings_in_good_order(parts: Path, tmp_path: Path) -> None:
    detector = fit(_config(steps=10_000_000), parts, tmp_path / "m", budget_s=1.0)
    for told in (detector.fit_info, detector.fit_info["attenuation"]):
        assert told["stopped_by"] == "budget" and 0 < told["steps"] < 10_000_000
    assert load_detector(tmp_path / "m").input.shape == (1, 3, 64, 64)


def test_a_fitted_model_is_not_overwritten_by_accident(parts: Path, tmp_path: Path) -> None:
    fit(_config(), parts, tmp_path / "m")
    before = (tmp_path / "m" / "weights.safetensors").read_bytes()
    with pytest.raises(ModelError, match="already"):
        fit(_config(seed=5), parts, tmp_path / "m")
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() == before
    fit(_config(seed=5), parts, tmp_path / "m", restart=True)
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("mask", "attenuation"), [("template", "prototype"), ("saliency", "soft"), ("two-pass", "none")]
)
def test_saved_and_loaded_give_the_same_maps(
    parts: Path, tmp_path: Path, mask: str, attenuation: str
) -> None:
    fitted = fit(_config(mask=mask, attenuation=attenuation, attenuated_levels=(0, 1)), parts, tmp_path / "m")
    loaded = load_detector(tmp_path / "m")
    pixels = torch.randint(0, 256, loaded.input.shape, generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    with torch.no_grad():
        assert torch.equal(fitted.network()(pixels), loaded.network()(pixels))
    assert loaded.info() == fitted.info() and loaded.decisions() == fitted.decisions()


def test_a_damaged_model_folder_is_named(parts: Path, tmp_path: Path) -> None:
    fit(_config(), parts, tmp_path / "m")
    (tmp_path / "m" / "weights.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_detector(tmp_path / "m")


def test_test_images_are_never_opened(parts: Path, tmp_path: Path) -> None:
    """With every test image replaced by rubbish the fit is the same."""
    copy = tmp_path / "parts"
    shutil.copytree(parts, copy)
    for path in (copy / "test").rglob("*.*"):
        path.write_bytes(b"rubbish")
    fit(_config(), parts, tmp_path / "a")
    fit(_config(), copy, tmp_path / "b")
    assert _equal(tmp_path / "a", tmp_path / "b")


def test_missing_images_leave_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train/good"):
        fit(_config(), tmp_path, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_longer_training_restores_good_parts_better(parts: Path, tmp_path: Path) -> None:
    short = fit(_config(attenuation="none", steps=2), parts, tmp_path / "short").fit_info["losses"]
    long = fit(_config(attenuation="none", steps=50), parts, tmp_path / "long").fit_info["losses"]
    assert long["l2"] < 0.5 * short["l2"] and long["ssim"] < short["ssim"]


def test_identity_check_tells_a_gate_that_costs_good_parts_accuracy(parts: Path, tmp_path: Path) -> None:
    detector = fit(_config(), parts, tmp_path / "m")
    assert detector.fit_info["identity"].keys() == {"mean_factor", "error_change", "holds"}
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    gate = detector.inpainter.gates["0"]
    with torch.no_grad():
        gate.weigh.weight.zero_()
        gate.weigh.bias.fill_(20.0)
    assert identity_check(detector.network(), images) == {
        "mean_factor": 1.0,
        "error_change": 0.0,
        "holds": True,
    }
    with torch.no_grad():
        gate.weigh.bias.fill_(-2.0)
    closed = identity_check(detector.network(), images)
    assert closed["mean_factor"] == pytest.approx(0.1192, abs=1e-4) and not closed["holds"]
    detector.fit_info["identity"] = closed
    assert any("does not hold" in sentence for _, sentence in detector.decisions())


def test_head_scores_a_typical_good_part_as_one(parts: Path, tmp_path: Path) -> None:
    detector: Fader = fit(_config(), parts, tmp_path / "m")
    rng = np.random.default_rng(0)
    outputs = [{"maps": rng.gamma(2, size=(1, 1, 64, 64)).astype(np.float32)} for _ in range(5)]
    head = detector.fit_head(outputs, {})
    scores = [float(evaluate(head, o).scores[0]) for o in outputs]
    assert np.median(scores) == pytest.approx(1.0)
    assert np.argsort(scores).tolist() == np.argsort([o["maps"].max() for o in outputs]).tolist()
    with pytest.raises(ModelError, match="zero"):
        detector.fit_head([{"maps": np.zeros((1, 1, 64, 64), np.float32)}], {})


def test_target_drops_what_a_defect_spoils_and_keeps_the_rest() -> None:
    error = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.5, 9.0, 9.0])
    change = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    found = attenuation_target(error, change, kept=0.1, lost=0.4)
    assert torch.allclose(found, torch.tensor([1.0, 1.0, 0.5, 0.25, 0.0, 0.0, 1.0]))


def test_loss_looks_at_the_half_that_is_farthest_off() -> None:
    logits = torch.tensor([[8.0, -8.0, 8.0, -8.0]], requires_grad=True)
    hardest_bce(logits, torch.tensor([[1.0, 0.0, 0.0, 1.0]])).backward()
    assert logits.grad is not None
    assert (logits.grad[0, :2] == 0).all() and logits.grad[0, 2] > 0.4 and logits.grad[0, 3] < -0.4


def test_hard_cases_are_local_and_repeatable() -> None:
    images = torch.randint(60, 200, (5, 3, 64, 64), generator=torch.Generator().manual_seed(1)).to(
        torch.uint8
    )
    clean, damaged = hard_cases(images, 3)
    assert clean.shape == damaged.shape == (16, 3, 64, 64) and damaged.dtype == torch.uint8
    changed = (clean != damaged).any(1).float().mean((1, 2))
    assert bool((changed > 0).all()) and float(changed.mean()) < 0.5
    assert torch.equal(damaged, hard_cases(images, 3)[1])


def test_training_hides_what_the_mask_hides_and_more() -> None:
    own = torch.zeros(64, 1, 16, 16)
    own[..., 3:5, 3:5] = 1.0
    random = torch.Generator().manual_seed(0)
    hidden = training_mask(own, _config(mask="template"), random)
    assert bool((hidden >= own).all()) and 0.3 < float(hidden.mean()) < 0.7
    assert torch.equal(training_mask(own, _config(mask="mosaic"), random), own)
    whole = torch.ones(64, 1, 16, 16)
    shares = training_mask(whole, _config(mask="two-pass"), random).mean((1, 2, 3))
    assert 20 < int((shares == 1).sum()) < 44 and float(shares.min()) < 0.2
