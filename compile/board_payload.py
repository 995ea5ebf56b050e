"""A fitted detector's payload for boards: its form, whether that fits, its head in integers, its proof, its image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from edge_ad.bundle.manifest import Golden, HeadSpec, InputSpec, Payload, Thresholds
from edge_ad.bundle.names import shown
from edge_ad.compile import litert_stages
from edge_ad.compile.capture import Captured, unexported
from edge_ad.compile.cost import Cost
from edge_ad.compile.integer.detectors import board_detector
from edge_ad.compile.integer.detectors.form import (
    SCORE,
    BoardForm,
    Vector,
    held_by_the_image,
    proven,
    score_head,
)
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.image import Image
from edge_ad.compile.integer.kept import keepable
from edge_ad.compile.integer.monitor import monitor_of
from edge_ad.compile.integer.smaller import told
from edge_ad.compile.layers import MAIN, Layer, chosen, layers_of
from edge_ad.compile.layers import told as told_layers
from edge_ad.compile.target import Calibration, ImageTarget, Lowered
from edge_ad.detectors.base import Detector
from edge_ad.errors import BudgetError, TargetError
from edge_ad.runtime.engines.base import Engine, Tensor
from edge_ad.runtime.golden import make_golden

MODEL = "model.bin"
BASIS = "the operators' integer definitions and LiteRT's reference kernels, to the bit"
_BY_LITERT = (
    "the network in the middle is the INT8 file that target litert runs{but}, what comes before and after it computes "
    "in integers wide enough to be exact"
)
_TRIED = 4  # calibration inputs to quantize a preset with that is only asked whether it would fit


@dataclass(frozen=True)
class BoardPayload:
    """payload, files: the manifest's entry, and contents by their names in the bundle. image: for who wants to look."""

    payload: Payload
    files: dict[str, bytes]
    image: Image


def lower(
    captured: Captured, calibration: Calibration | None, target: str, keep: tuple[str, ...] = (), *,
    stripes: bool = True,
) -> Lowered:  # fmt: skip
    """The detector's form without its head, as an image for this machine. keep: layers, or modules around them, that
    stay in 16 bits. stripes: of `Builder`.

    Raises TargetError for a detector, an operator or a kept layer that no board takes, UsageError for a layer that is
    not there.
    """
    assert captured.detector is not None and calibration is not None
    if keep:
        require_keep(captured.detector, target, keep)
    kept = tuple(chosen(layers_of(captured), keep, target))
    material = Material(captured, calibration, target, kept)
    form = board_detector(captured.detector, target).lower(material)
    ranges = f"Ranges from {calibration.count} normal {captured.input.noun}s"
    but = " but for the layers that are kept" if kept else ""
    how = _BY_LITERT.format(but=but) if material.by_litert else form.ranges
    decisions = [f"{ranges}{'; ' if how else ''}{how}.", *told_layers(kept, "16 bits"), *form.notes]
    names = tuple(layer.name for layer in kept)
    return replace(_lowered(form, decisions, stripes), kept=names)


def require_keep(detector: Detector, target: str, names: Sequence[str] = ()) -> None:
    """Raises TargetError for a detector of which no layer can be kept in 16 bits by name."""
    if settled := board_detector(detector, target).settled:
        what = (
            f"the layer{'s' if len(names) > 1 else ''} {', '.join(map(shown, names))}" if names else "layers"
        )
        raise TargetError(
            f"cannot keep {what} in higher precision: {settled}", where=target,
            hint="leave --keep away for boards",
        )  # fmt: skip


def keepable_layers(captured: Captured, target: str) -> list[Layer]:
    """The layers that boards can keep in 16 bits. Raises TargetError as `require_keep`."""
    assert captured.detector is not None
    require_keep(captured.detector, target)
    content = litert_stages.core(captured, litert_stages.stages_of(captured, target), None)
    return keepable(content, layers_of(captured), MAIN, target)


def _lowered(form: BoardForm, decisions: list[str], stripes: bool) -> Lowered:
    image = form.image("plain", stripes=stripes)
    cost = Cost(image.macs, image.program.parameters, image.plan.size)
    return Lowered(
        "int8", {MODEL: image.content}, MODEL, cost, decisions, {}, form.options(), engine="image", board=form
    )


def finish(lowered: Lowered, head: HeadSpec, *, stripes: bool = True) -> tuple[Lowered, HeadSpec]:
    """With its fitted head: the image gives the score, and the head is its value."""
    assert lowered.board is not None
    form = lowered.board.finish(head)
    decisions = [*lowered.decisions, *form.notes[len(lowered.board.notes) :]]
    finished = replace(_lowered(form, decisions, stripes), kept=lowered.kept)
    return finished, score_head(form, head)


def require_fit(
    captured: Captured, lowered: Lowered, calibration: Calibration, targets: Sequence[ImageTarget]
) -> None:
    """Raises BudgetError for the first target without a board that has room, with what is over by how much and which
    preset would fit."""
    assert lowered.board is not None
    form = lowered.board.sized or lowered.board
    for target in targets:
        image = form.image(target.kernels, stripes=target.stripes)
        if over := target.fit(image, image.program.parameters).over:
            raise BudgetError(
                f"the detector does not fit: {'; '.join(over)}", where=target.name,
                hint=("keep fewer layers; " if lowered.kept else "") + _what_would(captured, calibration, target),
            )  # fmt: skip


def _what_would(captured: Captured, calibration: Calibration, target: ImageTarget) -> str:
    """Which other preset of the detector fits a board of the target, by lowering it with any weights."""
    detector = captured.detector
    assert detector is not None
    how, info = board_detector(detector, target.name), detector.info()
    smaller = how.presets[how.presets.index(info.preset) + 1 :] if info.preset in how.presets else how.presets
    few = Calibration(lambda: islice(calibration.batches(), _TRIED), min(_TRIED, calibration.count))
    for preset in smaller if how.unfitted is not None else ():
        assert how.unfitted is not None
        tried = Material(unexported(how.unfitted(detector, preset)), few, target.name)
        try:
            form = how.lower(tried)
            image = (form.sized or form).image(target.kernels, stripes=target.stripes)
        except TargetError:
            continue
        if not target.fit(image, image.program.parameters).over:
            return f"the preset '{preset}' would: edge-ad fit {info.name} --preset {preset}"
    return "use a smaller network or input, or another target (edge-ad targets)"


def prove(lowered: Lowered, inputs: Sequence[Tensor]) -> list[Vector]:
    """Golden vectors in integers: noise, then the detector's inputs. Raises ParityError."""
    assert lowered.board is not None
    port = lowered.board.input
    return proven(lowered.board, [port.quantize(values) for values in inputs])


def payload_of(
    lowered: Lowered, head: HeadSpec, target: ImageTarget, engine: Engine, inputs: Sequence[Tensor],
    vectors: list[Vector], thresholds: Thresholds, spec: InputSpec,
) -> BoardPayload:  # fmt: skip
    """The payload for one target. spec: the detector's input. inputs: of the bundle's golden vectors; vectors: as
    `prove` gives them. The entry's drift and where it was built are the caller's to add."""
    form = lowered.board
    assert form is not None
    model, golden = f"payload/{target.name}/{MODEL}", f"golden/{target.name}.npz"
    monitor = monitor_of(thresholds, form.outputs[SCORE], form.taken or spec, form.input)
    image = form.image(target.kernels, held_by_the_image(form, vectors), monitor, stripes=target.stripes)
    fit = target.fit(image, image.program.parameters)
    if fit.over:  # with its head and its vectors it is a little larger than `require_fit` saw it
        raise BudgetError(f"the detector does not fit: {'; '.join(fit.over)}", where=target.name,
                          hint="use a smaller preset, or another target (edge-ad targets)")  # fmt: skip
    decisions = [
        *lowered.decisions,
        *told(image.program, form.program(target.kernels, stripes=False)),
        f"Weights packed for the kernel set '{target.kernels}'; {len(image.program.steps)} operators.",
        f"Arena of {image.plan.size} bytes; the step with the most live tensors needs {image.plan.needed}.",
        f"Results equal {BASIS}, on {len(vectors)} inputs.",
        *fit.notes,
    ]
    files = {model: image.content, golden: make_golden(inputs, engine, head, list(form.outputs))}
    payload = Payload(
        target=target.name, engine=target.engine, precision="int8", model=model, files=[model],
        outputs=list(form.outputs), options={**form.options(), "target": target.name}, head=head,
        thresholds=thresholds, drift=None, budget=fit.budget,
        golden=Golden(file=golden, count=len(inputs), atol=0.0, rtol=0.0, basis=BASIS), decisions=decisions,
        input=form.taken,
    )  # fmt: skip
    return BoardPayload(payload, files, image)
