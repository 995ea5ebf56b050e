"""A full-INT8 .tflite file with its graph, and what LiteRT's reference kernels make of it: the definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edge_ad.compile.integer.graph import Array, Graph
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.errors import MissingDependencyError, ModelError
from edge_ad.firmware_bridge.port_spec import PortSpec


@dataclass
class Quantized:
    """content: the file's bytes."""

    content: bytes
    graph: Graph

    @classmethod
    def of(cls, content: bytes, *, where: str = "model.tflite") -> Quantized:
        """Raises ModelError that names what a board does not take."""
        return cls(content, parse_tflite(content, where=where))

    @property
    def inputs(self) -> list[PortSpec]:
        """Shape, type and scale of each input, as in the file."""
        return [self._port(index) for index in self.graph.inputs]

    @property
    def outputs(self) -> list[PortSpec]:
        """Likewise of each output."""
        return [self._port(index) for index in self.graph.outputs]

    def _port(self, index: int) -> PortSpec:
        tensor = self.graph.tensors[index]
        return PortSpec(tensor.shape, str(tensor.dtype), tensor.scale, tensor.zero_point)

    def reference(self, values: Sequence[Array]) -> list[Array]:
        """Outputs of LiteRT's reference kernels, in the file's shapes, of integers of the inputs' sizes."""
        interpreter = self._interpreter
        shapes = {detail["index"]: detail["shape"] for detail in interpreter.get_input_details()}
        for index, value in zip(self.graph.inputs, values, strict=True):
            interpreter.set_tensor(index, value.reshape(shapes[index]))
        interpreter.invoke()
        return [interpreter.get_tensor(index).copy() for index in self.graph.outputs]

    def inside(self, values: Sequence[Array], tensors: Sequence[int]) -> list[Array]:
        """What LiteRT's reference kernels make of these tensors on the way to the outputs."""
        self.reference(values)
        return [self._interpreter.get_tensor(index).copy() for index in tensors]

    @cached_property
    def _interpreter(self) -> Any:
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise MissingDependencyError(
                "compiling .tflite files needs the package 'ai-edge-litert'",
                hint="pip install 'edge-ad[compile]'",
            ) from error
        try:
            interpreter = Interpreter(
                model_content=self.content,
                experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
                experimental_preserve_all_tensors=True,
                num_threads=1,
            )
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT refuses the network ({str(error).strip().splitlines()[-1]})") from error
        return interpreter
