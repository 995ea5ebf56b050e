"""STARNet: fitted repeatably on clean scans or vectors, resumed to the bit, its score chosen without corruptions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_ad.bundle.manifest import Threshold
from edge_ad.data.scan_corruptions import corrupt
from edge_ad.data.scenes import make_scenes
from edge_ad.data.splits import SCANS, split_normals
from edge_ad.detectors import load_detector
from edge_ad.detectors.loop import Loop
from edge_ad.detectors.starnet.choose import choose_score, limits
from edge_ad.detectors.starnet.config import PRESETS, StarNetConfig
from edge_ad.detectors.starnet.detector import StarNet, TorchEngine
from edge_ad.detectors.starnet.fit import fit
from edge_ad.errors import DataError, ModelError
from edge_ad.runtime.heads import evaluate
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.scans import list_scans, read_scan

STEPS = 40


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scenes(
        tmp_path_factory.mktemp("starnet") / "scenes",
        8,
        n_train=24,
        n_test_good=6,
        per_corruption=0,
        sensor="32-beam",
    )


def config(**changes: object) -> StarNetConfig:
    return PRESETS["micro"].model_copy(update={"steps": STEPS, **changes})


@pytest.fixture(scope="module")
def fitted(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> StarNet:
    return fit(config(steps=150), scenes, tmp_path_factory.mktemp("starnet") / "model")


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("features", ["range-image", pytest.param("bev", marks=pytest.mark.slow)])
def test_the_same_scans_give_the_same_model_also_when_interrupted(
    scenes: Path, tmp_path: Path, features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(features=features)
    fit(settings, scenes, tmp_path / "a")
    step = Loop._step

    def interrupted(self: Loop, losses) -> None:
        if self.state.step == STEPS // 2:
            raise KeyboardInterrupt
        step(self, losses)

    monkeypatch.setattr(Loop, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(settings, scenes, tmp_path / "b")
    monkeypatch.undo()
    with pytest.raises(ModelError, match="has not finished"):
        load_detector(tmp_path / "b")
    fit(settings, scenes, tmp_path / "b")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert (tmp_path / "a" / "model.json").read_bytes() == (tmp_path / "b" / "model.json").read_bytes()
    with pytest.raises(ModelError, match="holds a fitted model already"):
        fit(settings, scenes, tmp_path / "a")


def test_saved_and_loaded_give_the_same_outputs(scenes: Path, tmp_path: Path) -> None:
    made = fit(config(), scenes, tmp_path / "m")
    loaded = load_detector(tmp_path / "m")
    x = torch.rand(loaded.input.shape)
    with torch.no_grad():
        for a, b in zip(made.network()(x), loaded.network()(x), strict=True):
            assert torch.equal(a, b)
    assert loaded.info() == made.info() and loaded.input == made.input


def test_scans_are_split_in_their_order(scenes: Path) -> None:
    splits = split_normals(scenes, 0, None, SCANS)
    names = [[f.name for f in part] for part in (splits.fit, splits.calibration, splits.threshold)]
    assert [len(part) for part in names] == [12, 6, 6]
    joined = [name for part in names for name in part]
    assert joined == sorted(joined)


def outputs_of(detector: StarNet, scans: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
    spec, network = detector.input.preprocess, detector.network()
    with torch.no_grad():
        made = [network(torch.from_numpy(preprocess(spec, scan))) for scan in scans]
    return [{n: t.numpy() for n, t in zip(detector.outputs, m, strict=True)} for m in made]


def test_corrupted_scans_score_above_clean_ones(fitted: StarNet, scenes: Path) -> None:
    clean = [read_scan(p) for p in list_scans(scenes / "test" / "good")]
    engine = {"decoder": TorchEngine(fitted.decoder)}
    normals = [read_scan(p) for p in list_scans(scenes / "train" / "good")[12:18]]
    head = fitted.fit_head(outputs_of(fitted, normals), engine)
    score = lambda scans: [evaluate(head, o, engine).scores[0] for o in outputs_of(fitted, scans)]  # noqa: E731
    rng = np.random.default_rng(0)
    for kind in ("crosstalk", "beam-missing", "cross-sensor"):
        assert min(score([corrupt(s, kind, "heavy", rng) for s in clean])) > max(score(clean))


def test_the_score_is_chosen_on_clean_data_and_has_to_earn_its_cost(fitted: StarNet) -> None:
    n = fitted.fit_info["inputs"]["calibration"]
    assert fitted.fit_info["score"] == choose_score(fitted.fit_info["sensitivity"], n) == fitted.score
    assert any(f"The score is '{fitted.score}'" in text for _, text in fitted.decisions())
    figures = {"regret": 4.0, "neg_elbo": 1.0, "kl": 0.5, "mahalanobis": 1.9}
    assert choose_score(figures, 8) == "regret"
    assert choose_score({**figures, "neg_elbo": 2.0}, 8) == "neg_elbo"
    assert choose_score({**figures, "mahalanobis": 2.0}, 8) == "mahalanobis"
    assert choose_score(figures, 7) == "mahalanobis"


def test_a_search_may_end_once_the_alarm_is_certain(fitted: StarNet) -> None:
    head = fitted.fit_head(
        outputs_of(fitted, [np.array([[5, 0, 0, 0.5], [0, 7, 1, 0.5]], np.float32)] * 2),
        {"decoder": TorchEngine(fitted.decoder)},
    )
    threshold = Threshold(value=3.0, requested_rate=0.1, expected_rate=0.1, interval=(0.0, 0.2), n=9, rank=9)
    assert fitted.finish_head(head, threshold).params["stop_at"] is None  # no search, nothing to end
    regret = head.model_copy(update={"params": {**head.params, "score": "regret"}})
    _, centre, high = head.params["ranges"]["regret"]
    bound = fitted.finish_head(regret, threshold).params["stop_at"]
    assert bound == pytest.approx(
        centre + 3.03 * (high - centre)
    )  # a little beyond, so that it stays an alarm


def test_limits_hold_the_spread_of_either_side() -> None:
    low, centre, high = limits(np.array([0.0, 0.0, 0.0, 1.0, 4.0]))
    assert centre == 0.0 and high > -low > 0
    low, centre, high = limits(np.full(5, 100.0))
    assert (low, centre, high) == (98.0, 100.0, 102.0)


def test_vectors_are_rows_of_series(tmp_path: Path, edge_ad_vectors: Path) -> None:
    detector = fit(config(features="vector"), edge_ad_vectors, tmp_path / "m")
    assert detector.input.shape == (1, 6, 1) and detector.input.modality == "series"
    loaded = load_detector(tmp_path / "m")
    rng = np.random.default_rng(3)
    normal, odd = rng.normal(size=(40, 3)) @ np.ones((3, 6)), 6 * rng.normal(size=(40, 6))
    engine = {"decoder": TorchEngine(loaded.decoder)}
    head = loaded.fit_head(outputs_of(loaded, [r[None].astype(np.float32) for r in normal]), engine)
    score = lambda rows: np.mean(  # noqa: E731
        [
            evaluate(head, o, engine).scores[0]
            for o in outputs_of(loaded, [r[None].astype(np.float32) for r in rows])
        ]
    )
    assert score(odd) > 3 * score(normal)


@pytest.fixture
def edge_ad_vectors(tmp_path: Path) -> Path:
    folder = tmp_path / "vectors" / "train" / "good"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.save(folder / "v.npy", rng.normal(size=(400, 3)) @ np.ones((3, 6)) + 0.05 * rng.normal(size=(400, 6)))
    return tmp_path / "vectors"


def test_scans_of_two_sensors_are_refused_by_name(scenes: Path, tmp_path: Path) -> None:
    good = tmp_path / "train" / "good"
    good.mkdir(parents=True)
    for path in list_scans(scenes / "train" / "good")[:9]:
        (good / path.name).write_bytes(path.read_bytes())
    few = read_scan(good / "000004.bin")[::2]
    thin = few[: len(few) // 3]
    (good / "000004.bin").write_bytes(thin.tobytes())
    with pytest.raises(
        DataError, match=r"000004.bin: has \d+ rings, the other scans have 32; keep the scans of one"
    ):
        fit(config(), tmp_path, tmp_path / "m")
