"""Results as JUnit XML, in the form that pytest writes and Jenkins reads: a test suite for each device, a test case for
each bundle and check, with what was tested as properties."""

from __future__ import annotations

import re
import socket
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from edge_ad.rig.config import Rig
from edge_ad.rig.outcome import Outcome

# What XML 1.0 cannot hold.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(rig: Rig, outcomes: Sequence[Outcome]) -> bytes:
    """The file's content. Failures of quality and parity are failures, what could not be checked is an error."""
    root = ET.Element("testsuites", name=_text(rig.name))
    devices = dict.fromkeys(outcome.device for outcome in outcomes)
    for device in devices:
        _suite(root, rig, device, [outcome for outcome in outcomes if outcome.device == device])
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _suite(root: ET.Element, rig: Rig, device: str, outcomes: Sequence[Outcome]) -> None:
    counts = {status: sum(o.status == status for o in outcomes) for status in ("failed", "error", "skipped")}
    suite = ET.SubElement(
        root, "testsuite", name=_text(f"{rig.name}.{device}"), tests=str(len(outcomes)),
        failures=str(counts["failed"]), errors=str(counts["error"]), skipped=str(counts["skipped"]),
        time=f"{sum(o.seconds for o in outcomes):.3f}",
        timestamp=datetime.now(timezone.utc).isoformat(timespec="seconds"), hostname=_text(socket.gethostname()),
    )  # fmt: skip
    for outcome in outcomes:
        case = ET.SubElement(
            suite, "testcase", classname=_text(f"{rig.name}.{device}"),
            name=_text(f"{outcome.bundle}.{outcome.check}"), time=f"{outcome.seconds:.3f}",
        )  # fmt: skip
        _properties(case, {**outcome.properties, **_short(outcome.figures)})
        message = _text(outcome.message)
        if outcome.status == "failed":
            ET.SubElement(case, "failure", message=message, type=str(outcome.kind)).text = message
        elif outcome.status == "error":
            ET.SubElement(case, "error", message=message).text = message
        elif outcome.status == "skipped":
            ET.SubElement(case, "skipped", message=message, type="pytest.skip").text = message


def _properties(case: ET.Element, found: Mapping[str, object]) -> None:
    if found:
        properties = ET.SubElement(case, "properties")
        for name, value in found.items():
            ET.SubElement(properties, "property", name=_text(name), value=_text(str(value)))


def _short(figures: Mapping[str, object]) -> dict[str, object]:
    """Figures that are one number or text."""
    return {k: v for k, v in figures.items() if isinstance(v, (str, int, float))}


def _text(value: str) -> str:
    return _FORBIDDEN.sub("?", value)
