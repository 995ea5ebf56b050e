import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_ad.compile.report.fields import MARKER, field_tables, update
from edge_ad.compile.report.model import SCHEMA, Measurement, Report, report_json

DOCUMENT = Path(__file__).parents[3] / "docs" / "report.md"

MINIMAL = {
    "schema": SCHEMA,
    "bundle": {"name": "part"},
    "detector": {"name": "efficientad", "preset": "micro", "version": 1, "input_shape": [1, 3, 64, 64]},
    "data": {"fit": 40, "calibration": 6, "threshold": 14},
    "payloads": [
        {
            "target": "openvino-cpu",
            "engine": "openvino",
            "engine_version": "2026.4",
            "provider": "CPU",
            "precision": "int8",
            "isa": "avx512-vnni",
            "threads": 1,
            "files": [],
            "thresholds": {
                form: {
                    "value": 0.5,
                    "requested_rate": 0.1,
                    "expected_rate": 0.0667,
                    "interval": [0.0, 0.2],
                    "n": 14,
                    "rank": 14,
                }
                for form in ("float", "compiled")
            },
            "drift": {
                "n": 14,
                "rank_correlation": 0.9,
                "mean_shift": 0.0,
                "spread": 0.1,
                "flips_kept": 0.0,
                "flips_recalibrated": 0.0,
                "false_alarms_kept": 0.0,
                "false_alarms_recalibrated": 0.0,
            },
            "budget": {"flash_bytes": 1, "ram_bytes": 1, "macs": 1, "parameters": 1},
        }
    ],
}


def test_the_document_is_current():
    text = DOCUMENT.read_text()
    assert text.partition(MARKER)[2].strip() == field_tables().strip(), (
        "run: python -m edge_ad.compile.report.fields docs/report.md"
    )


def test_the_document_names_every_key_that_the_json_can_hold():
    text = DOCUMENT.read_text()
    schema = Report.model_json_schema(by_alias=True)
    keys = set(schema["properties"]) | {k for d in schema["$defs"].values() for k in d.get("properties", {})}
    assert {key for key in keys if f"| `{key}` |" not in text} == set()


def test_updating_keeps_what_stands_above_the_marker(tmp_path):
    document = tmp_path / "x.md"
    document.write_text(f"# Mine\n{MARKER}stale\n")
    update(document)
    assert document.read_text().startswith(f"# Mine\n{MARKER}\n## Report\n")
    assert "stale" not in document.read_text()


def test_json_uses_the_documented_keys_and_reads_back():
    report = Report.model_validate(MINIMAL)
    data = json.loads(report_json(report))
    assert data["schema"] == SCHEMA
    assert set(data["payloads"][0]["thresholds"]) == {"float", "compiled"}
    assert data["measurement"] is None
    assert data["payloads"][0]["test"] is None
    assert Report.model_validate_json(report_json(report)) == report


def test_a_typo_or_an_infinite_figure_is_refused():
    with pytest.raises(ValidationError):
        Report.model_validate({**MINIMAL, "measurment": []})
    with pytest.raises(ValidationError):
        Measurement(target="x", float_us=1, compiled_us=1, ratio=float("inf"), runs=1, threads=1, isa="avx2")


def test_timing_finds_the_payload():
    timing = Measurement(
        target="openvino-cpu", float_us=9, compiled_us=3, ratio=3.0, runs=5, threads=1, isa="x"
    )
    report = Report.model_validate(MINIMAL).model_copy(update={"measurement": [timing]})
    assert report.timing("openvino-cpu") == timing
    assert report.timing("other") is None
