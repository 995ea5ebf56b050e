"""EfficientAD on a board: differences of features in int16 out of the accumulator, maps and score in int32."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.compile.integer.detectors import BoardDetector
from edge_ad.compile.integer.detectors.core import Core, End
from edge_ad.compile.integer.detectors.form import SCORE, BoardForm
from edge_ad.compile.integer.detectors.images import (
    convolution_behind,
    image_port,
    of_its_size,
    takes_pixels,
)
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.draft import Draft
from edge_ad.compile.integer.graph import Graph, Node
from edge_ad.compile.integer.int16 import accumulator_step, gives_int16
from edge_ad.compile.integer.lower import Builder
from edge_ad.detectors.base import Detector
from edge_ad.detectors.efficientad.config import PRESETS
from edge_ad.detectors.efficientad.detector import EfficientAd
from edge_ad.firmware_bridge.port_spec import Array, PortSpec
from edge_ad.runtime.integer.maps import Int32, affine_map, map_max, squared_difference, squares_shift
from edge_ad.runtime.integer.pixels import pixels

MAPS = "maps"
STEPS = 1 << 13  # of a difference's largest calibrated value, where the accumulator has as many
_GAIN_BITS = 16


@dataclass(frozen=True)
class _Difference:
    """One map: the convolution whose accumulator is the difference, its step in int16, the shift of its squares."""

    node: Node
    scale: float
    shift: int


@dataclass(frozen=True)
class _Sum:
    """The score in integers: the maps, each times gain / 2^shift, added, less offset; `scale`: of the result."""

    gains: tuple[int, ...]
    shift: int
    offset: int
    scale: float


def lower(material: Material) -> BoardForm:
    """Pixels in; the maps out, with the head the score too."""
    material = of_its_size(material)
    core = Core(material.core, material.kept, material.target)
    draft = Draft(core.graph)
    nodes = [convolution_behind(draft, core.graph, index) for index in core.graph.outputs]
    return _form(core, image_port(material.captured.input.shape), _differences(core, nodes), None)


def _differences(core: Core, nodes: list[Node]) -> list[_Difference]:
    """Steps: 2^13 of what calibration saw at most, but none finer than an INT8 layer's accumulator; those of several
    maps differ by powers of two, and their sums are shifted so that all maps have one scale."""
    graph = core.graph
    wanted = [128 * graph.tensors[node.outputs[0]].scale / STEPS for node in nodes]
    wanted = [
        step if node.index in core.kept else max(step, accumulator_step(graph, node))
        for step, node in zip(wanted, nodes, strict=True)
    ]
    channels = graph.tensors[nodes[0].outputs[0]].shape[3]
    finer = [int(math.log2(max(wanted) / scale)) for scale in wanted]
    return [
        _Difference(node, max(wanted) / 2**by, squares_shift(channels) + 2 * by)
        for node, by in zip(nodes, finer, strict=True)
    ]


def _form(core: Core, given: PortSpec, differences: list[_Difference], head: _Sum | None) -> BoardForm:
    graph = core.graph
    first = differences[0]
    _, height, width, channels = graph.tensors[first.node.outputs[0]].shape
    maps = PortSpec(
        (1, len(differences), height, width), "int32", first.scale**2 * 2.0**first.shift / channels
    )
    score = PortSpec((1, 1), "int32", 1.0 if head is None else head.scale)
    made = core.with_kept(_graph(core.graph, given, differences, maps, head))
    ends = core.ends([End(d.node, d.scale) for d in differences])

    def emit(builder: Builder) -> None:
        found = builder.inline(made.graph, [builder.input(given)])
        for port, buffer in zip((maps, score), found, strict=False):
            builder.output(port, buffer)

    def reference(values: Array) -> dict[str, Array]:
        image = (pixels(values[0].astype(np.uint8)) - 128).transpose(2, 0, 1)[None].astype(np.int8)
        found = [
            squared_difference(end, None, d.shift) for d, end in zip(differences, ends(image), strict=True)
        ]
        outputs: dict[str, Array] = {MAPS: np.stack(found)[None]}
        return outputs if head is None else {**outputs, SCORE: _score(found, head)}

    def finish(fitted: HeadSpec) -> BoardForm:
        return _form(core, given, differences, _sum(fitted, maps.scale))

    outputs = {MAPS: maps} if head is None else {MAPS: maps, SCORE: score}
    return BoardForm(
        given, outputs, emit, reference, finish, notes=(_told(graph, differences, maps), *made.notes)
    )


def _told(graph: Graph, differences: list[_Difference], maps: PortSpec) -> str:
    ranges = [128 * graph.tensors[d.node.outputs[0]].scale / d.scale for d in differences]
    return (
        f"Differences are int16 out of the accumulator: {' and '.join(f'{math.log2(r) + 1:.1f}' for r in ranges)} bits "
        f"over what calibration saw and room for {' and '.join(f'{32767 / r:.1f}' for r in ranges)} times that; their "
        f"squares are summed in 64 bits, and a step of a map is {maps.scale:.2g}."
    )


def _graph(
    core: Graph, given: PortSpec, differences: list[_Difference], maps: PortSpec, head: _Sum | None
) -> Graph:
    """The whole detector as one graph, so that stripes reach from the image to the maps."""
    draft = Draft(core)
    for index in core.outputs:
        convolution_behind(draft, core, index)
    image = draft.tensor(given.shape, np.uint8)
    _, c, h, w = given.shape
    features = draft.tensor((1, h, w, c), np.int8, 1.0, -128)
    takes_pixels(draft, core, image, features)
    draft.node("pixels", [image], features, at=0, block=1)
    _, k, height, width = maps.shape
    found = []
    for difference in differences:
        wide = gives_int16(draft, difference.node, difference.scale)
        flat = draft.tensor((1, height, width, 1), np.int32, maps.scale)
        found.append(draft.node("squared_difference", [wide], flat, shift=difference.shift))
    planes = [
        draft.node("RESHAPE", [i], draft.tensor((1, 1, height, width), np.int32, maps.scale)) for i in found
    ]
    joined = planes[0]
    if k > 1:
        joined = draft.node("CONCATENATION", planes, draft.tensor(maps.shape, np.int32, maps.scale), axis=1)
    if head is None:
        return draft.graph([image], [joined])
    total = found[0] if k == 1 else _added(draft, found, head)
    score = draft.node("map_max", [total], draft.tensor((1, 1), np.int32), offset=head.offset)
    return draft.graph([image], [joined, score])


def _added(draft: Draft, found: list[int], head: _Sum) -> int:
    total: list[int] = []
    for index, gain in zip(found, head.gains, strict=True):
        constants = [draft.constant(np.zeros(1, np.int32)), draft.constant(np.array([gain], np.uint16))]
        output = draft.tensor(draft.tensors[index].shape, np.int32, head.scale)
        total = [draft.node("affine_map", [index, *constants, *total], output, shift=head.shift)]
    return total[0]


def _sum(fitted: HeadSpec, step: float) -> _Sum:
    """The head `map-max` in integers. One map is compared as it is; of several, a step of the sum is all maps' steps
    together, so that nothing saturates."""
    weights = [gain * step for gain in fitted.params["gain"]]
    unit = sum(weights)
    shift = _GAIN_BITS - 1 - math.floor(math.log2(max(weights) / unit))
    gains = [min(round(weight / unit * 2**shift), (1 << _GAIN_BITS) - 1) for weight in weights]
    return _Sum(tuple(gains), shift, round(-fitted.params["offset"] / unit), unit)


def _score(found: list[Int32], head: _Sum) -> Array:
    total: Int32 | None = found[0] if len(found) == 1 else None
    for values, gain in zip(found, head.gains, strict=True) if len(found) > 1 else ():
        total = affine_map(values, total, np.int64(0), np.int64(gain), head.shift)
    assert total is not None
    return np.array([[map_max(total, head.offset)]], np.int32)


def unfitted(detector: Detector, preset: str) -> Detector:
    """Another preset with any weights, to see whether that would fit."""
    assert isinstance(detector, EfficientAd)
    return detector.unfitted(preset)


BOARD = BoardDetector(lower, tuple(PRESETS), unfitted)
