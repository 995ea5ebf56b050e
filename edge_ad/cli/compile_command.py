"""`edge-ad compile`."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from edge_ad.cli.budget_options import asked_of, budget_options
from edge_ad.cli.keep_options import AUTO, keep_of, keep_options
from edge_ad.cli.options import Rate, errors, out, print_json, read_password, stages
from edge_ad.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edge_ad.cli.compile_search import Found
    from edge_ad.compile.integer.image import Image
    from edge_ad.compile.pipeline import Compiled
    from edge_ad.compile.target import Precision, Target


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "target_names", multiple=True, required=True,
              help="Device to compile for; may be given several times. See: edge-ad targets.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path),
              help="The folder that the model was fitted on (test/ is read for the report only), or for a .tflite "
              "file an .npy of normal inputs.")  # fmt: skip
@click.option("--max-false-alarms", type=Rate(),
              help="Share of normal inputs that may raise an alarm, e.g. 0.01 or 1%.")  # fmt: skip
@click.option("--reject", type=Rate(), metavar="STABILITY",
              help="Call a verdict uncertain unless it would stay the same with this probability, e.g. 0.9, were the "
              "threshold calibrated on other normal data.")  # fmt: skip
@click.option("--threshold-range", type=(float, float), metavar="LOW HIGH",
              help="Thresholds that a command may set on the device (default: from the median of the normal scores to "
              "four times as far above it as the threshold is).")  # fmt: skip
@click.option("--out", "out_", type=click.Path(path_type=Path), help="Bundle to write, NAME.edgead.")
@click.option("--precision", type=click.Choice(["int8", "fp16", "fp32"]),
              help="Number format (default: the target's own, mostly int8; Jetsons get fp16 beside it).")  # fmt: skip
@budget_options
@keep_options
@click.option("--head", type=click.Choice(["mse", "value", "max"]),
              help="Score of a .tflite network: mse between input and output, the value of an output of one, or the "
              "output's max (default: by their shapes).")  # fmt: skip
@click.option("--sign", "sign_key", type=click.Path(path_type=Path), metavar="NAME.key",
              help="Sign the bundle with this private key (edge-ad keygen).")  # fmt: skip
@click.option("--password-file", type=click.Path(path_type=Path, dir_okay=False),
              help="Holds that key's password in its first line.")  # fmt: skip
@click.option("--emit-c", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for model.c, model.h and the engine's sources, for own firmware (one board).")  # fmt: skip
@click.option("--no-stripes", is_flag=True,
              help="Boards: compute early activations whole, not a few rows at a time (a larger arena, fewer "
              "operators).")  # fmt: skip
@click.option("-v", "--plan", is_flag=True, help="Print the plan of the arena (boards).")
@click.option("--json", "as_json", is_flag=True,
              help="Print the whole report as JSON (docs/report.md); for .tflite as `inspect --json`.")  # fmt: skip
def command(
    model: Path, target_names: tuple[str, ...], data: Path | None, max_false_alarms: float | None,
    reject: float | None, threshold_range: tuple[float, float] | None, out_: Path | None, precision: Precision | None,
    speedup: float | None, max_auroc_drop: float | None, flash_kb: float | None, ram_kb: float | None,
    head: str | None, sign_key: Path | None, password_file: Path | None, emit_c: Path | None,
    no_stripes: bool, plan: bool, as_json: bool, keep: tuple[str, ...], max_score_drift: float | None,
) -> None:  # fmt: skip
    """Compile a fitted detector, or a full-INT8 .tflite file, into one bundle.

    A fitted model's folder: the network is exported, proved equal to the fitted one, quantized on held-back normal
    inputs, and its threshold calibrated anew for the compiled form. Beside NAME.edgead a report NAME.html is
    written.

    With a budget (--speedup, --flash-kb, --ram-kb) or a tolerance (--max-auroc-drop) the form is searched for one
    target: its precisions first, then pruning by growing shares, until one meets them; exit 3 when none does. What was
    tried is kept in NAME.sweep, where the same command goes on.

    A .tflite file, for microcontrollers: lowered to a model image whose results equal LiteRT's reference kernels to
    the bit. A threshold needs --data normals.npy and --max-false-alarms.
    """
    from edge_ad import targets
    from edge_ad.bundle.signature import read_private_key
    from edge_ad.cli.compile_search import Found, find_form
    from edge_ad.compile.pipeline import require_possible

    asked = asked_of(speedup, max_auroc_drop, flash_kb, ram_kb)
    chosen = [targets.get(name) for name in target_names]
    automatic = AUTO in keep
    kept = keep_of(keep, max_score_drift, max_auroc_drop if automatic else None)
    if no_stripes:
        chosen = [_without_stripes(target) for target in chosen]
    key = None if sign_key is None else read_private_key(sign_key, read_password(password_file))
    if key is not None and out_ is None:
        raise UsageError("--sign needs --out: there is no bundle to sign")
    if model.suffix.lower() == ".tflite":
        if asked:
            raise UsageError("a budget is for fitted models: a .tflite file has one form")
        if out_ is None and emit_c is None:
            raise UsageError("say what to write", hint="--out NAME.edgead, or --emit-c FOLDER")
        if kept:
            raise UsageError(f"{model} is quantized already: --keep is for fitted models")
        calibration = _Calibration(max_false_alarms, reject, threshold_range)
        _compile_tflite(model, chosen, data, calibration, out_, head, emit_c, plan, as_json)
        _sign(out_, key)
        return
    if head is not None:
        raise UsageError(f"--head is for .tflite files, {model} is none")
    boards = [target for target in chosen if target.engine == "board"]
    if (plan and not boards) or (emit_c is not None and len(boards) != 1):
        raise UsageError(
            "--plan is for boards" if emit_c is None else "--emit-c writes for one board", hint="name one --target"
        )  # fmt: skip
    if data is None or max_false_alarms is None or out_ is None:
        raise UsageError("a fitted model's compile needs --data, --max-false-alarms and --out")
    calibration = _Calibration(max_false_alarms, reject, threshold_range)
    found = Found(model, precision, kept, ())
    if asked.has_budget or (asked and not automatic):
        if len(chosen) != 1 or precision is not None:
            raise UsageError(
                "a budget is for one target, and the search chooses the precision",
                hint="name one --target and leave --precision out",
            )
        if no_stripes:
            raise UsageError("--no-stripes costs memory, and is not searched with", hint="leave it out")
        require_possible(model, chosen, data, out_, max_false_alarms, reject=reject, keep=kept)
        found = find_form(model, chosen[0], data, out_, asked, kept, errors if as_json else out)
    _compile_folder(found, chosen, data, calibration, out_, emit_c, plan, as_json)
    _sign(out_, key)


def _without_stripes(target: Target) -> Target:
    """Raises UsageError for a target that has none."""
    from edge_ad.compile.target import ImageTarget

    if not isinstance(target, ImageTarget):
        raise UsageError(f"--no-stripes is for microcontroller targets, {target.name} is none")
    return replace(target, stripes=False)


def _sign(bundle: Path | None, key: Ed25519PrivateKey | None) -> None:
    from edge_ad.bundle.archive import sign_bundle

    if bundle is not None and key is not None:
        sign_bundle(bundle, key)


class _Calibration(NamedTuple):
    """What is asked of the threshold."""

    max_false_alarms: float | None
    reject: float | None
    threshold_range: tuple[float, float] | None


def _compile_folder(
    found: Found, chosen: list[Target], data: Path, calibration: _Calibration, bundle: Path,
    emit_c: Path | None, plan: bool, as_json: bool,
) -> None:  # fmt: skip
    from edge_ad.compile.pipeline import compile_bundle
    from edge_ad.compile.report.model import report_json

    # Libraries that print belong on standard error: standard output is the report's.
    with stages() as stage, contextlib.redirect_stdout(sys.stderr):
        made = compile_bundle(
            found.model, chosen, data, bundle, precision=found.precision, keep=found.keep, notes=found.notes,
            stage=stage, **calibration._asdict(),  # type: ignore[arg-type]
        )  # fmt: skip
    if plan:
        for name, image in made.images.items():
            _print_plan(name, image, as_json)
    written = [] if emit_c is None else _emit_fitted(made, emit_c, bundle.stem)
    if as_json:
        click.echo(report_json(made.report))
        return
    from edge_ad.cli.inspect_command import budget_lines
    from edge_ad.compile.integer.smaller import STRIPES
    from edge_ad.compile.report.verdict import verdict

    for payload in made.report.payloads:
        text = verdict(payload, made.report.timing(payload.target), made.report.data.noun)
        out.print(f"[bold]{payload.target}[/bold] ({payload.precision}, {payload.isa})")
        for point in (text.headline, *text.points):
            out.print(f"  - {point.text}", soft_wrap=True, markup=False)
        for line in () if payload.precision_plan is None else payload.precision_plan.told():
            out.print(f"  {line}", soft_wrap=True, markup=False)
        if payload.target in made.images:
            stripes = [d.text for d in payload.decisions if d.text.startswith(STRIPES)]
            for line in (*budget_lines(payload.budget), *stripes):
                out.print(f"  {line}", soft_wrap=True, markup=False)
    for path in written[:2]:
        out.print(f"written {path}", soft_wrap=True)
    out.print(f"bundle {made.bundle} {made.digest}", soft_wrap=True)
    out.print(f"report {made.html}", soft_wrap=True)


def _print_plan(name: str, image: Image, as_json: bool) -> None:
    from edge_ad.compile.integer.arena import describe

    console = errors if as_json else out
    console.print(f"{name}: plan of the arena", soft_wrap=True)
    console.print(describe(image.program, image.plan), soft_wrap=True, markup=False)


def _emit_fitted(made: Compiled, folder: Path, name: str) -> list[Path]:
    """The C sources of the one board's image, with the threshold of its score."""
    from edge_ad import targets
    from edge_ad.compile.emit_c import write
    from edge_ad.compile.target import ImageTarget
    from edge_ad.runtime.integer.threshold import integer_threshold

    ((target_name, image),) = made.images.items()
    target = targets.get(target_name)
    assert isinstance(target, ImageTarget)
    payload = made.manifest.payload(target_name)
    threshold = integer_threshold(payload.threshold(), image.outputs[-1].scale)
    return write(image, target, folder, name, payload.outputs, threshold)


def _compile_tflite(
    model: Path, chosen: list[Target], data: Path | None, calibration: _Calibration, bundle: Path | None,
    head: str | None, emit_c: Path | None, plan: bool, as_json: bool,
) -> None:  # fmt: skip
    from edge_ad.cli.inspect_command import budget_lines
    from edge_ad.compile.emit_c import emit
    from edge_ad.compile.integer.lower import lower
    from edge_ad.compile.integer.smaller import told
    from edge_ad.compile.tflite_bundle import (
        compile_tflite,
        image_for,
        image_targets,
        read_network,
    )

    takers = image_targets(chosen)
    if emit_c is not None and len(takers) != 1:
        raise UsageError("--emit-c writes for one target", hint="name one --target")
    _, graph = read_network(model)
    if plan:
        for target in takers:
            _print_plan(target.name, image_for(graph, target, check=False), as_json)
    made = None
    if bundle is not None:
        made = compile_tflite(
            model, takers, bundle, head=head, data=data, **calibration._asdict()  # type: ignore[arg-type]
        )  # fmt: skip
    written = [] if emit_c is None else emit(model, takers[0], emit_c)
    if as_json and made is not None:
        print_json({"digest": made.digest, "manifest": made.manifest.model_dump(mode="json", by_alias=True)})
        return
    for target in takers:
        image = made.images[target.name] if made is not None else image_for(graph, target)
        out.print(f"[bold]{target.name}[/bold] ({target.kernels} kernels)")
        fit = target.fit(image, graph.parameters)
        stripes = told(image.program, lower(graph, target.kernels))
        for line in (*budget_lines(fit.budget), *stripes, *fit.notes):
            out.print(f"  {line}", soft_wrap=True, markup=False)
    if made is not None:
        for line in made.manifest.payloads[0].decisions[2:3]:
            out.print(line, soft_wrap=True)
        if made.manifest.payloads[0].thresholds is None:
            out.print(
                "no threshold: run needs --threshold, or compile with --data and --max-false-alarms",
                soft_wrap=True,
            )
        out.print(f"bundle {bundle} {made.digest}", soft_wrap=True)
    for path in written[:2]:
        out.print(f"written {path}", soft_wrap=True)
