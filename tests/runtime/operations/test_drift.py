"""The drift monitor: silent on what looks like the calibration, soon awake on what does not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge_ad.bundle.manifest import ScoreQuantiles
from edge_ad.runtime.operations.drift import Drift, DriftMonitor

Scores = npt.NDArray[np.float64]
N = 200


def reference(scores: Scores) -> ScoreQuantiles:
    return ScoreQuantiles(n=len(scores), values=np.quantile(scores, np.linspace(0, 1, 33)).tolist())


def watched(monitor: DriftMonitor, scores: Scores) -> list[Drift]:
    return [found for score in scores if (found := monitor.add(float(score))) is not None]


def test_the_distance_is_that_of_kolmogorov_and_smirnov() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.3, 1.0, 3.0):
        calibration, window = rng.gumbel(size=2000), rng.gumbel(shift, 1, 500)
        (found,) = watched(DriftMonitor(reference(calibration)), window)
        assert found.distance == pytest.approx(stats.ks_2samp(calibration, window).statistic, abs=1 / 32)


def test_scores_like_the_calibrations_raise_no_alarm_also_when_they_depend_on_each_other() -> None:
    rng = np.random.default_rng(1)
    alarms = {"independent": 0, "correlated": 0}
    for _ in range(100):
        noise = rng.normal(size=20_000 + N)
        walk = np.empty_like(noise)
        walk[0] = noise[0]
        for i in range(1, len(noise)):  # correlation 0.9 from frame to frame
            walk[i] = 0.9 * walk[i - 1] + np.sqrt(1 - 0.81) * noise[i]
        for name, scores in (("independent", noise), ("correlated", walk)):
            monitor = DriftMonitor(reference(rng.normal(size=N)))
            alarms[name] += any(found.drifted for found in watched(monitor, scores[N:]))
    assert alarms["independent"] == 0 and alarms["correlated"] <= 2, (
        alarms
    )  # of 100 streams of 40 windows each


@pytest.mark.parametrize(("shift", "direction"), [(1.5, "higher"), (-1.5, "lower")])
def test_a_shift_is_said_after_two_windows_and_taken_back_after_two(shift: float, direction: str) -> None:
    rng = np.random.default_rng(2)
    monitor = DriftMonitor(reference(rng.normal(size=N)))
    parts = [rng.normal(size=1000), rng.normal(shift, 1, 1500), rng.normal(size=1500)]
    found = watched(monitor, np.concatenate(parts))
    assert [drift.drifted for drift in found] == [False, False, False, True, True, True, False, False]
    assert found[3].direction == direction and found[3].distance > 0.4


def test_one_odd_window_and_the_anomalies_of_an_event_are_no_drift() -> None:
    rng = np.random.default_rng(3)
    monitor = DriftMonitor(reference(rng.normal(size=N)))
    scores = rng.normal(size=5000)
    scores[1000:1500] += 5
    for begin in range(2000, 5000, 500):
        scores[begin : begin + 75] += 9  # 15 % of each window
    assert not any(found.drifted for found in watched(monitor, scores))


def test_scores_that_are_all_equal_are_like_a_calibration_whose_scores_were() -> None:
    monitor = DriftMonitor(reference(np.zeros(50)))
    assert all(found.distance == 0 for found in watched(monitor, np.zeros(1000)))
