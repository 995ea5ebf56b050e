"""What LiteRT's reference kernels give for a network, and the engine held to it: the golden vectors of a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ad.bundle.manifest import HeadSpec, InputSpec
from edge_ad.compile.integer.graph import Graph, batched
from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.quantized import Quantized
from edge_ad.errors import ParityError
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.runtime.golden import SCORE, npz_bytes
from edge_ad.runtime.heads import INPUT, evaluate

N_RANDOM, N_NORMAL = 12, 4
IMAGE_BYTES = 4096  # of vectors in the image itself, which costs flash: at least one, at most this many bytes
IMAGE_COUNT = 4

Int8Array = npt.NDArray[np.int8]


@dataclass
class Network:
    """A .tflite network: its content, graph, and the names of its outputs."""

    content: bytes
    graph: Graph
    outputs: list[str]

    @cached_property
    def engine(self) -> HostModel:
        """The board's engine on this machine, with plain kernels."""
        image = build_image(self.graph, "plain")
        return HostModel(image.content, max(image.plan.size, 16))

    @cached_property
    def _quantized(self) -> Quantized:
        return Quantized(self.content, self.graph)

    def reference(self, values: Int8Array) -> list[Int8Array]:
        """Outputs of LiteRT's reference kernels, flat, for one input."""
        return [np.asarray(y, np.int8).ravel() for y in self._quantized.reference([values])]

    def results(self, values: Int8Array) -> list[Int8Array]:
        """Outputs of the engine, flat, for one input."""
        return self.engine.infer([values])


@dataclass(frozen=True)
class Vectors:
    """Golden vectors: `npz` for the bundle; inputs and outputs (flat) of each."""

    npz: bytes
    inputs: list[Int8Array]
    outputs: list[list[Int8Array]]

    @property
    def count(self) -> int:
        return len(self.inputs)


def golden_vectors(
    network: Network, spec: InputSpec, head: HeadSpec, normals: Sequence[npt.NDArray[Any]] | None
) -> Vectors:
    """Golden vectors of a network: normal inputs where there are some, the ends of the range, and noise.

    Raises ParityError, naming the first difference, unless the engine gives what the reference kernels give.
    """
    inputs = [np.asarray(x, np.int8) for x in (normals or [])[:N_NORMAL]]
    rng = np.random.default_rng(0)
    inputs += [
        np.full(spec.shape, value, np.int8) for value in (-128, 127, spec.preprocess.params["zero_point"])
    ]
    inputs += [rng.integers(-128, 128, spec.shape).astype(np.int8) for _ in range(N_RANDOM)]
    outputs = [prove(network, values) for values in inputs]
    shapes = [batched(network.graph.tensors[i].shape) for i in network.graph.outputs]
    arrays = {
        name: np.concatenate([o[n].reshape(shapes[n]) for o in outputs])
        for n, name in enumerate(network.outputs)
    }
    batch = np.concatenate(inputs)
    scores = evaluate(head, {INPUT: batch, **arrays}).scores
    return Vectors(npz_bytes({**arrays, INPUT: batch, SCORE: scores}), inputs, outputs)


def prove(network: Network, values: Int8Array) -> list[Int8Array]:
    """The reference's outputs for one input. Raises ParityError when the engine's differ."""
    expected, got = network.reference(values), network.results(values)
    for name, e, g in zip(network.outputs, expected, got, strict=True):
        if differing := np.flatnonzero(e != g).tolist():
            at = differing[0]
            raise ParityError(
                f"'{name}' differs from LiteRT's reference kernels in {len(differing)} of {e.size} values, first at "
                f"{at}: {g[at]} instead of {e[at]}",
                hint="this is a defect of edge-ad: please report it with the .tflite file",
            )
    return expected


def image_vectors(network: Network, vectors: Vectors) -> list[tuple[list[bytes], list[bytes]]]:
    """Those that the image itself holds, by which a board proves itself at each start: the last ones, of noise."""
    size = sum(network.graph.tensors[i].size for i in (*network.graph.inputs, *network.graph.outputs))
    count = max(1, min(IMAGE_COUNT, IMAGE_BYTES // size))
    return [
        ([x.tobytes()], [y.tobytes() for y in ys])
        for x, ys in list(zip(vectors.inputs, vectors.outputs, strict=True))[-count:]
    ]


def scores_of(
    network: Network, head: HeadSpec, inputs: Iterable[npt.NDArray[Any]]
) -> npt.NDArray[np.float32]:
    """Scores (N,) by the engine on this machine, which every board equals to the bit."""
    scores = []
    for values in inputs:
        outputs = dict(zip(network.outputs, (y[None] for y in network.results(values)), strict=True))
        scores.append(evaluate(head, {INPUT: values, **outputs}).scores[0])
    return np.array(scores, np.float32)
