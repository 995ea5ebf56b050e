import numpy as np
import pytest

from edge_ad.bundle.manifest import Thresholds
from edge_ad.errors import DataError, QualityError
from edge_ad.metrics.drift import drift
from edge_ad.metrics.threshold import calibrate_threshold

FLOAT = np.array([1.0, 2.0, 3.0, 4.0])


def thresholds(before, after, rate=0.25):
    return Thresholds(float_=calibrate_threshold(before, rate), compiled=calibrate_threshold(after, rate))


def test_a_pure_offset_moves_the_scores_and_recalibration_undoes_it():
    after = FLOAT + 1.0
    result = drift(FLOAT, after, thresholds(FLOAT, after))  # float threshold 4, compiled threshold 5
    assert result.n == 4
    assert result.rank_correlation == pytest.approx(1.0)
    assert result.mean_shift == pytest.approx(1 / FLOAT.std(ddof=1))
    assert result.spread == pytest.approx(0.0)
    assert result.false_alarms_kept == 0.25  # 5 > 4
    assert result.flips_kept == 0.25
    assert result.false_alarms_recalibrated == 0.0
    assert result.flips_recalibrated == 0.0


def test_every_figure_by_hand():
    after = np.array([1.5, 3.5, 3.0, 2.0])
    result = drift(FLOAT, after, thresholds(FLOAT, after, 0.4))  # rank 3 of 4: 3.0 and 3.0
    unit = np.sqrt(5 / 3)
    assert result.rank_correlation == pytest.approx(1 - 6 * (0 + 4 + 0 + 4) / (4 * 15))
    assert result.mean_shift == pytest.approx(0.0)
    assert result.spread == pytest.approx(np.std([0.5, 1.5, 0.0, -2.0], ddof=1) / unit)
    # float alarms: only the last; compiled alarms at either threshold: only the second
    assert result.flips_kept == result.flips_recalibrated == 0.5
    assert result.false_alarms_kept == result.false_alarms_recalibrated == 0.25


def test_scores_without_a_spread_or_a_partner_are_refused():
    good = thresholds(FLOAT, FLOAT)
    with pytest.raises(QualityError, match="float scores"):
        drift(np.ones(4), FLOAT, good)
    with pytest.raises(QualityError, match="compiled scores"):
        drift(FLOAT, np.ones(4), good)
    with pytest.raises(QualityError, match="got 1 alike"):
        drift([1.0], [1.0], good)
    with pytest.raises(DataError, match="4 float scores but 3"):
        drift(FLOAT, FLOAT[:3], good)
