"""OpenVINO on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.errors import EngineError, MissingDependencyError
from edge_ad.runtime.engines.base import Engine, EngineInfo, Tensor
from edge_ad.runtime.isa import cpu_isa


class OpenVinoEngine:
    """An OpenVINO IR on the CPU plugin.

    Float operators run in float32, also on CPUs whose plugin would choose bfloat16 by itself: a score of 8
    significant bits is a defect. threads: None leaves the number to OpenVINO. parts: further networks, already loaded.
    """

    def __init__(self, model: Path, *, threads: int | None = None, parts: Mapping[str, Engine] | None = None):
        self.parts = parts or {}
        try:
            import openvino
        except ImportError as error:
            raise MissingDependencyError(
                "this payload needs the OpenVINO runtime", hint="pip install 'edge-ad[openvino]'"
            ) from error
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
        }
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            self._compiled = core.compile_model(core.read_model(model), "CPU", config)
        except RuntimeError as error:
            cause = str(error).strip().splitlines()[-1]
            raise EngineError(f"OpenVINO refuses the network ({cause})", where=model) from error
        self._version = openvino.get_version().split("-")[0]
        self._request = self._compiled.create_infer_request()
        parameter = self._compiled.inputs[0]
        self._shape = tuple(parameter.shape)
        self._dtype = np.dtype(parameter.element_type.to_dtype())
        self._names = [output.any_name for output in self._compiled.outputs]

    def infer(self, batch: Tensor) -> dict[str, Tensor]:
        """Run one batch of exactly the network's shape and dtype. Raises EngineError for another."""
        if batch.shape != self._shape or batch.dtype != self._dtype:
            raise EngineError(
                f"the network takes {self._shape} {self._dtype}, not {batch.shape} {batch.dtype}"
            )
        results = self._request.infer([batch], share_inputs=True)
        return {name: np.array(results[i]) for i, name in enumerate(self._names)}

    def describe(self) -> EngineInfo:
        """Precision and instruction set as the plugin chose them for the network's costly operators."""
        kernels = self._kernels()
        convolutions = {
            k: v for k, v in kernels.items() if v[0] in ("Convolution", "FullyConnected", "MatMul")
        }
        integer = [v for v in convolutions.values() if v[1].endswith("I8")]
        implementations = sorted({v[1] for v in convolutions.values()})
        return EngineInfo(
            engine="openvino",
            version=self._version,
            provider=str(self._compiled.get_property("EXECUTION_DEVICES")[0]),
            isa=cpu_isa(),
            threads=int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            precision="int8" if integer and len(integer) == len(convolutions) else
            "fp32" if not integer else f"mixed ({len(integer)} of {len(convolutions)} convolutions int8)",
            details={"kernels": ", ".join(implementations)},
        )  # fmt: skip

    def close(self) -> None:
        """Close the parts; OpenVINO frees the network with this object."""
        for part in self.parts.values():
            part.close()

    def _kernels(self) -> dict[str, tuple[str, str]]:
        """Layer type and chosen implementation by node of the compiled network."""
        kernels = {}
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            kernels[node.get_friendly_name()] = (
                info["layerType"].astype(str),
                info["primitiveType"].astype(str),
            )
        return kernels
