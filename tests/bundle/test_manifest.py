"""A manifest says the same after reading and writing, and a wrong one is refused by the key that is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import MANIFEST_NAME, Manifest, canonical, digest, is_canonical, parse
from edge_ad.bundle.names import MAX_NAME_CHARS, check_names
from edge_ad.errors import EdgeAdError, SchemaError, TraversalError, UsageError

TARGET = "openvino-cpu"


def raw(data: object) -> bytes:
    return json.dumps(data).encode()


def test_a_manifest_reads_back_as_it_was_written(sample) -> None:
    manifest = parse(canonical(sample.manifest))
    assert manifest == sample.manifest
    assert canonical(manifest) == canonical(sample.manifest)


def test_the_digest_does_not_depend_on_how_the_manifest_was_written(sample) -> None:
    data = dict(reversed(sample.data.items()))
    assert digest(parse(json.dumps(data, indent=3).encode())) == digest(sample.manifest)
    assert digest(parse(raw(sample.data | {"name": "other"}))) != digest(sample.manifest)


def test_the_canonical_form(sample) -> None:
    named = sample.manifest.model_copy(update={"name": "Gehäuse"})
    written = canonical(named)
    assert b'"name":"Geh\\u00e4use"' in written
    assert parse(written).name == "Gehäuse"
    assert is_canonical(written)
    assert not is_canonical(written + b"\n")
    assert not is_canonical(raw(sample.data))
    assert not is_canonical(written.replace(b'{"', b'{"name":"x","', 1))
    assert not is_canonical(b'{"a":NaN}')
    assert not is_canonical(b"{")


def test_a_manifest_of_a_newer_minor_form_would_stay_canonical() -> None:
    """So that bundles written before a key existed keep their bytes and their digest."""
    assert is_canonical(b'{"known":1,"later":{"a":[1.5,null]}}')


BAND = {"lower": 0.4, "upper": 0.7, "stability": 0.9, "expected_rate": 0.1, "n": 19, "method": "exceed"}


def _with_band(sample, **changes: Any) -> dict[str, Any]:
    data = copy.deepcopy(sample.data)
    data["payloads"][0]["thresholds"]["rejection"] = {**BAND, **changes}
    return data


def test_a_rejection_band_stands_in_the_manifest(sample) -> None:
    manifest = parse(raw(_with_band(sample)))
    thresholds = manifest.payloads[0].thresholds
    assert thresholds is not None and thresholds.rejection is not None
    assert thresholds.rejection.model_dump() == BAND
    assert parse(canonical(manifest)) == manifest
    assert digest(manifest) != digest(sample.manifest)


def test_a_bundle_without_a_band_is_written_as_before_there_were_bands(sample) -> None:
    """Devices whose runtime refuses unknown keys still read it."""
    assert b"rejection" not in canonical(sample.manifest)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lower": 0.6}, "thresholds: .*the rejection band does not hold the compiled threshold"),
        ({"upper": 0.4}, "thresholds: .*the rejection band does not hold the compiled threshold"),
        ({"upper": "inf"}, "thresholds.rejection.upper"),
        ({"stability": 0.5}, "thresholds.rejection.stability"),
        ({"stability": 1.0}, "thresholds.rejection.stability"),
        ({"method": "guess"}, "thresholds.rejection.method"),
    ],
)
def test_a_band_that_cannot_be_is_refused(sample, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=f"manifest key payloads.0.{text}"):
        parse(raw(_with_band(sample, **changes)))


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (["schema"], "edge-ad/bundle/2", "unknown bundle schema edge-ad/bundle/2; this version reads edge-ad/bundle/1"),
        (["schema"], None, "unknown bundle schema None"),
        (["name"], "", "manifest key name"),
        (["name"], "a\x1b[2Jb", "manifest key name"),
        (["surprise"], 1, "manifest key surprise: Extra inputs"),
        (["payloads"], [], "manifest key payloads"),
        (["files", "report/report.html", "size"], -1, r"manifest key files.report/report.html.size"),
        (["files", "report/report.html", "sha256"], "AB" * 32, r"manifest key files.report/report.html.sha256"),
        (["input", "shape"], [1, 0, 64, 64], "manifest key input.shape.1"),
        (["input", "modality"], "smell", "manifest key input.modality"),
        (["payloads", 0, "precision"], "int3", "manifest key payloads.0.precision"),
        (["payloads", 0, "thresholds", "compiled", "value"], "inf", "payloads.0.thresholds.compiled.value"),
        (["payloads", 0, "thresholds", "float", "expected_rate"], 1.5, "payloads.0.thresholds.float.expected_rate"),
        (["payloads", 0, "golden", "rtol"], -0.1, "payloads.0.golden.rtol"),
        (["payloads", 0, "decisions"], ["\x1b]0;x\x07"], "payloads.0.decisions.0"),
        (["payloads", 0, "model"], "gone.xml", "payload 'openvino-cpu' names gone.xml, which the bundle lacks"),
        (["payloads", 0, "golden", "file"], "../up", r"names \.\./up, which the bundle lacks"),
        (["payloads", 0, "files"], ["report/report.html"], "does not list its model"),
        (["report"], "gone.html", "the report gone.html is missing"),
    ],
)  # fmt: skip
def test_a_wrong_manifest_is_refused_by_its_key(sample, path: list[Any], value: Any, text: str) -> None:
    data = copy.deepcopy(sample.data)
    inner: Any = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(SchemaError, match=text) as caught:
        parse(raw(data), where="part.edgead")
    assert str(caught.value).startswith("part.edgead: ")
    assert str(caught.value).isprintable()


def test_a_payload_without_normal_data_has_no_threshold_until_one_is_named(sample) -> None:
    data = copy.deepcopy(sample.data)
    data["payloads"][0] |= {"thresholds": None, "drift": None}
    payload = parse(raw(data)).payload()
    assert payload.threshold(0.25) == 0.25
    with pytest.raises(
        UsageError, match=r"has no threshold: it was compiled without normal data; give --threshold"
    ):
        payload.threshold()
    assert sample.manifest.payload().threshold() == 0.5
    data["payloads"][0]["thresholds"] = {
        "float": None,
        "compiled": sample.data["payloads"][0]["thresholds"]["float"],
    }
    assert parse(raw(data)).payload().threshold() == 0.5


def test_parts_of_a_budget_are_kept(sample) -> None:
    data = copy.deepcopy(sample.data)
    data["payloads"][0]["budget"]["parts"] = {"arena": 768}
    written = canonical(parse(raw(data)))
    assert b'"parts":{"arena":768}' in written
    assert parse(written).payload().budget.parts == {"arena": 768}


def test_two_payloads_for_one_target(sample) -> None:
    data = sample.data | {"payloads": sample.data["payloads"] * 2}
    with pytest.raises(SchemaError, match="two payloads for one target"):
        parse(raw(data))


@pytest.mark.parametrize("name", ["../up", "/abs", MANIFEST_NAME, "Report/report.html"])
def test_a_listed_file_with_a_bad_name(sample, name: str) -> None:
    data = sample.data
    data["files"] = {**data["files"], name: {"sha256": "0" * 64, "size": 0}}
    with pytest.raises(TraversalError, match="member name"):
        parse(raw(data))


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), b"\xff", object(), {1, 2}, {1: 0, "a": 0}, "\ud800"],
    ids=["nan", "inf", "bytes", "object", "set", "mixed-keys", "surrogate"],
)
def test_parameters_that_json_cannot_hold(sample, value: object) -> None:
    head = sample.manifest.payloads[0].head.model_copy(update={"params": {"x": [value]}})
    payload = sample.manifest.payloads[0].model_copy(update={"head": head})
    try:
        written = canonical(sample.manifest.model_copy(update={"payloads": [payload]}))
    except SchemaError as error:
        assert "cannot be written as JSON" in str(error)
    else:
        assert canonical(parse(written)) == written


def test_a_payload_is_found_by_its_target(sample) -> None:
    manifest = sample.manifest
    assert manifest.payload().target == manifest.payload(TARGET).target == TARGET
    with pytest.raises(SchemaError, match="no payload for target 'jetson'; this bundle holds: openvino-cpu"):
        manifest.payload("jetson")
    two = manifest.model_copy(
        update={"payloads": [manifest.payloads[0], manifest.payloads[0].model_copy(update={"target": "b"})]}
    )
    assert two.payload("b").target == "b"
    with pytest.raises(SchemaError, match="no target was named; this bundle holds: openvino-cpu, b"):
        two.payload()


@pytest.mark.parametrize(
    "names",
    [
        ["manifest.json", "a/b/c.npz", "a/b.npz", "_x", "v1.2+cpu-3", "B"],
        ["a" * MAX_NAME_CHARS],
        ["a", "a.b", "a-b", "ab/c"],
    ],
)
def test_ordinary_names(names: list[str]) -> None:
    check_names(names)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([""], "is empty"),
        (["/a"], "is absolute"),
        (["a/../b"], "leads out"),
        (["a" * (MAX_NAME_CHARS + 1)], "longer than 200"),
        (["a\n"], "is not made of"),
        (["a", "a"], "comes twice"),
        (["a/B", "a/b"], "but for case"),
        (["A/x", "a/y"], "but for case"),
        (["a/b", "A"], "but for case"),
        (["a/b/c", "a/b"], "lies in another file"),
        (["a", "a/b/c"], "lies in another file"),
    ],
)
def test_names_that_cannot_be_members(names: list[str], text: str) -> None:
    with pytest.raises(TraversalError, match=text) as caught:
        check_names(names, where="part.edgead")
    assert str(caught.value).isprintable()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in `value` with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def holds(check: Callable[[], Manifest]) -> None:
    """`check` raises ours, in one printable line, or gives a manifest that can be written and read."""
    try:
        manifest = check()
    except EdgeAdError as error:
        assert str(error).isprintable()
    else:
        assert canonical(parse(canonical(manifest))) == canonical(manifest)


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_value_anywhere_is_taken_or_refused(sample, data: st.DataObject) -> None:
    changed = copy.deepcopy(sample.data)
    container, key = data.draw(st.sampled_from(places(changed)))
    container[key] = data.draw(json_values)
    holds(lambda: parse(raw(changed)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=60) | json_values.map(raw))
def test_any_bytes_are_taken_or_refused(content: bytes) -> None:
    with pytest.raises(SchemaError) as caught:
        parse(content)
    assert str(caught.value).isprintable()
