"""Series are split by time, no row on two sides, and found again by content; generated sets hold what they say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.data.inputs import find_labelled, find_normals
from edge_ad.data.sample_series import ANOMALIES, CHANNELS, make_series
from edge_ad.data.series_splits import cut, find_series_splits, labelled_windows, split_series, survey
from edge_ad.errors import DataError, UsageError
from edge_ad.runtime.series.standardise import standardise_spec


def write(root: Path, n: int, name: str = "a.csv", header: str = "time,a,b") -> Path:
    path = root / "train" / "good" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = (f"{1000 + i / 10:.1f},{i},{-i}" for i in range(n))
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def window(length: int = 20, hop: int = 5) -> WindowSpec:
    return WindowSpec(length=length, hop=hop, rate_hz=10.0, channels=["a", "b"])


def seen(windows) -> set[int]:
    return {int(v) for values in windows for v in values[:, 0]}


@settings(max_examples=25, deadline=None)
@given(st.integers(200, 900), st.integers(2, 30), st.floats(0.1, 0.5))
def test_no_row_is_on_two_sides_and_time_goes_from_fit_to_threshold(
    tmp_path_factory: pytest.TempPathFactory, n: int, length: int, holdout: float
) -> None:
    root = tmp_path_factory.mktemp("split")
    write(root, n)
    spec = window(length, max(1, length // 3))
    try:
        splits = split_series(root, survey(root), spec, holdout)
    except DataError as error:
        assert "are needed for windows of" in str(error)
        return
    sets = find_series_splits(splits, root, spec)
    fit, calibration, threshold = (seen(s) for s in (sets.fit, sets.calibration, sets.threshold))
    assert max(fit) < min(calibration) <= max(calibration) < min(threshold)
    assert min(calibration) - max(fit) >= length and min(threshold) - max(calibration) >= length
    for part in (sets.fit, sets.calibration, sets.threshold):
        assert len(part) == len(list(part)) > 0


def test_splits_are_found_by_content_and_new_files_join_the_threshold(tmp_path: Path) -> None:
    path = write(tmp_path, 600)
    splits = split_series(tmp_path, survey(tmp_path), window())
    before = find_series_splits(splits, tmp_path, window())
    path.rename(path.with_name("renamed.csv"))
    write(tmp_path, 200, "new.csv")
    after = find_series_splits(splits, tmp_path, window())
    assert len(after.calibration) == len(before.calibration) and before.new == 0
    assert after.new == len(after.threshold) - len(before.threshold) == (200 - 20) // 5 + 1
    path.with_name("renamed.csv").unlink()
    with pytest.raises(DataError, match="holds no window that the model set aside for calibration"):
        find_series_splits(splits, tmp_path, window())


def test_a_survey_finds_rate_channels_and_spread(tmp_path: Path) -> None:
    write(tmp_path, 500)
    facts = survey(tmp_path)
    assert facts.channels == ["a", "b"] and facts.rate_hz == 10.0
    assert facts.mean == [249.5, -249.5] and facts.std == pytest.approx([144.34, 144.34], abs=0.01)
    assert survey(tmp_path, rate_hz=7.5).rate_hz == 7.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,a,b\n1,2,3\n", "a.csv: holds a single row, no series"),
        ("time,a,b\n", "a.csv: holds no rows"),
        ("time,a,b\n1,2,3\n2,2,3\n3,2,3\n", "every channel is constant"),
    ],
)
def test_data_that_is_no_series_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, 5).write_text(text)
    with pytest.raises(DataError, match=message):
        survey(tmp_path)


def test_files_that_do_not_agree_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, 50)
    write(tmp_path, 50, "b.csv", "time,a,c")
    with pytest.raises(DataError, match=r"b.csv: has no channel 'b', only a, c"):
        survey(tmp_path)


def test_too_short_a_series_says_how_many_rows_it_takes(tmp_path: Path) -> None:
    write(tmp_path, 60)
    with pytest.raises(DataError, match=r"its longest series has 60 rows, (\d+) are needed") as caught:
        split_series(tmp_path, survey(tmp_path), window())
    needed = int(str(caught.value).split(" rows, ")[1].split()[0])
    write(tmp_path, needed)
    assert split_series(tmp_path, survey(tmp_path), window()).parts


def test_images_are_no_series(tmp_path: Path) -> None:
    good = tmp_path / "train" / "good"
    good.mkdir(parents=True)
    (good / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="holds images, no series"):
        survey(tmp_path)


def test_labels_belong_to_the_newest_rows_of_a_window(tmp_path: Path) -> None:
    write(tmp_path, 300)
    test = tmp_path / "test" / "stuck"
    test.mkdir(parents=True)
    rows = (f"{1000 + i / 10:.1f},{i},{-i},{int(52 <= i < 58)}" for i in range(100))
    (test / "t.csv").write_text("\n".join(["time,a,b,label", *rows]) + "\n")
    found = labelled_windows(tmp_path, window())[0]
    assert found.kind == "stuck" and found.labels.sum() == 6 and found.rows[0] == (15, 20)
    spec = InputSpec(
        modality="series", shape=(1, 2, 20), dtype="float32", preprocess=standardise_spec([0, 0], [1, 1]),
        window=window(),
    )  # fmt: skip
    labelled = find_labelled(tmp_path, spec)
    assert [i.rows for i in labelled.items if i.anomalous] == [(50, 55), (55, 60)]
    newest = [values[-1, 0] for values in labelled.inputs]
    assert newest == [last - 1 for _, last in found.rows]
    normals = find_normals(split_series(tmp_path, survey(tmp_path), window()), tmp_path, spec)
    assert normals.fit > 0 and len(normals.calibration) == len(list(normals.calibration))


def test_an_anomalous_series_without_labels_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 300)
    (tmp_path / "test" / "odd").mkdir(parents=True)
    (tmp_path / "train" / "good" / "a.csv").rename(tmp_path / "test" / "odd" / "a.csv")
    with pytest.raises(DataError, match=r"a.csv: has no column 'label'; mark anomalous rows with 1"):
        labelled_windows(tmp_path, window())


def test_a_generated_set_is_the_same_again_and_its_labels_are_where_it_differs(tmp_path: Path) -> None:
    a, b = (make_series(tmp_path / name, 7, n_train=400, n_test=1300) for name in "ab")
    digests = [
        {p.relative_to(r).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in r.rglob("*.csv")}
        for r in (a, b)
    ]
    assert digests[0] == digests[1] and len(digests[0]) == 2 + len(ANOMALIES)
    spec = WindowSpec(length=1, hop=1, rate_hz=10.0, channels=list(CHANNELS))
    for found in labelled_windows(a, spec):
        assert (
            found.labels.any() == (found.kind != "good") and not found.labels[: len(found.labels) // 2].any()
        )
    values = np.concatenate([v for v, _ in cut(a / "train" / "good" / "pump.csv", (0, 400), spec)])
    assert values.shape == (400, 5) and (values.std(axis=0) > 0).all()
    with pytest.raises(DataError, match="not empty"):
        make_series(a, 7)
    with pytest.raises(UsageError, match="too short"):
        make_series(tmp_path / "c", 7, n_test=100)
    assert not (tmp_path / "c").exists()
