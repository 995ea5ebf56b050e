"""From a .tflite file to a bundle for boards: read, lower for each target, prove, calibrate, write.

The network comes quantized, so nothing here changes a value: the engine's results are held equal, to the bit, to
those of LiteRT's reference kernels before anything is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np

import edge_ad
from edge_ad.bundle.archive import write_bundle
from edge_ad.bundle.manifest import (
    DetectorInfo,
    FileEntry,
    Golden,
    HeadSpec,
    InputSpec,
    Manifest,
    Payload,
    PayloadThresholds,
)
from edge_ad.compile.integer.graph import Graph, Tensor, batched
from edge_ad.compile.integer.image import Image, build_image
from edge_ad.compile.integer.lower import lower
from edge_ad.compile.integer.read import parse_tflite, read_content
from edge_ad.compile.integer.smaller import told
from edge_ad.compile.reference import Network, golden_vectors, image_vectors, scores_of
from edge_ad.compile.target import ImageTarget, Target
from edge_ad.errors import BudgetError, ModelError, TargetError, UsageError
from edge_ad.metrics.rejection import rejection_band
from edge_ad.metrics.threshold import allowed_thresholds, calibrate_threshold, reference_quantiles
from edge_ad.runtime.preprocess import preprocess, quantize_spec

HeadName = Literal["mse", "value", "max"]
HEADS: tuple[HeadName, ...] = ("mse", "value", "max")
MODEL = "model.bin"
_TOOLS = ("ai-edge-litert", "numpy")


@dataclass(frozen=True)
class CompiledImages:
    """What a compile made. manifest, digest: of the bundle. images: by target, for whoever wants to look into them."""

    manifest: Manifest
    digest: str
    images: dict[str, Image] = field(default_factory=dict)


def read_network(path: Path) -> tuple[bytes, Graph]:
    """The content and graph of a .tflite file. Raises ModelError."""
    raw = read_content(path)
    return raw, parse_tflite(raw, where=str(path))


def image_for(
    graph: Graph,
    target: ImageTarget,
    vectors: Sequence[tuple[list[bytes], list[bytes]]] = (),
    *,
    check: bool = True,
) -> Image:
    """The model image of a graph for a target. Raises TargetError, and BudgetError, unless `check` is false, when
    the target has no room for it."""
    image = build_image(graph, target.kernels, vectors, stripes=target.stripes)
    fit = target.fit(image, graph.parameters)
    if check and fit.over:
        raise BudgetError(
            f"the network does not fit: {'; '.join(fit.over)}", where=target.name,
            hint="use a smaller network or input, or another target (edge-ad targets); -v shows the arena plan",
        )  # fmt: skip
    return image


def compile_tflite(
    model: Path, targets: Sequence[Target], out: Path, *, head: HeadName | None = None, data: Path | None = None,
    max_false_alarms: float | None = None, reject: float | None = None,
    threshold_range: tuple[float, float] | None = None,
) -> CompiledImages:  # fmt: skip
    """Compile a full-INT8 .tflite file for boards into the bundle `out`.

    head: the score, by default `mse` where input and output agree in shape, `value` for an output of one value,
    else `max` of the output. data: an .npy of normal inputs (N, …), float or INT8, of which the threshold is
    calibrated for `max_false_alarms`; without it the bundle holds no threshold. reject: as for
    `edge_ad.compile.pipeline.compile_bundle`.

    Raises ModelError for a file that is no such network, TargetError naming what no board has, BudgetError with how
    much is over, ParityError when the engine and LiteRT's reference kernels differ, QualityError for a rate that the
    data cannot support.
    """
    chosen = image_targets(targets)
    _check_arguments(out, data, max_false_alarms)
    raw, graph = read_network(model)
    for target in chosen:
        image_for(graph, target)  # what does not fit is refused before anything costly
    spec, names = _input(graph, model), output_names(graph)
    head_spec = _head(graph, names, head, model)
    network = Network(raw, graph, names)
    normals = None if data is None else _normals(data, spec)
    vectors = golden_vectors(network, spec, head_spec, normals)
    thresholds = None
    if normals is not None and max_false_alarms is not None:
        scores = scores_of(network, head_spec, normals)
        calibrated = calibrate_threshold(scores, max_false_alarms)
        band = None if reject is None else rejection_band(scores, calibrated, reject)
        thresholds = PayloadThresholds(
            float_=None, compiled=calibrated, rejection=band, reference=reference_quantiles(scores),
            allowed=allowed_thresholds(scores, calibrated, threshold_range),
        )  # fmt: skip
    members: dict[str, bytes] = {}
    payloads, images = [], {}
    for target in chosen:
        image = image_for(graph, target, image_vectors(network, vectors))
        payload, files = _payload(graph, target, image, spec, names, head_spec, thresholds, vectors.count)
        members |= {**files, payload.golden.file: vectors.npz}
        payloads.append(payload)
        images[target.name] = image
    manifest = Manifest(
        name=out.stem,
        detector=DetectorInfo(
            name="tflite", preset=model.stem or "model", version=1,
            config={"sha256": hashlib.sha256(raw).hexdigest(), "file": model.name},
        ),
        input=spec,
        payloads=payloads,
        files={
            n: FileEntry(sha256=hashlib.sha256(c).hexdigest(), size=len(c)) for n, c in sorted(members.items())
        },
        tools=_tool_versions(),
    )  # fmt: skip
    return CompiledImages(manifest, write_bundle(out, manifest, members), images)


def image_targets(targets: Sequence[Target]) -> list[ImageTarget]:
    """These targets, all of which take .tflite files. Raises TargetError, UsageError."""
    names = [target.name for target in targets]
    if not names or len(set(names)) != len(names):
        raise UsageError("name each target once", hint="e.g. --target cortex-m4")
    chosen = []
    for target in targets:
        if not isinstance(target, ImageTarget):
            raise TargetError(
                f"'{target.name}' does not take .tflite files",
                hint="microcontroller targets do: edge-ad targets; for this one give a fitted model's folder",
            )
        chosen.append(target)
    return chosen


def output_names(graph: Graph) -> list[str]:
    """Names of the outputs in a bundle: `output`, or `output_0`, `output_1`, …"""
    n = len(graph.outputs)
    return ["output"] if n == 1 else [f"output_{i}" for i in range(n)]


def _check_arguments(out: Path, data: Path | None, rate: float | None) -> None:
    if (data is None) != (rate is None):
        raise UsageError(
            "a threshold needs both --data with normal inputs and --max-false-alarms",
            hint="give both, or neither and --threshold when it runs",
        )
    if out.suffix != ".edgead" or not out.stem.isprintable():
        raise UsageError("a bundle's name is printable and ends in .edgead", where=repr(out.name))
    if not out.parent.is_dir():
        raise UsageError("there is no such folder", where=out.parent, hint="make it first")


def _input(graph: Graph, model: Path) -> InputSpec:
    if len(graph.inputs) != 1:
        raise ModelError(
            f"has {len(graph.inputs)} inputs, a bundle's network takes one", where=model,
            hint="--emit-c takes networks with several",
        )  # fmt: skip
    tensor = graph.tensors[graph.inputs[0]]
    shape = batched(tensor.shape)
    return InputSpec(
        modality="vector" if len(shape) == 2 else "tensor",
        shape=shape,
        dtype="int8",
        preprocess=quantize_spec(shape[1:], tensor.scale, tensor.zero_point),
    )


def _head(graph: Graph, names: list[str], asked: HeadName | None, model: Path) -> HeadSpec:
    """The score of the first output."""
    source, output = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    same = batched(source.shape) == batched(output.shape)
    name = asked or ("mse" if same else "value" if output.size == 1 else "max")
    if (name == "mse" and source.size != output.size) or (name == "value" and output.size != 1):
        raise UsageError(
            f"the head '{name}' does not fit an input {source.shape} and an output {output.shape}", where=model,
            hint="mse compares an output with the input, value takes an output of one value, max any output",
        )  # fmt: skip
    params: dict[str, object] = {"output": names[0], "scale": output.scale, "zero_point": output.zero_point}
    if name == "mse":
        params |= {"input_scale": source.scale, "input_zero_point": source.zero_point}
    return HeadSpec(name=name, params=params)


def _normals(path: Path, spec: InputSpec) -> list[np.ndarray]:
    """Rows of an .npy as the network's INT8 inputs. Raises DataError, SourceError."""
    from edge_ad.runtime.sources.replay import Array

    return [preprocess(spec.preprocess, sample.data) for sample in Array(path)]


def _payload(
    graph: Graph, target: ImageTarget, image: Image, spec: InputSpec, names: list[str], head: HeadSpec,
    thresholds: PayloadThresholds | None, n_golden: int,
) -> tuple[Payload, dict[str, bytes]]:  # fmt: skip
    model = f"payload/{target.name}/{MODEL}"
    fit = target.fit(image, graph.parameters)
    outputs = {n: list(batched(_output(graph, i).shape)) for i, n in enumerate(names)}
    payload = Payload(
        target=target.name,
        engine=target.engine,
        precision="int8",
        model=model,
        files=[model],
        outputs=names,
        options={"input": list(spec.shape), "outputs": outputs, "target": target.name},
        head=head,
        thresholds=thresholds,
        drift=None,
        budget=fit.budget,
        golden=Golden(
            file=f"golden/{target.name}.npz", count=n_golden, atol=0.0, rtol=0.0,
            basis="LiteRT's reference kernels, to the bit",
        ),
        decisions=[
            f"Weights packed for the kernel set '{target.kernels}'; {len(image.program.steps)} operators.",
            f"Arena of {image.plan.size} bytes; the step with the most live tensors needs {image.plan.needed}.",
            f"Results equal LiteRT's reference kernels to the bit on {n_golden} inputs.",
            *told(image.program, lower(graph, target.kernels)),
            *fit.notes,
        ],
    )  # fmt: skip
    return payload, {model: image.content}


def _output(graph: Graph, index: int) -> Tensor:
    return graph.tensors[graph.outputs[index]]


def _tool_versions() -> dict[str, str]:
    versions = {"edge-ad": edge_ad.__version__}
    for name in _TOOLS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # found on a path of the user's own
            versions[name] = "unknown"
    return versions
