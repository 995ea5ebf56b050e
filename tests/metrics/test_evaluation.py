import numpy as np
import pytest

from edge_ad.bundle.manifest import Thresholds
from edge_ad.errors import DataError
from edge_ad.metrics.aupro import au_pro
from edge_ad.metrics.evaluation import TestFigures, evaluate_test, proportion
from edge_ad.metrics.ranking import auroc
from edge_ad.metrics.threshold import calibrate_threshold, predictive_interval

CALIBRATION = np.linspace(0, 1, 99)
# the compiled network adds 0.5 to every score
THRESHOLDS = Thresholds(
    float_=calibrate_threshold(CALIBRATION, 0.05), compiled=calibrate_threshold(CALIBRATION + 0.5, 0.05)
)
NORMAL = np.array([0.2, 0.4, 0.6, 0.8, 0.99])
DEFECT = np.array([0.9, 1.5, 2.0])
SCORES = np.r_[NORMAL, DEFECT]
LABELS = np.r_[np.zeros(5), np.ones(3)]


def test_figures_of_a_shifted_network_by_hand():
    figures = evaluate_test(
        labels=LABELS, float_scores=SCORES, compiled_scores=SCORES + 0.5, thresholds=THRESHOLDS
    )
    assert (figures.n_normal, figures.n_anomalous) == (5, 3)
    alarms = figures.false_alarms
    assert (alarms.float_.count, alarms.kept.count, alarms.recalibrated.count) == (1, 3, 1)
    assert (alarms.kept.rate, alarms.kept.n) == (0.6, 5)
    assert alarms.predicted == predictive_interval(THRESHOLDS.compiled, 5)
    assert alarms.within == (alarms.predicted[1] >= 0.2)
    recall = figures.recall
    assert (recall.float_.count, recall.kept.count, recall.recalibrated.count) == (2, 3, 2)
    assert (figures.flips_kept.count, figures.flips_recalibrated.count) == (3, 0)
    assert figures.flips_kept.n == 8
    assert figures.auroc_float == figures.auroc_compiled == auroc(LABELS, SCORES)
    assert figures.auroc_change.value == 0.0
    assert figures.aupro_float is None


def test_aupro_is_passed_through():
    mask = np.eye(8)
    area = au_pro(lambda: [(mask * 2, mask)])
    figures = evaluate_test(
        labels=LABELS,
        float_scores=SCORES,
        compiled_scores=SCORES,
        thresholds=THRESHOLDS,
        more={"aupro_float": area, "aupro_compiled": area},
    )
    assert figures.aupro_float == figures.aupro_compiled == area


def test_a_rate_outside_what_the_calibration_predicts_is_said():
    bad = np.full(40, 2.0)
    figures = evaluate_test(labels=np.zeros(40), float_scores=bad, compiled_scores=bad, thresholds=THRESHOLDS)
    assert figures.false_alarms.recalibrated.rate == 1.0
    assert not figures.false_alarms.within


@pytest.mark.parametrize("anomalous", [0, 1])
def test_test_data_of_one_class_gives_what_it_can(anomalous):
    figures = evaluate_test(
        labels=np.full(5, anomalous), float_scores=NORMAL, compiled_scores=NORMAL, thresholds=THRESHOLDS
    )
    assert figures.auroc_float is figures.auroc_compiled is figures.auroc_change is None
    assert (figures.false_alarms is None) == bool(anomalous)
    assert (figures.recall is None) == (not anomalous)


def test_survives_json():
    figures = evaluate_test(
        labels=LABELS, float_scores=SCORES, compiled_scores=SCORES + 0.5, thresholds=THRESHOLDS
    )
    assert TestFigures.model_validate_json(figures.model_dump_json()) == figures


def test_proportion_is_exact():
    nothing = proportion(0, 20)
    assert nothing.rate == 0.0
    assert nothing.interval == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    assert proportion(20, 20).interval == pytest.approx((0.025 ** (1 / 20), 1.0))
    for count, n in ((0, 0), (-1, 4), (5, 4)):
        with pytest.raises(DataError):
            proportion(count, n)


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="labels have shape"):
        evaluate_test(labels=[0], float_scores=[1, 2], compiled_scores=[1, 2], thresholds=THRESHOLDS)
    with pytest.raises(DataError, match="not finite"):
        evaluate_test(labels=[0, 1], float_scores=[1, np.inf], compiled_scores=[1, 2], thresholds=THRESHOLDS)
