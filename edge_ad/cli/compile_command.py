"""`edge-ad compile`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from edge_ad.cli.options import Rate, out, stages


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "target_names", multiple=True, required=True,
              help="Device to compile for; may be given several times. See: edge-ad targets.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), required=True,
              help="The folder that the model was fitted on; test/ is read for the report only.")  # fmt: skip
@click.option("--max-false-alarms", type=Rate(), required=True,
              help="Share of good parts that may raise an alarm, e.g. 0.01 or 1%.")  # fmt: skip
@click.option(
    "--out", "out_", type=click.Path(path_type=Path), required=True, help="Bundle to write, NAME.edgead."
)
@click.option("--precision", type=click.Choice(["int8", "fp32"]), default="int8", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON (docs/report.md).")
def command(
    model: Path, target_names: tuple[str, ...], data: Path, max_false_alarms: float, out_: Path,
    precision: str, as_json: bool,
) -> None:  # fmt: skip
    """Compile a fitted detector into one bundle.

    The network is exported, proved equal to the fitted one, quantized on held-back normal images, and its
    threshold calibrated anew for the compiled form. Beside NAME.edgead a report NAME.html is written.
    """
    from edge_ad import targets
    from edge_ad.compile.pipeline import compile_bundle
    from edge_ad.compile.report.model import report_json

    chosen = [targets.get(name) for name in target_names]
    # Libraries that print belong on standard error: standard output is the report's.
    with stages() as stage, contextlib.redirect_stdout(sys.stderr):
        made = compile_bundle(
            model, chosen, data, out_, max_false_alarms=max_false_alarms, precision=precision, stage=stage  # type: ignore[arg-type]
        )  # fmt: skip
    if as_json:
        click.echo(report_json(made.report))
        return
    from edge_ad.compile.report.verdict import verdict

    for payload in made.report.payloads:
        text = verdict(payload, made.report.timing(payload.target))
        out.print(f"[bold]{payload.target}[/bold] ({payload.precision}, {payload.isa})")
        for point in (text.headline, *text.points):
            out.print(f"  - {point.text}", soft_wrap=True, markup=False)
    out.print(f"bundle {made.bundle} {made.digest}", soft_wrap=True)
    out.print(f"report {made.html}", soft_wrap=True)
