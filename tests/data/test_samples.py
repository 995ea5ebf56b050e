import cv2
import numpy as np
import pytest

from edge_ad.data.part_defects import DEFECTS
from edge_ad.data.samples import make_parts, render_part
from edge_ad.errors import DataError, UsageError


def tree(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("samples") / "deep" / "parts"
    assert make_parts(root, 5, size=96, n_train=5, n_test_good=3, n_defective=13) == root
    return root


def test_layout_is_that_of_mvtec_with_a_mask_for_each_defective_image(parts):
    names = set(tree(parts))
    assert {n for n in names if n.startswith("train/")} == {f"train/good/{k:03d}.png" for k in range(5)}
    assert {n for n in names if n.startswith("test/good/")} == {f"test/good/{k:03d}.png" for k in range(3)}
    defective = {n for n in names if n.startswith("test/") and "/good/" not in n}
    assert len(defective) == 13
    assert {n.split("/")[1] for n in defective} == set(DEFECTS)
    masks = {n.replace("test/", "ground_truth/").replace(".png", "_mask.png") for n in defective}
    assert masks == {n for n in names if n.startswith("ground_truth/")}
    assert len(names) == 5 + 3 + 13 + 13


def test_images_are_colour_and_masks_are_binary_and_of_a_plausible_size(parts):
    for path in parts.rglob("*.png"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if "ground_truth" in path.parts:
            assert image.shape == (96, 96)
            assert set(np.unique(image)) == {0, 255}
            assert 0.0005 < (image > 0).mean() < 0.05
        else:
            assert image.shape == (96, 96, 3)
            assert image.std() > 20


def test_same_seed_same_bytes_and_other_seed_other_images(parts, tmp_path):
    again = make_parts(tmp_path / "again", 5, size=96, n_train=5, n_test_good=3, n_defective=13)
    assert tree(again) == tree(parts)
    other = make_parts(tmp_path / "other", 6, size=96, n_train=5, n_test_good=0, n_defective=0)
    assert not set(tree(other).values()) & set(tree(parts).values())


def test_counts_do_not_change_the_images_that_both_sets_have(parts, tmp_path):
    fewer = tree(make_parts(tmp_path / "fewer", 5, size=96, n_train=2, n_test_good=1, n_defective=2))
    everything = tree(parts)
    assert all(everything[name] == raw for name, raw in fewer.items())


def test_no_image_occurs_twice(parts):
    images = [raw for name, raw in tree(parts).items() if not name.startswith("ground_truth/")]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_the_mask_holds_every_pixel_that_the_defect_changes(defect):
    for seed in range(4):
        good, nothing = render_part(seed, 160)
        bad, mask = render_part(seed, 160, defect)
        assert not nothing.any()
        difference = np.abs(good.astype(int) - bad).max(axis=2)
        assert not difference[mask == 0].any()
        # and few others: most of the mask is visibly changed
        assert (difference[mask > 0] > 2).mean() > 0.5
        assert difference.max() > 25


def test_good_parts_vary_in_light_place_and_texture_but_stay_one_part():
    images = np.stack([render_part(seed, 96)[0] for seed in range(8)]).astype(float)
    assert images.mean(axis=(1, 2, 3)).std() > 1  # light
    assert images.std(axis=0).mean() > 3  # place and texture
    flat = images.mean(axis=3).reshape(8, -1)
    assert np.corrcoef(flat).min() > 0.8


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="not empty"):
        make_parts(tmp_path, 0, size=64, n_train=1)
    with pytest.raises(DataError, match="not empty"):
        make_parts(tmp_path / "mine.txt", 0, size=64, n_train=1)
    assert tree(tmp_path) == {"mine.txt": b"keep"}


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "parts").mkdir()
    make_parts(tmp_path / "parts", 0, size=64, n_train=1, n_test_good=0, n_defective=0)
    assert list(tree(tmp_path)) == ["parts/train/good/000.png"]


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(self, raw):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DataError, match=r"cannot write the sample set \(No space left on device\)"):
        make_parts(tmp_path / "parts", 0, size=64, n_train=1)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(UsageError, match="0 training"):
        make_parts(tmp_path / "x", 0, n_train=0)
    with pytest.raises(UsageError, match="chip, crack"):
        render_part(0, 64, "rust")
    with pytest.raises(UsageError, match="32 or more"):
        render_part(0, 16)
