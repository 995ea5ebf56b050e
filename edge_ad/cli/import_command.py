"""`edge-ad import`."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_ad.cli.options import out, print_json, stages

if TYPE_CHECKING:
    from edge_ad.compile.target import Target
    from edge_ad.detectors.imported.importing import Made


class _Numbers(click.ParamType):
    """Numbers with commas between them."""

    name = "numbers"

    def __init__(self, kind: type):
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self._kind(part) for part in str(value).split(","))
        except ValueError:
            numbers = (math.nan,)
        if not all(math.isfinite(number) for number in numbers) or (self._kind is int and min(numbers) < 1):
            example = "1,3,256,256" if self._kind is int else "0.5,0.5,0.5"
            self.fail(f"{value!r} is no list of such numbers; write it as {example}", param, ctx)
        return numbers


@click.command("import")
@click.argument("network", type=click.Path(path_type=Path), metavar="NETWORK.onnx")
@click.option("--head", type=click.Choice(["mse", "channel-mse", "map-max", "value"]), required=True,
              help="The score. mse: mean squared difference of input and output (autoencoders). channel-mse: the same "
              "of two outputs, or of input and output, by place, and the largest place. map-max: largest value of an "
              "anomaly map. value: an output of one value.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), required=True,
              help="Folder with train/good: normal inputs that the network was not fitted on.")  # fmt: skip
@click.option("--out", "out_", type=click.Path(path_type=Path), required=True, help="Model folder to write.")
@click.option("--input", "modality", type=click.Choice(["image", "series"]), default="image", show_default=True,
              help="What it takes: images, or windows of series (one row at a time where its input is of two "
              "dimensions).")  # fmt: skip
@click.option("--shape", type=_Numbers(int), metavar="1,3,256,256",
              help="Shape of its input, where the file leaves it open.")  # fmt: skip
@click.option("--layout", type=click.Choice(["nchw", "nhwc", "ncl", "nlc"]),
              help="Order of its input's dimensions (default: nchw or nhwc by the shape, ncl for series).")  # fmt: skip
@click.option("--output", "outputs", multiple=True, metavar="NAME",
              help="An output that the head takes; twice for two (default: the only choice that fits).")  # fmt: skip
@click.option("--exact-from", multiple=True, metavar="TENSOR",
              help="Where the network begins to make its score: what is computed from this inner tensor on stays in "
              "float32, as what follows the last convolution or matrix product always does.")  # fmt: skip
@click.option("--pixels", type=click.Choice(["0..1", "0..255", "-1..1", "imagenet"]),
              help="What it wants pixels to be (default: 0..1); imagenet: by the means and deviations of "
              "ImageNet.")  # fmt: skip
@click.option("--bgr", is_flag=True, help="Its channels are blue, green, red.")
@click.option("--mean", type=_Numbers(float), metavar="A,B,…",
              help="Subtracted from each of its channels: of pixels from 0 to 1 (to 255 with --pixels 0..255), of "
              "series in the data's own unit.")  # fmt: skip
@click.option("--std", type=_Numbers(float), metavar="A,B,…", help="What each channel is then divided by.")
@click.option(
    "--channels", metavar="A,B,…", help="Columns of the series, in its order (default: all of the data's)."
)
@click.option(
    "--hop", type=click.IntRange(1), help="Rows between windows of a series (default: a window's length)."
)
@click.option("--rate-hz", type=click.FloatRange(0, min_open=True),
              help="Rows a second (default: from the time stamps).")  # fmt: skip
@click.option("--holdout", type=click.FloatRange(0, 0.8, min_open=True, max_open=True), default=0.5, show_default=True,
              help="Share of the normal inputs that is kept for the threshold.")  # fmt: skip
@click.option("--seed", type=int, default=42, show_default=True, help="Seed of that choice.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def command(network: Path, data: Path, out_: Path, as_json: bool, **said: Any) -> None:
    """Make a model folder of anybody's exported network, for compile, flash and run like ours.

    NETWORK.onnx takes one float32 input of a fixed shape and batch 1, and is not quantized. Its input is made of
    what the device sees: an image is resized to it, its pixels brought to the range that --pixels names. What each
    target says of the network is told at once; litert and microcontrollers take networks from torch or .tflite only
    (docs/import.md).
    """
    from edge_ad import targets
    from edge_ad.detectors.imported.importing import import_network
    from edge_ad.detectors.imported.inputs import Said

    channels = said.pop("channels")
    asked = Said(channels=tuple(channels.split(",")) if channels else (), **said)
    known = [targets.get(name) for name in targets.names()]
    with stages() as stage, contextlib.redirect_stdout(sys.stderr):
        done = stage("read and check", 1)
        made = import_network(network, data, out_, asked)
        done()
        done = stage("ask each target", len(known))
        found = {}
        for target in known:
            found[target.name] = _refusal(made, target)
            done()
    if as_json:
        print_json({
            "model": str(out_), "config": made.detector.config.model_dump(mode="json"),
            "inputs": {"calibration": made.calibration, "threshold": made.threshold}, "targets": found,
        })  # fmt: skip
        return
    _tell(made, found, data, out_)


def _tell(made: Made, found: dict[str, str | None], data: Path, model: Path) -> None:
    config, noun = made.detector.config, made.detector.input.noun
    out.print(
        f"imported {config.name}: {config.head} of {', '.join(config.outputs)}, input {config.shape}, opset "
        f"{config.opset}",
        soft_wrap=True, markup=False,
    )  # fmt: skip
    out.print(f"set aside: {made.calibration} {noun}s for calibration, {made.threshold} for the threshold")
    takers = [target for target, reason in found.items() if reason is None]
    if takers:
        out.print(f"taken by {', '.join(takers)}", soft_wrap=True)
    by_reason: dict[str, list[str]] = {}
    for target, reason in found.items():
        if reason is not None:
            by_reason.setdefault(reason, []).append(target)
    for reason, names in by_reason.items():
        out.print(f"not by {', '.join(names)}: {reason}", soft_wrap=True, markup=False)
    if takers:
        first = "openvino-cpu" if "openvino-cpu" in takers else takers[0]
        out.print(
            f"next: edge-ad compile {model} --target {first} --data {data} --max-false-alarms 0.05 --out part.edgead",
            soft_wrap=True, markup=False,
        )  # fmt: skip


def _refusal(made: Made, target: Target) -> str | None:
    """Why a target does not take the float network; None where it does."""
    from edge_ad.compile.capture import capture
    from edge_ad.errors import EdgeAdError

    if target.engine == "board":
        return "takes a full-INT8 .tflite file, no model folder; convert the network where it was made"
    try:
        target.lower(capture(made.detector, target.opset), "fp32", None)
    except EdgeAdError as error:
        return error.what if error.hint is None else f"{error.what}; {error.hint}"
    return None
