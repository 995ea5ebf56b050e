"""Generated sounds, and recordings that are split by whole files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_ad.bundle.manifest import WindowSpec
from edge_ad.data.recordings import split_recordings
from edge_ad.data.sample_sounds import FAULTS, make_sounds, wav
from edge_ad.data.series_splits import find_series_splits, labelled_windows, survey
from edge_ad.errors import DataError, UsageError

WINDOW = WindowSpec(length=3072, hop=512, rate_hz=16000, channels=["c0"])


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sounds(tmp_path_factory.mktemp("set") / "sounds", 3, n_train=12, n_test=2, seconds=1.0)


def test_a_generated_set_is_the_same_again(sounds: Path, tmp_path: Path) -> None:
    again = make_sounds(tmp_path / "b", 3, n_train=12, n_test=2, seconds=1.0)
    digests = [
        {p.relative_to(r).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in r.rglob("*.wav")}
        for r in (sounds, again)
    ]
    assert digests[0] == digests[1] and len(set(digests[0].values())) == 12 + 2 * (1 + len(FAULTS))
    with pytest.raises(DataError, match="not empty"):
        make_sounds(again, 3)
    with pytest.raises(UsageError, match="too little"):
        make_sounds(tmp_path / "c", 3, seconds=0.1)


def test_facts_are_what_the_files_state(sounds: Path, tmp_path: Path) -> None:
    facts = survey(sounds)
    assert (facts.rate_hz, facts.channels, facts.unit) == (16000, ["c0"], 2**-15)
    assert 0.05 < facts.peak < 0.5 and set(facts.rows.values()) == {16000}
    mixed = shutil.copytree(sounds, tmp_path / "mixed")
    (mixed / "train" / "good" / "z.wav").write_bytes(wav(np.arange(9000, dtype=np.int16), 8000))
    with pytest.raises(DataError, match=r"z\.wav: has 8000 samples a second, not 16000"):
        survey(mixed)
    with pytest.raises(DataError, match="has 16000 samples a second, not 48000"):
        survey(sounds, 48000)


def test_recordings_are_split_whole(sounds: Path) -> None:
    splits = split_recordings(sounds, survey(sounds), WINDOW)
    sides = ("fit", "calibration", "threshold")
    assert ["".join(k[0] for k in sides if getattr(p, k) != (0, 0)) for p in splits.parts] == list(
        "ffffffffcttt"
    )
    assert [p.name for p in splits.parts] == [f"{i:03d}.wav" for i in range(12)]
    found = find_series_splits(splits, sounds, WINDOW)
    a_file = (16000 - 3072) // 512 + 1
    assert (len(found.fit), len(found.calibration), len(found.threshold)) == (8 * a_file, a_file, 3 * a_file)
    assert len(list(found.threshold)) == 3 * a_file


def test_few_recordings_are_split_by_time_and_short_ones_are_told(sounds: Path, tmp_path: Path) -> None:
    few = tmp_path / "few" / "train" / "good"
    few.mkdir(parents=True)
    (few / "a.wav").write_bytes(wav(np.random.default_rng(0).integers(-99, 99, 64000).astype(np.int16)))
    (part,) = split_recordings(few.parents[1], survey(few.parents[1]), WINDOW).parts
    assert (
        part.fit[1]
        < part.calibration[0]
        < part.calibration[1]
        < part.threshold[0]
        < part.threshold[1]
        == 64000
    )
    short = shutil.copytree(sounds, tmp_path / "short")
    for path in sorted((short / "train" / "good").iterdir())[3:]:
        path.write_bytes(wav(np.arange(2000, dtype=np.int16) * (1 + int(path.stem))))
    with pytest.raises(DataError, match="3 different recordings hold a window of 3072 rows, 8 are needed"):
        split_recordings(short, survey(short), WINDOW)


def test_recordings_are_labelled_by_their_folder(sounds: Path) -> None:
    found = labelled_windows(sounds, WINDOW)
    assert {f.kind: bool(f.labels.all()) for f in found} == {"good": False, **dict.fromkeys(FAULTS, True)}
    assert not any(f.labels.any() for f in found if f.kind == "good")
