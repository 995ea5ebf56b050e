"""What every `edge-ad fit DETECTOR` shares: its options, its progress, its last lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel

from edge_ad.cli.options import Duration, errors, out, print_json
from edge_ad.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


def fit_options(data_help: str) -> Callable[[Command], Command]:
    """Adds the options of every fit: --data, --out, --budget, --steps, --learning-rate, --holdout, --seed, --threads,
    --restart, --json. `run_fit` takes them."""
    options = [
        click.option("--data", type=click.Path(path_type=Path), required=True, help=data_help),
        click.option("--out", type=click.Path(path_type=Path), required=True, help="Model folder to write."),
        click.option("--budget", type=Duration(), help="Stop in good order after this long, e.g. 10m."),
        click.option("--steps", type=click.IntRange(1), help="Optimiser steps (default: the preset's)."),
        click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Adam's learning rate."),
        click.option("--holdout", type=click.FloatRange(0, 0.8, min_open=True, max_open=True),
                     help="Share of the data that is kept for the threshold (default 0.25)."),
        click.option("--seed", type=int, help="Seed of everything random (default 42)."),
        click.option("--threads", type=click.IntRange(1), help="CPU threads (default: all)."),
        click.option("--restart", is_flag=True, help="Forget an unfinished or older fit in the model folder."),
        click.option("--json", "as_json", is_flag=True, help="Print the fit's report as JSON."),
    ]  # fmt: skip

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def sound_options(command: Command) -> Command:
    """Adds the options of log-mel features: `edge_ad.detectors.sound.SoundConfig`."""
    options = [
        click.option("--rate-hz", type=click.FloatRange(0, min_open=True),
                     help="Samples a second (default: what the files say)."),
        click.option("--channel", help="The channel to take of several."),
        click.option("--frame", type=click.IntRange(1), help="Samples of a frame, a power of two from 64 to 2048."),
        click.option("--hop", type=click.IntRange(1), help="Samples from a frame, and a window, to the next."),
        click.option("--bands", type=click.IntRange(1), help="Mel bands of a frame."),
        click.option("--frames", type=click.IntRange(1), help="Frames of a window."),
        click.option("--low-hz", type=click.FloatRange(0), help="Where the lowest band begins (default 0)."),
        click.option("--high-hz", type=click.FloatRange(0, min_open=True),
                     help="Where the highest band ends (default: half the rate)."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def require_features(features: str | None, settings: Mapping[str, Any]) -> None:
    """Raises UsageError for options that mean nothing for these features."""
    of_sound = ("rate_hz", "channel", "frame", "hop", "bands", "frames", "low_hz", "high_hz")
    stray = ("window",) if features == "log-mel" else of_sound
    for name in stray:
        if settings[name] is not None:
            other = "vectors" if features == "log-mel" else "log-mel features"
            raise UsageError(
                f"--{name.replace('_', '-')} is of {other}",
                hint="leave it out" if features == "log-mel" else "give --features log-mel too",
            )


def run_fit(
    fit: Callable[..., Any], presets: Mapping[str, BaseModel], *, preset: str, data: Path, out: Path,
    budget: float | None, threads: int | None, restart: bool, as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Fit with a progress bar and print what was made.

    fit: the detector's. settings: of its config; None leaves the preset's own.
    """
    import torch
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if threads is not None:
        torch.set_num_threads(threads)
    changed = {k: v for k, v in settings.items() if v is not None}
    config = type(presets[preset]).model_validate({**presets[preset].model_dump(), **changed})
    columns = (TextColumn("fit"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[status]}"))  # fmt: skip
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task("fit", total=1.0, status="reading")
        try:
            detector = fit(
                config, data, out, budget_s=budget, restart=restart,
                progress=lambda share, status: bar.update(task, completed=share, status=status),
            )  # fmt: skip
        except KeyboardInterrupt:
            bar.stop()
            errors.print(f"interrupted; the same command goes on from here ({out})")
            raise
    _tell(detector, data, out, as_json)


def _tell(detector: Any, data: Path, model: Path, as_json: bool) -> None:
    info = detector.info()
    if as_json:
        print_json({"model": str(model), **info.model_dump(mode="json")})
        return
    report = info.fit
    counts = report["inputs"]
    noun = detector.input.noun
    out.print(
        f"fitted {info.name} {info.preset} on {counts['fit']} {noun}s in {report['steps']} steps "
        f"(ended by {report['stopped_by']})"
    )
    if info.teacher is not None:
        out.print(f"teacher: {info.teacher['name']}, sha256 {info.teacher['sha256']}")
    out.print(
        f"set aside: {counts['calibration']} {noun}s for calibration, {counts['threshold']} for the threshold"
    )
    out.print(
        f"next: edge-ad compile {model} --target openvino-cpu --data {data} --max-false-alarms 0.05 --out part.edgead",
        soft_wrap=True,
    )
