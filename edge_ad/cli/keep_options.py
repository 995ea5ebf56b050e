"""The options that say which layers stay in higher precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_ad.errors import UsageError

if TYPE_CHECKING:
    from edge_ad.compile.sensitivity.agreement import Tolerance

AUTO = "auto"
Command = TypeVar("Command", bound=Callable[..., Any])


def keep_options(command: Command) -> Command:
    """Adds --keep and --max-score-drift; the other tolerance, --max-auroc-drop, is of `budget_options`."""
    for option in reversed(
        (
            click.option("--keep", multiple=True, metavar="LAYER",
                         help="Layer, module or pattern (mixers.3.up, decoder, '*.sum') that stays in higher precision "
                         "in an int8 form, on boards in 16 bits; may be given several times. auto: search the cheapest "
                         "set that holds the tolerance."),
            click.option("--max-score-drift", type=click.FloatRange(0, min_open=True), metavar="SPREAD",
                         help="Tolerance of --keep auto: spread of the scores' shift, in their standard deviations "
                         "(default 0.1)."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def keep_of(
    keep: tuple[str, ...], max_score_drift: float | None, max_auroc_drop: float | None
) -> tuple[str, ...] | Tolerance:
    """The layers named, or the tolerance of a search. Raises UsageError for options that do not go together."""
    if AUTO not in keep:
        if max_score_drift is not None or max_auroc_drop is not None:
            raise UsageError("a tolerance is for --keep auto", hint="add it, or leave the tolerance away")
        return keep
    if len(keep) > 1:
        raise UsageError("--keep auto chooses by itself", hint="name layers, or auto, not both")
    from edge_ad.compile.sensitivity.agreement import Tolerance

    tolerance = Tolerance(auroc_drop=max_auroc_drop)
    return tolerance if max_score_drift is None else Tolerance(max_score_drift, max_auroc_drop)
