"""Which outputs of an imported network its head takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import onnx
from onnx import TensorProto

from edge_ad.bundle.names import shown
from edge_ad.detectors.imported.config import CHANNELS_LAST, Head, Layout
from edge_ad.detectors.imported.graphs import dimensions
from edge_ad.detectors.imported.reading import told
from edge_ad.detectors.imported.stages import map_places
from edge_ad.errors import UsageError

Shape = tuple[int, ...]


def choose(
    model: onnx.ModelProto, head: Head, named: Sequence[str], given: Shape, layout: Layout, path: Path
) -> list[str]:
    """One output, or the two that are compared; the only choice that fits where `named` is empty.

    given: the shape of the network's input. Raises UsageError, saying which outputs there are.
    """
    found = {
        output.name: tuple(int(d or 0) for d in dimensions(output))
        for output in model.graph.output
        if output.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    gives = ", ".join(f"{shown(name)} {told(shape)}" for name, shape in found.items()) or "nothing in float32"
    hint = f"its input is {told(given)}, it gives: {gives}"
    for name in named:
        if name not in found:
            raise UsageError(f"has no output {shown(name)} in float32", where=path, hint=f"it gives: {gives}")
    fit = _that_fit(head, {name: found[name] for name in named or found}, given, layout, single=bool(named))
    if named:
        fit = [names for names in fit if set(names) == set(named)]
    if len(fit) == 1:
        return fit[0]
    if not fit:
        raise UsageError(f"gives nothing that the head '{head}' takes", where=path, hint=hint)
    raise UsageError(
        f"gives more than one thing that the head '{head}' takes",
        where=path,
        hint=f"choose by --output NAME; {hint}",
    )


def _that_fit(
    head: Head, found: Mapping[str, Shape], given: Shape, layout: Layout, single: bool
) -> list[list[str]]:
    """Each choice of outputs that a head can take. single: a map of one place counts, too."""
    names = list(found)
    like_input = [[name] for name in names if found[name] == given]
    if head == "mse":
        return like_input
    if head == "channel-mse":
        pairs = [[a, b] for i, a in enumerate(names) for b in names[i + 1 :] if found[a] == found[b]]
        return [
            one for one in (*pairs, *like_input) if 2 <= len(found[one[0]]) <= 4 and found[one[0]][0] == 1
        ]
    if head == "value":
        return [[name] for name in names if prod(found[name]) == 1]
    last = layout in CHANNELS_LAST
    return [
        [name] for name in names
        if len(map_places(list(found[name]), channels_last=last)) <= 2 and (single or prod(found[name]) > 1)
    ]  # fmt: skip
