import pytest

from edge_ad.compile.report import words
from edge_ad.compile.report.verdict import verdict
from edge_ad.metrics.evaluation import proportion
from edge_ad.metrics.ranking import AurocChange


def with_alarms(payload, count, predicted=(0.0, 0.15)):
    seen = proportion(count, 40)
    alarms = payload.test.false_alarms.model_copy(
        update={
            "recalibrated": seen,
            "predicted": predicted,
            "within": predicted[0] <= seen.rate <= predicted[1],
        }
    )
    return payload.model_copy(update={"test": payload.test.model_copy(update={"false_alarms": alarms})})


def texts(result, level):
    return " ".join(point.text for point in result.points if point.level == level).replace("\u00a0", " ")


@pytest.fixture
def payload(case):
    return case.report.payloads[0]


def test_a_budget_that_is_kept(payload):
    result = verdict(with_alarms(payload, 2))
    assert result.headline.level == "good"
    assert "Keeps its false-alarm budget of 5" in result.headline.text
    assert "on 40 good test images" in result.headline.text
    assert "it raised 2 (5 %); 0 % to 15 % was to be expected" in texts(result, "good")


def test_more_than_asked_but_within_chance_is_not_called_kept(payload):
    result = verdict(with_alarms(payload, 5))
    assert result.headline.level == "good"
    assert "in line with" in result.headline.text and "Keeps" not in result.headline.text


def test_a_budget_that_is_broken_is_the_headline(payload):
    result = verdict(with_alarms(payload, 9))
    assert result.headline.level == "bad"
    assert "More false alarms than the 5" in result.headline.text
    assert "22.5 %" in texts(result, "bad")


def test_fewer_alarms_than_expected_are_no_failure_but_worth_a_note(payload):
    result = verdict(with_alarms(payload, 0, predicted=(0.05, 0.3)))
    assert result.headline.level == "good"
    assert "Fewer than expected" in texts(result, "caution")


def test_an_untested_budget_is_not_called_kept(payload):
    result = verdict(payload.model_copy(update={"test": None}))
    assert result.headline.level == "caution"
    assert "not tested" in result.headline.text
    assert "was not measured" in texts(result, "caution")


def test_what_does_not_fit_says_so_first(payload):
    budget = payload.budget.model_copy(update={"fits": False})
    assert verdict(payload.model_copy(update={"budget": budget})).headline.text == "Does not fit its target"


@pytest.mark.parametrize(
    ("change", "level"), [(-0.02, "caution"), (-0.004, "good"), (0.01, "good"), (0.0, "good")]
)
def test_a_loss_of_accuracy_is_noted(payload, change, level):
    figures = payload.test.model_copy(
        update={"auroc_change": AurocChange(value=change, interval=(change - 0.01, change + 0.01))}
    )
    result = verdict(payload.model_copy(update={"test": figures}))
    assert [p.level for p in result.points if "AUROC" in p.text] == [level]


def test_defects_that_are_missed_are_noted(payload):
    recall = payload.test.recall.model_copy(update={"recalibrated": proportion(18, 36)})
    figures = payload.test.model_copy(update={"recall": recall})
    result = verdict(payload.model_copy(update={"test": figures}))
    assert "Of 36 anomalous test images it found 18 (50 %" in texts(result, "caution")


@pytest.mark.parametrize(
    ("ratio", "level", "text"),
    [(3.61, "good", "3.6 times as fast"), (1.0, "caution", "no faster"), (0.7, "caution", "slower")],
)
def test_int8_that_is_not_faster_is_reported_as_such(case, payload, ratio, level, text):
    timing = case.timing.model_copy(update={"ratio": ratio})
    assert text in texts(verdict(payload, timing), level)
    assert not any("faster" in p.text or "slower" in p.text for p in verdict(payload).points)


def test_float_payloads_are_not_said_to_be_quantized(payload):
    result = verdict(payload.model_copy(update={"precision": "fp32"}))
    everything = " ".join(p.text for p in result.points)
    assert "nothing was quantized" in everything and "INT8" not in everything


def test_a_threshold_on_few_images_is_a_caution(payload):
    assert "rests on 60 held-back good images" in texts(verdict(payload), "caution")
    steady = payload.thresholds.compiled.model_copy(update={"interval": (0.03, 0.07), "n": 900, "rank": 855})
    thresholds = payload.thresholds.model_copy(update={"compiled": steady})
    assert "rests on 900" in texts(verdict(payload.model_copy(update={"thresholds": thresholds})), "good")


def test_numbers_as_words():
    plain = {
        words.percent(0.0): "0 %",
        words.percent(0.01234): "1.23 %",
        words.percent(1.0): "100 %",
        words.signed(-0.0001): "0.000",
        words.signed(0.0126): "+0.013",
        words.milliseconds(3456): "3.46 ms",
        words.size(999): "999 B",
        words.size(999_999): "1 MB",
        words.size(1_234_567): "1.23 MB",
        words.count(15_310_000_000): "15.3 G",
        words.count(12): "12",
        words.some(1, "image"): "1 image",
    }
    assert [key.replace("\u00a0", " ") for key in plain] == list(plain.values())
