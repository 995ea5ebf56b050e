import re
from html.parser import HTMLParser

import matplotlib
import pytest

from edge_ad.compile.report.html import draw, render
from edge_ad.errors import DataError

HOSTILE = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>{{ 7 * 7 }}"
VOID = {"meta", "img", "source", "br"}


class Page(HTMLParser):
    """The document's tags with their attributes, its text, and whether every tag was closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page(case):
    return Page(render(case.report, draw(case.report, [case.figures])))


@pytest.fixture(scope="module")
def timed(case):
    return case.report.model_copy(update={"measurement": [case.timing]})


def changed(report, **fields):
    payload = report.payloads[0].model_copy(update=fields)
    return report.model_copy(update={"payloads": [payload]})


def test_the_same_report_gives_the_same_bytes_whatever_the_user_set_in_matplotlib(case):
    first = render(case.report, draw(case.report, [case.figures]))
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "savefig.dpi": 50}):
        assert render(case.report, draw(case.report, [case.figures])) == first


def test_it_needs_nothing_but_itself(page):
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "data:image/png;base64,").startswith("data:image/png;base64,")
        assert not [name for name in attributes if name.startswith("on")]


def test_pictures_have_texts_and_tables_have_headers(page):
    pictures = [a for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 2 + 8  # histogram, ROC, examples
    assert all(len(a["alt"]) > 20 for a in pictures)
    assert all(a["scope"] in ("row", "col") for tag, a in page.tags if tag == "th")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert ("html", {"lang": "en"}) in page.tags


def test_it_opens_with_the_verdict_and_holds_the_figures(case, page):
    payload = case.report.payloads[0]
    text = page.text.replace("\u00a0", " ")
    assert text.index("Keeps its false-alarm budget of 5 %") < text.index(
        "Scores of good and of defective parts"
    )
    alarms = payload.test.false_alarms
    for needed in (
        "flange-line-3",
        f"{payload.thresholds.float_.value:.5g}",
        f"{payload.thresholds.compiled.value:.5g}",
        "rank 58 of 60 images",
        f"{alarms.kept.count} of 40 = {100 * alarms.kept.rate:.3g} %",
        f"{payload.test.auroc_compiled.value:.3f}",
        f"{payload.drift.rank_correlation:.4f}",
        "1.23 MB",
        "440 M",
        "an 8-bit score is a defect",
        "The teacher was never trained.",
        "chip 6, crack 6",
        "Glossary",
        "false alarm)",
        "ab" * 32,
        "openvino 2026.4.0",
    ):
        assert needed in text, needed


def test_timings_are_shown_only_when_they_were_handed_in(case, timed):
    without = Page(render(case.report)).text.lower()
    assert "latency" not in without and "faster" not in without.split("glossary")[0] and " ms" not in without
    with_ = Page(render(timed)).text.replace("\u00a0", " ")
    for needed in ("3.6 times as fast", "9.4 ms", "2.6 ms", "3.61", "medians of 15 pairs", "avx512-vnni"):
        assert needed in with_, needed


def test_the_digest_is_shown_when_known(case):
    named = case.report.bundle.model_copy(update={"digest": "ef" * 32})
    assert "ef" * 32 in render(case.report.model_copy(update={"bundle": named}))
    assert "Bundle digest" not in render(case.report)


def test_names_from_outside_are_shown_as_text(case):
    bundle = case.report.bundle.model_copy(update={"name": HOSTILE})
    data = case.report.data.model_copy(update={"test_kinds": {HOSTILE: 3}})
    teacher = case.report.detector.teacher.model_copy(update={"source": HOSTILE})
    detector = case.report.detector.model_copy(update={"teacher": teacher})
    report = case.report.model_copy(
        update={"bundle": bundle, "data": data, "detector": detector, "tools": {HOSTILE: HOSTILE}}
    )
    report = changed(report, warnings=[HOSTILE], isa=HOSTILE)
    item = case.figures.examples[0]
    example = type(item)(**{**vars(item), "name": HOSTILE, "kind": HOSTILE})
    figures = type(case.figures)(**{**vars(case.figures), "examples": [example]})
    text = render(report, draw(report, [figures]))
    assert (
        "<script" not in text and "<img src=x" not in text and "49" not in re.findall(r"onerror.{40}", text)
    )
    page = Page(text)
    assert page.text.count("{{ 7 * 7 }}") >= 8
    assert HOSTILE in next(a["alt"] for tag, a in page.tags if tag == "img" and "onerror" in a["alt"])


def test_without_test_images_it_says_so_and_stays_whole(case):
    figures = type(case.figures)(
        target=case.figures.target,
        normal_float=case.figures.normal_float,
        normal_compiled=case.figures.normal_compiled,
    )
    report = changed(case.report, test=None, parity=None)
    page = Page(render(report, draw(report, [figures])))
    assert "not tested on labelled images" in page.text
    assert "On labelled test images" not in page.text.replace("not tested on", "")
    assert [a["alt"][:14] for tag, a in page.tags if tag == "img"] == ["Two histograms"]


def test_figures_of_an_unknown_target_are_refused(case):
    figures = type(case.figures)(**{**vars(case.figures), "target": "toaster"})
    with pytest.raises(DataError, match="'toaster'"):
        draw(case.report, [figures])


def test_several_payloads_each_get_a_section(case):
    payload = case.report.payloads[0]
    other = payload.model_copy(update={"target": "jetson", "precision": "fp32"})
    report = case.report.model_copy(update={"payloads": [payload, other]})
    page = Page(render(report, draw(report, [case.figures])))
    assert [a["id"] for tag, a in page.tags if tag == "h2" and "id" in a] == ["payload-1", "payload-2"]
    assert "jetson, FP32" in page.text
