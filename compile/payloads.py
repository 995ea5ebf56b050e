"""What the manifest says of each compiled form, and the form's files."""

from __future__ import annotations

from collections.abc import Iterator

from edge_ad.bundle.manifest import Golden, Payload
from edge_ad.compile import board_payload
from edge_ad.compile.integer.image import Image
from edge_ad.compile.target import ImageTarget, Target
from edge_ad.compile.verify import Verified
from edge_ad.detectors.base import Detector
from edge_ad.runtime.golden import make_golden


def payloads_of(
    detector: Detector, form: Verified, group: list[Target]
) -> Iterator[tuple[Target, Payload, dict[str, bytes], Image | None]]:
    """Target, manifest entry, files, and for boards the image, of each target that was verified together."""
    lowered = form.compiled.lowered
    if lowered.board is None:
        yield form.target, *_payload(detector, form), None
        return
    vectors = board_payload.prove(lowered, form.golden_inputs)
    built_on = {"isa": form.engine.isa, "kernels": form.engine.details.get("kernels", "")}
    for target in group:
        assert isinstance(target, ImageTarget)
        made = board_payload.payload_of(
            lowered, form.compiled.head, target, form.compiled.engine, form.golden_inputs, vectors, form.thresholds
        )  # fmt: skip
        payload = made.payload.model_copy(update={"drift": form.drift, "built_on": built_on})
        yield target, payload, made.files, made.image


def _payload(detector: Detector, form: Verified) -> tuple[Payload, dict[str, bytes]]:
    """The manifest's entry of one compiled form, and its files by their names in the bundle."""
    target, compiled = form.target, form.compiled
    folder = f"payload/{target.name}"
    files = {f"{folder}/{name}": content for name, content in compiled.lowered.files.items()}
    golden_name = f"golden/{target.name}.npz"
    precision = compiled.lowered.precision
    rtol, basis = target.golden_rtol[precision], target.golden_basis[precision]
    if target.golden is not None:
        rtol, basis = target.golden(compiled.lowered, form.golden_inputs)
    golden = make_golden(form.golden_inputs, compiled.engine, compiled.head, detector.outputs)
    payload = Payload(
        target=target.name,
        engine=target.engine,
        precision=precision,
        model=f"{folder}/{compiled.lowered.model}",
        files=sorted(files),
        outputs=list(detector.outputs),
        parts={name: f"{folder}/{file}" for name, file in compiled.lowered.parts.items()},
        architectures=list(target.architectures),
        options={**target.options, **compiled.lowered.options},
        head=compiled.head,
        thresholds=form.thresholds,
        drift=form.drift,
        budget=target.budget(compiled.lowered),
        golden=Golden(
            file=golden_name,
            count=len(form.golden_inputs),
            atol=0.0,
            rtol=rtol,
            basis=basis,
        ),
        built_on={"isa": form.engine.isa, "kernels": form.engine.details.get("kernels", "")},
        decisions=compiled.lowered.decisions,
    )
    return payload, {**files, golden_name: golden}
