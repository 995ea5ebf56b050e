"""What `edge-ad import` is told of a network: its input, and what its outputs mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_ad.bundle.manifest import Finite, InputSpec, Label, Sha256

Head = Literal["mse", "channel-mse", "map-max", "value"]
HEADS: dict[Head, str] = {
    "mse": "mean squared difference between the network's input and its output of the same shape",
    "channel-mse": "largest place of a map, the mean over channels of the squared difference of two outputs of one "
    "shape, or of the input and an output",
    "map-max": "largest value of an output that is an anomaly map",
    "value": "the only value of an output",
}
Layout = Literal["nchw", "nhwc", "ncl", "nlc", "nc"]
CHANNELS_LAST: tuple[Layout, ...] = ("nhwc", "nlc")


class ImportConfig(BaseModel):
    """The recipe of an imported detector.

    shape: the network's own, batch 1 first, laid out as `layout` says. gain, offset: what a channel of the input is
    multiplied with and then added to, in the network's order of channels; pixels come as 0 to 255, values of series
    standardised by `input.preprocess`. bgr: the channels of images are blue, green, red. outputs: those of the network
    that the head takes, one or two. exact_from: tensors of the network from which on it stays in float32, beside what
    follows its last weighted operator. file_sha256: of the file that was imported; sha256: of the network in the model
    folder, whose shapes are fixed and which holds its weights. opset: the latter's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Label
    head: Head
    shape: tuple[Annotated[int, Field(gt=0)], ...]
    layout: Layout
    gain: list[Finite]
    offset: list[Finite]
    bgr: bool = False
    input: InputSpec
    network_input: str
    outputs: Annotated[list[str], Field(min_length=1, max_length=2)]
    exact_from: list[str] = []
    file_sha256: Sha256
    sha256: Sha256
    opset: int
