"""`edge-ad import`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_ad.cli.options import out, print_json

if TYPE_CHECKING:
    from edge_ad.detectors.imported.detector import Imported


class _Numbers(click.ParamType):
    """Numbers with commas between them."""

    name = "numbers"

    def __init__(self, kind: type):
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers; write it as 1,3,256,256", param, ctx)


@click.command("import")
@click.argument("network", type=click.Path(path_type=Path))
@click.option("--head", type=click.Choice(["mse", "channel-mse", "map-max", "value"]), required=True,
              help="The score. mse: mean squared difference of input and output. channel-mse: of two outputs (or input "
              "and output) by place, the largest. map-max: largest value of an anomaly map. value: an output of one."
              )  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), required=True,
              help="Folder with train/good: normal inputs that the network was not fitted on.")  # fmt: skip
@click.option("--out", "out_", type=click.Path(path_type=Path), required=True, help="Model folder to write.")
@click.option(
    "--input", "modality", type=click.Choice(["image", "series"]), default="image", show_default=True
)
@click.option("--shape", type=_Numbers(int), help="Of its input, where the file leaves it open: 1,3,256,256.")
@click.option("--layout", type=click.Choice(["nchw", "nhwc", "ncl", "nlc"]),
              help="Order of its input's dimensions (default: nchw or nhwc by the shape, ncl for series).")  # fmt: skip
@click.option("--pixels", type=click.Choice(["0..1", "0..255", "-1..1", "imagenet"]), default="0..1", show_default=True,
              help="What it wants pixels to be; imagenet: by the means and deviations of ImageNet.")  # fmt: skip
@click.option("--bgr", is_flag=True, help="Its channels are blue, green, red.")
@click.option("--mean", type=_Numbers(float),
              help="Subtracted from each channel: R,G,B in units of --pixels, or by series.")  # fmt: skip
@click.option("--std", type=_Numbers(float), help="Each channel is divided by it.")
@click.option("--output", "outputs", multiple=True, metavar="NAME",
              help="An output that the head takes (default: the only one that fits).")  # fmt: skip
@click.option("--channels", metavar="A,B,…", help="Columns of the series (default: all of the data's).")
@click.option(
    "--hop", type=click.IntRange(1), default=1, show_default=True, help="Rows between windows of a series."
)
@click.option(
    "--rate-hz", type=click.FloatRange(0, min_open=True), help="Rows a second (default: from time stamps)."
)
@click.option("--holdout", type=click.FloatRange(0, 0.8, min_open=True, max_open=True), default=0.5, show_default=True,
              help="Share of the normal inputs that is kept for the threshold.")  # fmt: skip
@click.option("--seed", type=int, default=42, show_default=True, help="Seed of that choice.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def command(network: Path, data: Path, out_: Path, as_json: bool, **said: Any) -> None:
    """Make a model folder of anybody's exported network, for compile, flash and run like ours.

    NETWORK.onnx takes one float32 input of a fixed shape and batch 1, and is not quantized. Its input is made of
    what the device sees: an image is resized to it, its pixels brought to the range that --pixels names. What each
    target says of the network is told at once; microcontrollers and litert take networks from torch or .tflite only
    (docs/import.md).
    """
    from edge_ad.detectors.imported.importing import Said, import_network

    channels = said.pop("channels")
    asked = Said(channels=tuple(channels.split(",")) if channels else (), **said)
    with contextlib.redirect_stdout(sys.stderr):
        detector = import_network(network, data, out_, asked)
        found = _by_target(detector)
    if as_json:
        described = detector.config.model_dump(mode="json")
        print_json({"model": str(out_), "config": described, "inputs": _counts(detector), "targets": found})
        return
    config = detector.config
    out.print(
        f"imported {config.name}: {config.head} of {', '.join(config.outputs)}, input {config.shape}, opset "
        f"{config.opset}",
        soft_wrap=True, markup=False,
    )  # fmt: skip
    counts = _counts(detector)
    noun = "image" if detector.input.modality == "image" else "series"
    plural = noun if noun.endswith("s") else f"{noun}s"
    out.print(
        f"set aside: {counts['calibration']} {plural} for calibration, {counts['threshold']} for the threshold"
    )
    for target, reason in found.items():
        out.print(f"  {target}: {'takes it' if reason is None else reason}", soft_wrap=True, markup=False)
    takers = [target for target, reason in found.items() if reason is None]
    if takers:
        first = "openvino-cpu" if "openvino-cpu" in takers else takers[0]
        out.print(
            f"next: edge-ad compile {out_} --target {first} --data {data} --max-false-alarms 0.05 --out part.edgead",
            soft_wrap=True, markup=False,
        )  # fmt: skip


def _counts(detector: Imported) -> dict[str, int]:
    """How many files each split has a part of."""
    splits: Any = detector.splits
    if detector.input.modality == "image":
        return {"calibration": len(splits.calibration), "threshold": len(splits.threshold)}
    return {"calibration": len(splits.parts), "threshold": len(splits.parts)}


def _by_target(detector: Imported) -> dict[str, str | None]:
    """What each Linux target says of the float network; None where it takes it."""
    from edge_ad import targets
    from edge_ad.compile.capture import capture
    from edge_ad.errors import EdgeAdError

    found: dict[str, str | None] = {}
    for target in map(targets.get, targets.names()):
        if target.engine == "board":
            continue
        try:
            target.lower(capture(detector, target.opset), "fp32", None)
            found[target.name] = None
        except EdgeAdError as error:
            found[target.name] = error.what if error.hint is None else f"{error.what}; {error.hint}"
    return found
