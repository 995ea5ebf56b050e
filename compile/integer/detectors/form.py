"""A fitted detector as the board's engine computes it: front operators, the INT8 network, tail and head operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from edge_ad.bundle.manifest import HeadSpec, InputSpec
from edge_ad.compile.integer.image import Image, write_image
from edge_ad.compile.integer.lower import Builder, KernelSet, Program
from edge_ad.errors import ParityError
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.monitor import Monitor
from edge_ad.firmware_bridge.port_spec import Array, PortSpec
from edge_ad.runtime.engines.base import Engine

SCORE = "score"
IMAGE_BYTES = 4096  # of golden vectors in an image, which cost flash: at least one, at most this many bytes
IMAGE_COUNT = 4
N_RANDOM = 8


@dataclass(frozen=True)
class BoardForm:
    """What a detector's lowering gives.

    input: the image's one input, the detector's preprocessed input in integers. outputs: the detector's outputs that
    the image gives, by name and in order; of a form with its head the last one is `score`, one int32 (1, 1) whose
    value is scale * integer. emit: declares ports and appends all steps. reference: the oracle, from one input's
    integers to all outputs, by the operators' definitions in NumPy and LiteRT's reference kernels. finish: the same
    form with the fitted head, whose score becomes a further output. parts: engines that the fit of the head calls.
    notes: what was decided, as sentences for the report. ranges: how the integers came about, of a network that is not
    LiteRT's. taken: what the host makes of acquired data for the input, where the image holds some of the detector's
    preprocessing. sized: what tells before there is a head whether the detector fits, where a head needs far less.
    """

    input: PortSpec
    outputs: Mapping[str, PortSpec]
    emit: Callable[[Builder], None]
    reference: Callable[[Array], dict[str, Array]]
    finish: Callable[[HeadSpec], BoardForm]
    parts: Mapping[str, Engine] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ranges: str = ""
    taken: InputSpec | None = None
    sized: BoardForm | None = None

    def program(self, kernels: KernelSet, *, stripes: bool = True) -> Program:
        """All steps; stripes: of `Builder`. Raises TargetError for an operator that no board has, ValueError where
        `emit` declares other ports than the form says."""
        builder = Builder(kernels, stripes=stripes)
        self.emit(builder)
        made = [spec for _, spec in builder.program.outputs]
        if [spec for _, spec in builder.program.inputs] != [self.input] or made != list(
            self.outputs.values()
        ):
            raise ValueError("the ports that were emitted are not those of the form")
        return builder.program

    def image(
        self,
        kernels: KernelSet,
        vectors: Vectors = (),
        monitor: Monitor | None = None,
        *,
        stripes: bool = True,
    ) -> Image:
        """The model image, with golden vectors, and by what it judges."""
        golden = [self._raw(*vector) for vector in vectors]
        program = self.program(kernels, stripes=stripes)
        return write_image(program, golden, b"" if monitor is None else monitor.pack())

    def _raw(self, given: Array, made: Mapping[str, Array]) -> tuple[list[bytes], list[bytes]]:
        return [self.input.raw(given)], [spec.raw(made[name]) for name, spec in self.outputs.items()]

    def options(self) -> dict[str, object]:
        """The ports, as an engine takes them. place: in the image, since a manifest's keys come back sorted."""
        outputs = {name: {**spec.option(), "place": i} for i, (name, spec) in enumerate(self.outputs.items())}
        return {"input": self.input.option(), "outputs": outputs}

    def dequantized(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the image's outputs stand for."""
        return {name: spec.dequantize(outputs[name]) for name, spec in self.outputs.items()}


Vector = tuple[Array, Mapping[str, Array]]  # one input's integers, and its outputs by name
Vectors = tuple[Vector, ...] | list[Vector]


def score_head(form: BoardForm, fitted: HeadSpec) -> HeadSpec:
    """The head of a finished form: the value that the board computes. The fitted head stays with it, to be read."""
    port = form.outputs[SCORE]
    params = {"output": SCORE, "scale": port.scale, "zero_point": port.zero_point}
    return HeadSpec(name="value", params={**params, "fitted": fitted.model_dump(mode="json")})


def proven(form: BoardForm, inputs: list[Array]) -> list[Vector]:
    """The form's golden vectors for these inputs, and for noise over all of the input's range, which comes first.

    Raises ParityError, naming the first difference, unless the board's C gives what the reference gives, to the bit.
    """
    image = form.image("plain")
    model = HostModel(image.content, inputs=image.inputs, outputs=image.outputs)
    return [_proven(form, model, values) for values in (*_noise(form.input), *inputs)]


def _noise(port: PortSpec) -> Iterator[Array]:
    limits = np.iinfo(port.dtype)
    rng = np.random.default_rng(0)
    for _ in range(N_RANDOM):
        yield rng.integers(limits.min, limits.max + 1, port.shape).astype(port.dtype)
    for end in (limits.min, limits.max):
        yield np.full(port.shape, end, port.dtype)


def _proven(form: BoardForm, model: HostModel, values: Array) -> Vector:
    expected = form.reference(values)
    for (name, spec), got in zip(form.outputs.items(), model.infer([values]), strict=True):
        wanted = expected[name].reshape(spec.shape)
        if wanted.dtype != got.dtype:
            raise ValueError(f"the reference of '{name}' is {wanted.dtype}, its port {got.dtype}")
        if differing := np.flatnonzero(wanted.ravel() != got.ravel()).tolist():
            at = differing[0]
            raise ParityError(
                f"'{name}' differs from its definition in {len(differing)} of {got.size} values, first at {at}: "
                f"{got.flat[at]} instead of {wanted.flat[at]}",
                hint="this is a defect of edge-ad: please report it with the model folder",
            )
    return values, {name: expected[name].reshape(spec.shape) for name, spec in form.outputs.items()}


def held_by_the_image(form: BoardForm, vectors: list[Vector]) -> list[Vector]:
    """Those by which a board proves itself at each start: a normal input, the last one, and noise, as many as are worth
    their flash."""
    size = form.input.nbytes + sum(spec.nbytes for spec in form.outputs.values())
    count = max(1, min(IMAGE_COUNT, IMAGE_BYTES // size))
    return [vectors[-1], *vectors[: count - 1]]
