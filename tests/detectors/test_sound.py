"""Sound to fit on: features of whole recordings, and what cannot be taken of a data folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_ad.data.sample_sounds import make_sounds, wav
from edge_ad.data.series_splits import find_series_splits
from edge_ad.detectors.autoencoder.config import PRESETS
from edge_ad.detectors.autoencoder.fit import fit
from edge_ad.detectors.sound import SoundConfig, prepare_sound, window_features
from edge_ad.errors import DataError, EdgeAdError
from edge_ad.runtime.integer.log_mel import LogMel, log_mel
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.series.log_mel import log_mel_front

SMALL = SoundConfig(frame=512, hop=256, bands=32, frames=3)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sounds(tmp_path_factory.mktemp("sound") / "set", 2, n_train=10, n_test=0, seconds=1.0)


def write(root: Path, name: str, values: np.ndarray) -> Path:
    folder = root / "train" / "good"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, values)
    return root


def test_frames_that_windows_share_are_transformed_once_with_the_same_result() -> None:
    features = LogMel(frame=256, hop=100, bands=10, frames=4)
    samples = np.random.default_rng(0).integers(-3000, 3000, 4000).astype(np.int16)
    starts = [
        *range(0, 1500, 100),
        7,
        107,
        2000,
        *range(2500, 3300, 100),
    ]  # three streams, and one window alone
    windows = [samples[s : s + features.length, None].astype(np.float32) for s in starts]
    wanted = [log_mel(samples[s : s + features.length], features) for s in starts]
    np.testing.assert_array_equal(window_features(iter(windows), features, 1.0), wanted)
    assert window_features(iter([]), features, 1.0).shape == (0, 4, 10)


def test_what_is_fitted_on_is_what_devices_compute(sounds: Path) -> None:
    prepared = prepare_sound(sounds, SMALL, None)
    front = log_mel_front(prepared.input.preprocess)
    assert (
        front is not None
        and front.unit == 2**-15
        and front.features == LogMel(frame=512, hop=256, bands=32, frames=3)
    )
    a_file = (16000 - 1024) // 256 + 1
    assert prepared.fit.shape == (7 * a_file, 32, 3) and prepared.calibration.shape == (a_file, 32, 3)
    flat = prepared.fit.numpy()
    np.testing.assert_allclose(flat.mean(axis=(0, 2)), 0, atol=0.02)
    np.testing.assert_allclose(flat.std(axis=(0, 2)), 1, atol=0.02)
    sets = find_series_splits(prepared.splits, sounds, prepared.splits.window)
    for number, window in enumerate(sets.fit):
        if number % 50 == 0:
            np.testing.assert_array_equal(preprocess(prepared.input.preprocess, window)[0], flat[number])


def test_numbers_without_a_converter_leave_headroom(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    root = write(tmp_path, "a.npy", rng.normal(0, 0.03, 60_000).clip(-0.1, 0.1).astype(np.float32))
    prepared = prepare_sound(root, SMALL.model_copy(update={"rate_hz": 12800.0}), None)
    front = log_mel_front(prepared.input.preprocess)
    assert front is not None and front.unit == 2.0**-16  # 0.1 * 4 is below 0.5 = 2^15 steps
    assert front.features.high_hz == 6400 and prepared.splits.window.rate_hz == 12800


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((60_000,), {}, "how many samples a second.*--rate-hz"),
        ((60_000, 2), {"rate_hz": 8000.0}, "has 2 channels.*--channel c0"),
        ((60_000, 2), {"rate_hz": 8000.0, "channel": "left"}, "has no channel 'left'"),
        ((60_000,), {"rate_hz": 8000.0, "high_hz": 5000.0}, "5000 Hz at 8000"),
        ((60_000,), {"rate_hz": 8000.0, "frame": 500}, "500 samples"),
        ((60_000,), {"rate_hz": 8000.0, "bands": 400}, "bands hold no bin.*fewer bands"),
        ((2000,), {"rate_hz": 8000.0}, "longest series has 2000 rows"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, shape, settings: dict[str, object], message: str) -> None:
    root = write(tmp_path, "a.npy", np.random.default_rng(2).normal(size=shape).astype(np.float32))
    with pytest.raises(EdgeAdError, match=message):
        prepare_sound(root, SMALL.model_copy(update=settings), None)


def test_one_channel_of_several_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "good"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    (folder / "a.wav").write_bytes(wav(rng.integers(-900, 900, (50_000, 2)).astype(np.int16)))
    prepared = prepare_sound(tmp_path, SMALL.model_copy(update={"channel": "c1"}), None)
    assert prepared.splits.window.channels == ["c1"]


def test_sound_is_not_taken_for_vectors(sounds: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one channel.*--features log-mel"):
        fit(PRESETS["micro"], sounds, tmp_path / "m")
    assert not (tmp_path / "m").exists()
