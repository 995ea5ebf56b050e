"""The report's fields as Markdown tables, so that docs/report.md never lags behind the models."""

from __future__ import annotations

import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from edge_ad.bundle.manifest import Budget, Drift, Threshold, Thresholds
from edge_ad.compile.report.model import Report

MARKER = "<!-- fields -->\n"

# The manifest explains these in prose at the class; a table needs a line for each field.
_MANIFEST_FIELDS: dict[tuple[type[BaseModel], str], str] = {
    (Thresholds, "float_"): "what the float network would have used",
    (Thresholds, "compiled"): "the one in use",
    (Threshold, "value"): "a score strictly above this is an anomaly",
    (Threshold, "method"): "how it was chosen",
    (Threshold, "requested_rate"): "the highest false-alarm rate that was asked for",
    (Threshold, "expected_rate"): "false-alarm rate to expect on new good images, (n + 1 - rank) / (n + 1)",
    (Threshold, "interval"): "95 % interval of the true false-alarm rate",
    (Threshold, "n"): "held-back good images that it rests on",
    (Threshold, "rank"): "the threshold is the rank-th smallest of their scores",
    (Drift, "n"): "held-back good images compared",
    (Drift, "rank_correlation"): "Spearman's, float against compiled scores",
    (Drift, "mean_shift"): "mean of compiled - float, in standard deviations of the float scores",
    (Drift, "spread"): "standard deviation of compiled - float, in the same unit",
    (Drift, "flips_kept"): "share of verdicts that change, the float threshold kept",
    (Drift, "flips_recalibrated"): "share of verdicts that change, each form at its own threshold",
    (Drift, "false_alarms_kept"): "false-alarm rate on these images, the float threshold kept",
    (Drift, "false_alarms_recalibrated"): "false-alarm rate on these images, the compiled threshold",
    (Budget, "flash_bytes"): "storage for the payload's files",
    (Budget, "ram_bytes"): "weights and activations alive at once, an estimate",
    (Budget, "macs"): "multiply-accumulates an inference",
    (Budget, "parameters"): "weights and biases",
    (Budget, "limits"): "the target's limits, where it has any",
    (Budget, "fits"): "whether the payload keeps them",
    (Budget, "parts"): "what storage and memory are made of, in bytes, where that is known",
}


def field_tables(model: type[BaseModel] = Report) -> str:
    """A Markdown section with a table of fields for `model` and for each object inside it, in order."""
    return "\n".join(_section(found) for found in _models(model))


def _section(model: type[BaseModel]) -> str:
    summary = (model.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    rows = [f"## {model.__name__}", "", summary, "", "| field | type | meaning |", "| --- | --- | --- |"]
    hints = typing.get_type_hints(model)
    for name, field in model.model_fields.items():
        text = field.description or _MANIFEST_FIELDS[model, name]
        rows.append(f"| `{field.alias or name}` | {_type_name(hints[name])} | {text} |")
    return "\n".join(rows) + "\n"


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """`model` and every model inside it, each once, outermost first."""
    found = [model]
    for outer in found:  # grows while it is walked
        for hint in typing.get_type_hints(outer).values():
            found += [inner for inner in _nested(hint) if inner not in found]
    return found


def _nested(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _nested(argument)]


def _type_name(annotation: Any) -> str:
    """JSON's own name of a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(a) for a in arguments)
    if origin is Literal:
        return " or ".join(f'"{a}"' for a in arguments)
    if origin is list:
        return f"array of {_type_name(arguments[0])}"
    if origin is tuple:
        n = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"array of {n}{_type_name(arguments[0])}s"
    if origin is dict:
        return f"object, name to {_type_name(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    names: dict[Any, str] = {
        str: "string",
        int: "integer",
        float: "number",
        bool: "boolean",
        type(None): "null",
    }
    return names[annotation]


def update(document: Path) -> None:
    """Replace what follows the marker line in a Markdown file by the tables of today."""
    head, marker, _ = document.read_text().partition(MARKER)
    document.write_text(f"{head}{marker}\n{field_tables()}")


if __name__ == "__main__":
    update(Path(sys.argv[1]))
