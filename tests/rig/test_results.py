"""Results as others read them: JUnit XML of pytest's form, JSON that its schema takes, a page that needs no other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from boards_here import require_board
from command_line import run_here
from pydantic import TypeAdapter
from rig_bundles import write_rig

from edge_ad.bundle.archive import open_bundle
from edge_ad.rig import Outcome, load_rig
from edge_ad.rig.outcome import exit_code
from edge_ad.rig.results.html import html_page
from edge_ad.rig.results.json import Results, as_data
from edge_ad.rig.results.junit import junit_xml

TESTS = """
import pytest
def test_passes(record_property): record_property("bundle_digest", "00")
def test_fails(): assert 0
def test_skips(): pytest.skip("why")
@pytest.fixture
def broken(): raise OSError("broken")
def test_errs(broken): pass
"""
GREW = {"flash_bytes": 9, "baseline": {"flash_bytes": 8}}


def outcomes() -> list[Outcome]:
    told = {"bundle_digest": "ab" * 32, "firmware": "0123456789abcdef", "board_serial": "B-7"}
    return [
        Outcome("live", "m4", "pump", "passed", None, "live", {"flashed": True}, told, 0.5),
        Outcome("parity", "m4", "pump", "failed", "parity", "differs <&> \x1b[31m", {"step": 3}, told, 1.25),
        Outcome("budget", "posix", "pump", "failed", "quality", "flash", GREW, told, 0.1),
        Outcome("link", "posix", "pump", "skipped", None, "is for boards", {}, {}, 0.0),
        Outcome("power", "posix", "pump", "error", "error", "no board", {}, {}, 0.0),
    ]  # fmt: skip


@pytest.fixture
def rig(tmp_path: Path):
    return load_rig(write_rig(tmp_path, {"m4": {"kind": "posix"}}, {"pump": tmp_path / "pump.edgead"}, ""))


def shape(root: ET.Element) -> dict[str, set[str]]:
    """Attributes of each element, by the path to it."""
    found: dict[str, set[str]] = {}

    def walk(element: ET.Element, path: str) -> None:
        found.setdefault(f"{path}/{element.tag}", set()).update(element.attrib)
        for child in element:
            walk(child, f"{path}/{element.tag}")

    walk(root, "")
    return found


def test_junit_has_the_elements_and_attributes_that_pytests_has(rig, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--junit-xml=theirs.xml",
        "test_it.py",
    ]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    theirs, ours = (
        shape(ET.parse(tmp_path / "theirs.xml").getroot()),
        shape(ET.fromstring(junit_xml(rig, outcomes()))),
    )
    assert set(ours) <= set(theirs), "an element that pytest does not write"
    for path, attributes in ours.items():
        extra = {"type"} if path.endswith("/failure") else set()  # in Jenkins' schema, and what it shows
        assert attributes - extra <= theirs[path], path
    required = (
        "/testsuites/testsuite",
        "/testsuites/testsuite/testcase",
        "/testsuites/testsuite/testcase/skipped",
    )
    assert all(ours[path] == theirs[path] for path in required)


def test_junit_tells_what_was_tested_and_counts_right(rig) -> None:
    root = ET.fromstring(junit_xml(rig, outcomes()))
    suites = {suite.get("name"): suite for suite in root}
    posix = suites["rig.posix"]
    assert [posix.get(k) for k in ("tests", "failures", "errors", "skipped")] == ["3", "1", "1", "1"]
    case = suites["rig.m4"][0]
    told = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert told["bundle_digest"] == "ab" * 32 and told["firmware"] == "0123456789abcdef"
    assert told["board_serial"] == "B-7" and told["flashed"] == "True"
    failure = suites["rig.m4"][1].find("failure")
    assert failure.get("message") == "differs <&> ?[31m" and failure.get("type") == "parity"


def test_json_is_what_its_schema_says(rig) -> None:
    data = json.loads(json.dumps(as_data(rig, outcomes()), allow_nan=False))
    assert Results.model_validate(data).exit_code == exit_code(outcomes()) == 4
    printed = json.loads(run_here("rig", "schema").out)
    assert printed == TypeAdapter(Results).json_schema(by_alias=True)
    assert set(printed["required"]) <= set(data) <= set(printed["properties"])


@pytest.mark.parametrize(("kinds", "code"), [([None], 0), (["error"], 1), (["error", "quality"], 3),
                                             (["quality", "parity", "error"], 4)])  # fmt: skip
def test_the_worst_outcome_is_the_exit_code(kinds: list, code: int) -> None:
    assert exit_code([Outcome("live", "m4", "pump", "failed", kind) for kind in kinds]) == code


def test_the_page_is_whole_by_itself_and_what_it_quotes_is_text(rig) -> None:
    page = html_page(rig, outcomes())

    class Reader(HTMLParser):
        """Keeps what is linked, and which elements are open."""

        links: list[str] = []  # noqa: RUF012
        stack: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list) -> None:
            self.links += [v for k, v in attrs if k in ("src", "srcset", "href")]
            if tag not in ("meta", "img", "br", "source"):
                self.stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.stack.pop() == tag

    reader = Reader()
    reader.feed(page)
    assert not reader.stack and reader.links
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert "differs &lt;&amp;&gt;" in page and "<&>" not in page
    assert "0123456789abcdef" in page and "B-7" in page


def test_a_run_writes_all_of_them(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    require_board("posix")
    pump = bundle_of("pump")
    checks = "[checks.parity]\n[checks.scores]\n[checks.endurance]\ninferences = 60\n"
    file = write_rig(tmp_path, {"one": {"kind": "posix"}}, {"pump": pump}, checks)
    file.write_text(
        file.read_text().replace('name = "pump"', f'name = "pump"\ndata = "{pump.with_suffix(".npy")}"')
    )
    done = run_here("rig", "run", file, "--junit", tmp_path / "rig.xml", "--html", tmp_path / "rig.html")
    assert done.code == 0, done.err
    assert re.search(r"one +pump +passed +passed +passed", done.out) and "3 passed" in done.out
    with open_bundle(pump) as bundle:
        digest = bundle.digest
    cases = list(ET.parse(tmp_path / "rig.xml").getroot().iter("testcase"))
    assert [case.get("name") for case in cases] == ["pump.parity", "pump.scores", "pump.endurance"]
    for case in cases:
        told = {p.get("name"): p.get("value") for p in case.iter("property")}
        assert told["bundle_digest"] == digest and told["board"] == "posix" and len(told["firmware"]) == 16
    page = (tmp_path / "rig.html").read_text()
    assert "Scores of pump on one" in page and "Endurance of pump on one" in page
