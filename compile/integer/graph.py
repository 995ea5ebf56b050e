"""A quantized network as plain data: what `read` makes of a .tflite file and `lower` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
NO_NODE = 0xFFFF  # the number of what is no node of a file


@dataclass(frozen=True)
class Tensor:
    """A tensor: value = scale * (integer - zero_point).

    scales, zero_points: one for the whole tensor, or one a slice along `axis`. data: of a constant, else None.
    dtype: of the integers; int8 for all activations of a .tflite file. part: of a tensor that is a stretch of
    another's memory, that one's index and the element that it begins with.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    data: Array | None = None
    part: tuple[int, int] | None = None

    @property
    def scale(self) -> float:
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        return self.zero_points[0]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclass(frozen=True)
class Node:
    """An operator. inputs: tensor indices, -1 for an optional one that is absent. options: as the file's schema."""

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.kind if self.index == NO_NODE else f"{self.kind} (node {self.index})"


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which they can run. Equal only to itself, so that what was found of it can be kept."""

    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """Elements of all constants that are weights or biases: what has a scale."""
        return sum(t.size for t in self.tensors if t.data is not None and t.scales)


def batched(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A tensor's shape with a batch dimension of 1 in front, which may be its own."""
    return shape if shape and shape[0] == 1 and len(shape) > 1 else (1, *shape)
