import cv2
import numpy as np
import pytest

from edge_ad.bundle.manifest import Thresholds
from edge_ad.compile.report.examples import Example, example, map_scale, pick_examples
from edge_ad.compile.report.figures import FigureData, histogram, roc
from edge_ad.metrics.threshold import calibrate_threshold


def decode(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def make(score=1.0, threshold=0.5, image=None, **fields):
    grid = np.zeros((14, 14), np.float32)
    grid[9, 4] = score
    return Example(
        **{
            "name": "a.png",
            "kind": "crack",
            "anomalous": True,
            "image": np.full((100, 120, 3), 128, np.uint8) if image is None else image,
            "map": grid,
            "pad": 1,
            "float_score": score,
            "compiled_score": score,
            "threshold": threshold,
            **fields,
        }
    )


def test_figures_are_png_with_the_same_bytes_each_time(case):
    thresholds = case.report.payloads[0].thresholds
    for draw in (histogram, roc):
        light = draw(case.figures, thresholds)
        assert light.startswith(b"\x89PNG") and b"Software" not in light and b"tIME" not in light
        assert draw(case.figures, thresholds) == light
        assert draw(case.figures, thresholds, "dark") != light
        assert decode(light).mean() > 200 > 60 > decode(draw(case.figures, thresholds, "dark")).mean()


def test_roc_needs_both_classes(case):
    thresholds = case.report.payloads[0].thresholds
    one = FigureData(**{**vars(case.figures), "test_labels": np.zeros(76, bool)})
    assert roc(one, thresholds) is None
    none = FigureData(**{**vars(case.figures), "test_labels": None})
    assert roc(none, thresholds) is None
    assert decode(histogram(none, thresholds)).shape == decode(histogram(one, thresholds)).shape


@pytest.mark.parametrize("far", [1e6, -1e6])
def test_one_far_score_does_not_squash_the_rest(case, far):
    thresholds = case.report.payloads[0].thresholds
    test = case.figures.test_compiled.copy()
    test[-1] = far
    figures = FigureData(**{**vars(case.figures), "test_compiled": test})
    ink = (decode(histogram(figures, thresholds)) < 128).any(axis=2).mean()
    usual = (decode(histogram(case.figures, thresholds)) < 128).any(axis=2).mean()
    assert ink > 0.5 * usual


def test_scores_that_are_all_the_same_can_still_be_drawn():
    same = np.full(20, 0.25)
    threshold = calibrate_threshold(same, 0.1)
    figures = FigureData(target="t", normal_float=same, normal_compiled=same)
    assert histogram(figures, Thresholds(float=threshold, compiled=threshold)).startswith(b"\x89PNG")


def test_an_alarm_is_marked_where_the_map_peaks():
    scale = map_scale([make()])
    quiet, alarm = decode(example(make(threshold=2.0), scale)), decode(example(make(), scale))
    assert quiet.shape == alarm.shape
    rows, columns = np.nonzero((quiet != alarm).any(axis=2))
    height, width = alarm.shape[:2]
    # cell (9, 4) of 14, with a border of 1: 10.5 / 16 down and, in the right-hand picture, 5.5 / 16 across
    assert rows.mean() / height == pytest.approx(10.5 / 16, abs=0.03)
    assert (columns.mean() / width - 0.51) / 0.49 == pytest.approx(5.5 / 16, abs=0.03)


def test_a_marked_defect_is_outlined_on_the_left_only():
    mask = np.zeros((100, 120), np.uint8)
    mask[20:60, 20:60] = 255
    scale = map_scale([make()])
    plain, outlined = decode(example(make(), scale)), decode(example(make(mask=mask), scale))
    columns = np.nonzero((plain != outlined).any(axis=2))[1]
    assert columns.size and columns.max() < 0.5 * plain.shape[1]


@pytest.mark.parametrize("shape", [(2600, 3200), (40, 1500), (1500, 40), (1, 1)])
def test_images_of_any_size_give_a_small_picture(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    mask = np.zeros(shape, np.uint8)
    mask[shape[0] // 2, shape[1] // 2] = 1
    png = example(make(image=image, mask=mask), (0.0, 1.0))
    assert len(png) < 600_000


def test_the_colour_scale_has_the_threshold_in_its_middle():
    low, high = map_scale([make(), make(score=9.0)])
    assert (low, (low + high) / 2) == (0.0, 0.5)
    low, high = map_scale([make(threshold=-1.0)])  # a threshold below what is usual still gives a scale
    assert high > low


def test_examples_are_chosen_by_rule():
    kinds = ["good"] * 5 + ["crack"] * 3 + ["dent"] * 3
    anomalous = [False] * 5 + [True] * 6
    scores = [1, 5, 3, 2, 4, 9, 7, 8, 6, 12, 10]
    # good: median 3 (index 2), highest 5 (1)
    # crack: median 8 (7), lowest 7 (6); dent: median 10 (10), lowest 6 (8)
    assert pick_examples(kinds, anomalous, scores) == [2, 1, 6, 7, 8, 10]
    assert pick_examples(kinds, anomalous, scores, limit=4) == [2, 1, 7, 10]
    assert pick_examples(["good"], [False], [1.0]) == [0]
    assert pick_examples([], [], []) == []
