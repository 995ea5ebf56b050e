"""FADeR on a board: mask and mosaic of pixels, the U-Net in INT8 with its last sum in int16, comparison in int32."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.compile.integer.detectors import BoardDetector
from edge_ad.compile.integer.detectors.comparison import Comparison
from edge_ad.compile.integer.detectors.core import Core, End, Ends
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
from edge_ad.compile.integer.int16 import gives_int16
from edge_ad.compile.integer.lower import Builder
from edge_ad.detectors.base import Detector
from edge_ad.detectors.fader.config import PRESETS, FaderConfig
from edge_ad.detectors.fader.detector import Fader
from edge_ad.detectors.fader.masks import TemplateDeviation
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.port_spec import Array, PortSpec
from edge_ad.runtime.integer.maps import map_max
from edge_ad.runtime.integer.pixels import pixels, template_mask
from edge_ad.runtime.integer.similarity import PIXEL_SHIFT, WHITE

MAPS = "maps"
_MASKS = ("mosaic", "template")


@dataclass(frozen=True)
class _Parts:
    """What a form is made of. limits: of the template's cells, None where all are hidden."""

    core: Core
    config: FaderConfig
    given: PortSpec
    limits: Array | None
    comparison: Comparison

    @cached_property
    def last(self) -> Node:
        """The U-Net's last convolution, whose accumulator becomes int16."""
        (output,) = self.core.graph.outputs
        return convolution_behind(Draft(self.core.graph), self.core.graph, output)

    @cached_property
    def reconstruct(self) -> Ends:
        """By definition, what that one gives of the U-Net's input."""
        return self.core.ends([End(self.last, _step(self), (0, WHITE))])


def lower(material: Material) -> BoardForm:
    """Pixels in; the map out, with the head the score instead. Raises TargetError for a mask that no board computes."""
    detector = material.detector
    assert isinstance(detector, Fader)
    config = detector.config
    if config.mask not in _MASKS:
        raise TargetError(
            f"the mask '{config.mask}' has no integer form", where=material.target,
            hint=f"fit with --mask {' or --mask '.join(_MASKS)}, or compile for a Linux target",
        )  # fmt: skip
    material = of_its_size(material)
    limits = _template_limits(detector.mask) if isinstance(detector.mask, TemplateDeviation) else None
    given = image_port(material.captured.input.shape)
    core = Core(material.core, material.kept, material.target)
    return _form(_Parts(core, config, given, limits, Comparison.of(detector.comparison, config)), None)


def _template_limits(mask: TemplateDeviation) -> Array:
    """uint16 (2, 3, g, g): lowest and highest sum of a cell that is like the template's; a cell of 16 x 16 white pixels
    has 65280."""
    units = 255 * mask.cell_px**2
    mean, limit = (x[0].double().numpy() * units for x in (mask.mean, mask.limit))
    return np.clip(np.stack([np.ceil(mean - limit), np.floor(mean + limit)]), 0, 65535).astype(np.uint16)


def _form(parts: _Parts, unit: float | None) -> BoardForm:
    """unit: of the score, per step of the map; None without a head."""
    size = parts.config.size
    maps = PortSpec((1, 1, size, size), "int32", parts.comparison.scale)
    score = PortSpec((1, 1), "int32", unit or 1.0)
    written = parts.core.with_kept(_graph(parts, scored=unit is not None))

    def emit(builder: Builder) -> None:
        (found,) = builder.inline(written.graph, [builder.input(parts.given)])
        builder.output(maps if unit is None else score, found)

    def reference(values: Array) -> dict[str, Array]:
        found = _reference(parts, values[0].astype(np.uint8))
        return (
            {MAPS: found[None, None]} if unit is None else {SCORE: np.array([[map_max(found, 0)]], np.int32)}
        )

    def finish(head: HeadSpec) -> BoardForm:
        return _form(parts, head.params["gain"][0] * maps.scale)

    outputs = {MAPS: maps} if unit is None else {SCORE: score}
    return BoardForm(parts.given, outputs, emit, reference, finish, notes=(_told(parts), *written.notes))


def _told(parts: _Parts) -> str:
    return (
        f"The reconstruction is int16 out of the accumulator, in steps of 1/{1 << PIXEL_SHIFT} grey level; the map "
        f"({' and '.join(parts.comparison.kinds)}) is int32, a step {parts.comparison.scale:.2g}, and only its largest "
        "value leaves the board."
    )


def _graph(parts: _Parts, *, scored: bool) -> Graph:
    """The whole detector as one graph, so that stripes reach from the image to the map."""
    core, config = parts.core.graph, parts.config
    size, block, cell = config.size, config.mosaic_px, config.cell_px
    draft = Draft(core)
    convolution_behind(draft, core, core.outputs[0])
    image = draft.tensor(parts.given.shape, np.uint8)
    features = draft.tensor((1, size, size, 3), np.int8, 1.0, -128)
    takes_pixels(draft, core, image, features)
    sources = [image]
    if parts.limits is not None:
        mask = draft.tensor((size // cell, size // cell), np.uint8)
        draft.node("template_mask", [image, draft.constant(parts.limits)], mask, at=0, cell=cell)
        sources.append(mask)
    draft.node("pixels", sources, features, at=len(sources) - 1, block=block, cell=cell)
    made = gives_int16(draft, parts.last, _step(parts), (0, WHITE))
    seen = draft.tensor((1, size, size, 3), np.int16)
    draft.node("pixels", [image], seen, block=1, shift=PIXEL_SHIFT)
    found = parts.comparison.write(draft, seen, made)
    if scored:
        return draft.graph(
            [image], [draft.node("map_max", [found], draft.tensor((1, 1), np.int32), offset=0)]
        )
    plane = draft.tensor((1, 1, size, size), np.int32, parts.comparison.scale)
    return draft.graph([image], [draft.node("RESHAPE", [found], plane)])


def _step(parts: _Parts) -> float:
    """A step of the reconstruction, in pixels. Raises TargetError where the accumulator of an INT8 layer has much
    coarser ones."""
    if parts.last.index in parts.core.kept:
        return 1 / (1 << PIXEL_SHIFT)
    source, weights = (parts.core.graph.tensors[index] for index in parts.last.inputs[:2])
    assert weights.data is not None
    largest = 255 * int(np.abs(weights.data.astype(np.int64)).reshape(len(weights.data), -1).sum(1).max())
    raised = max(0, math.ceil(math.log2(source.scale * max(weights.scales) * (1 << PIXEL_SHIFT))))
    if largest << raised >= 1 << 31:
        raise TargetError("the last convolution's weights are too large for its steps in int16")
    return 1 / (1 << PIXEL_SHIFT)


def _reference(parts: _Parts, image: Array) -> Array:
    config = parts.config
    mask = None if parts.limits is None else template_mask(image, parts.limits, config.cell_px)
    shown = pixels(image, config.mosaic_px, mask, config.cell_px) - 128
    (made,) = parts.reconstruct(shown.transpose(2, 0, 1)[None].astype(np.int8))
    return parts.comparison.reference((pixels(image) << PIXEL_SHIFT).astype(np.int16), made)


def unfitted(detector: Detector, preset: str) -> Detector:
    """Another preset with any weights, to see whether that would fit."""
    assert isinstance(detector, Fader)
    return detector.unfitted(preset)


BOARD = BoardDetector(lower, tuple(PRESETS), unfitted)
