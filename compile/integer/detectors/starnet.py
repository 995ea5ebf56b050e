"""STARNet on a board: networks in 16 bits, the search for likelihood regret, and the score, all in integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.compile.integer.detectors import BoardDetector
from edge_ad.compile.integer.detectors.form import SCORE, BoardForm
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.detectors.starnet_networks import HEADROOM, Networks16, networks16
from edge_ad.compile.integer.distances import SCORE as SCORE_PORT
from edge_ad.compile.integer.distances import sides
from edge_ad.compile.integer.image import write_image
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records import Buffer
from edge_ad.compile.integer.records.distances import TwoSided
from edge_ad.compile.integer.regret import BOUND, emit, emit_divergence, search_of
from edge_ad.detectors.base import Detector
from edge_ad.detectors.starnet.config import PRESETS
from edge_ad.detectors.starnet.detector import StarNet
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.port_spec import Array, PortSpec
from edge_ad.runtime.engines.base import Engine, EngineInfo, Tensor
from edge_ad.runtime.heads.likelihood_regret import RegretParams
from edge_ad.runtime.integer.distances import two_sided
from edge_ad.runtime.integer.regret import LOGVAR_HIGH, LOGVAR_LOW, Search, divergence, search

RECONSTRUCTION = "reconstruction"
RANGES = f"both networks and what lies around them compute in 16 bits, {HEADROOM:g} times beyond these ranges"


def lower(material: Material) -> BoardForm:
    """In go the features, not yet standardised; out come the posterior, the standardised features, their Mahalanobis
    distance and what the decoder makes of the posterior's mean, which shows that all of the networks is there."""
    detector = material.detector
    assert isinstance(detector, StarNet)
    networks = networks16(detector, _calibration(material, detector.input.shape))

    def emit_networks(builder: Builder) -> None:
        source = builder.input(networks.input)
        distance = networks.emit_distance(builder, source)
        made = {**networks.emit_encoder(builder, source), "mahalanobis": distance}
        made[RECONSTRUCTION] = networks.emit_decoder(builder, made["mean"])
        for name, port in ports.items():
            builder.output(port, made[name])

    def reference(values: Array) -> dict[str, Array]:
        made = networks.encode(values)
        made[RECONSTRUCTION] = networks.decode(made["mean"])
        return {name: made[name].astype(port.dtype) for name, port in ports.items()}

    ports = {
        "mean": networks.latent, "logvar": networks.latent, "features": networks.features,
        "mahalanobis": networks.distance, RECONSTRUCTION: networks.features,
    }  # fmt: skip
    bits = [
        int(np.abs(layer.weights).max()).bit_length() + 1 for layer in (*networks.body, *networks.decoder)
    ]
    notes = (
        "Not in 8 bits: the search for likelihood regret asks for differences far below a step of 8 bits, and on "
        f"Cortex-M4 and M7 16 bits cost less. Weights have {min(bits)} to {max(bits)} bits, as many as let no sum of "
        "32 bits overflow, whatever the input.",
    )
    return BoardForm(
        input=networks.input,
        outputs=ports,
        emit=emit_networks,
        reference=reference,
        finish=lambda head: _scored(networks, head, notes),
        parts={"decoder": BoardDecoder(networks)},
        notes=notes,
        ranges=RANGES,
        sized=_distance(networks) if detector.score == "mahalanobis" else None,
    )


def _distance(networks: Networks16) -> BoardForm:
    """The Mahalanobis distance alone: about what is left of a form whose score that is."""

    def emit_all(builder: Builder) -> None:
        builder.output(networks.distance, networks.emit_distance(builder, builder.input(networks.input)))

    def reference(values: Array) -> dict[str, Array]:
        return {"mahalanobis": networks.encode(values)["mahalanobis"].astype(np.int32)}

    return BoardForm(
        networks.input, {"mahalanobis": networks.distance}, emit_all, reference,
        lambda head: _scored(networks, head, ()),
    )  # fmt: skip


@dataclass(frozen=True)
class _Head:
    """What a fitted head is in integers. figure: which one is the score; score: the record without its places."""

    search: Search
    figure: str
    score: TwoSided

    @classmethod
    def of(cls, networks: Networks16, fitted: HeadSpec) -> _Head:
        params = RegretParams.model_validate(fitted.params)
        steps = {"step": params.step, "probe": params.probe} if params.search else {}
        found = search_of(
            latent=networks.latent.size, unit=networks.features.scale, variance=params.variance, seed=params.seed,
            stop_at=params.stop_at if params.search else None, **steps,  # type: ignore[arg-type]
        )  # fmt: skip
        port = networks.distance if params.score == "mahalanobis" else BOUND
        return cls(found, params.score, sides(params.ranges[params.score], port))

    def figures(self, networks: Networks16) -> dict[str, PortSpec]:
        """Ports of the figures that are computed: what the score asks for, what is found on the way to it, and the
        Mahalanobis distance, which costs next to nothing."""
        bounds = {"mahalanobis": (), "kl": ("kl",), "neg_elbo": ("neg_elbo", "kl")}.get(
            self.figure, ("neg_elbo", "kl", "regret")
        )
        return {**dict.fromkeys(bounds, BOUND), "mahalanobis": networks.distance}

    def judge(self, value: int) -> int:
        """The score of its figure."""
        record = self.score
        below, above = (
            (record.below_multiplier, record.below_shift),
            (record.above_multiplier, record.above_shift),
        )
        return two_sided(value, record.centre, below, above)


def _scored(networks: Networks16, fitted: HeadSpec, notes: tuple[str, ...]) -> BoardForm:
    """The two-sided score of one figure, and of the figures what it takes. notes: of the form without its head."""
    head = _Head.of(networks, fitted)
    figures = head.figures(networks)
    ports = {**figures, SCORE: SCORE_PORT}

    def emit_all(builder: Builder) -> None:
        source = builder.input(networks.input)
        found = {
            "mahalanobis": networks.emit_distance(builder, source)
        }  # first, so that the input need not stay
        if head.figure != "mahalanobis":
            found |= _bounds(builder, networks, head, source)
        score = builder.buffer(SCORE_PORT.nbytes)
        record = replace(head.score, input=found[head.figure], output=score)
        builder.step(record, reads=[found[head.figure]], writes=[score])
        found[SCORE] = score
        for name, port in ports.items():
            builder.output(port, found[name])

    def reference(values: Array) -> dict[str, Array]:
        made = networks.encode(values)
        found = {"mahalanobis": int(made["mahalanobis"])}
        if head.figure == "kl":
            found["kl"] = divergence(made["mean"], made["logvar"].clip(LOGVAR_LOW, LOGVAR_HIGH))
        elif head.figure != "mahalanobis":
            bounds = search(
                head.search, made["mean"], made["logvar"], made["features"].ravel(), networks.decode
            )
            found |= {"neg_elbo": bounds.neg_elbo, "kl": bounds.kl, "regret": bounds.regret}
        found[SCORE] = head.judge(found[head.figure])
        return {name: np.array([[found[name]]], np.int32) for name in ports}

    return BoardForm(
        networks.input, ports, emit_all, reference, lambda again: _scored(networks, again, notes),
        notes=(*notes, *_notes(head)), ranges=RANGES,
    )  # fmt: skip


def _bounds(builder: Builder, networks: Networks16, head: _Head, source: Buffer) -> dict[str, Buffer]:
    """Append the steps to the figures of the evidence bound; of the divergence alone, without the decoder."""
    made = networks.emit_encoder(builder, source)
    if head.figure == "kl":
        return {"kl": emit_divergence(builder, head.search, made["mean"], made["logvar"])}
    found = emit(builder, head.search, made["mean"], made["logvar"], made["features"], networks.emit_decoder)
    return {"neg_elbo": found.neg_elbo, "kl": found.kl, "regret": found.regret}


def _notes(head: _Head) -> tuple[str, ...]:
    search = head.search
    if head.figure == "mahalanobis":
        return ("The score is a distance of the features themselves: the image has neither network.",)
    if head.figure == "kl":
        return ("The score is the posterior's: the image has no decoder.",)
    if not len(search.gains):
        return ("Nothing is searched for: the bound is that of the posterior, by two passes of the decoder.",)
    return (
        f"Likelihood regret is searched for in {len(search.gains)} steps of four passes of the decoder; the state is "
        f"in Q4.11, probes of {search.probes.max()} to {search.probes.min()} steps, signs come from xorshift32.",
    )


class BoardDecoder:
    """The decoder as the board runs it, as an engine that the fit of the head calls: (n, latent) to features."""

    parts: ClassVar[Mapping[str, Engine]] = {}

    def __init__(self, networks: Networks16):
        builder = Builder("plain")
        z = builder.input(networks.latent)
        builder.output(networks.features, networks.emit_decoder(builder, z))
        image = write_image(builder.program)
        self._ports = networks.latent, networks.features
        self._model = HostModel(image.content, inputs=[networks.latent], outputs=[networks.features])

    def infer(self, batch: Tensor) -> dict[str, Tensor]:
        """`reconstruction`, in numbers."""
        taken, given = self._ports
        made = [self._model.infer([taken.quantize(z[None])])[0] for z in batch]
        return {RECONSTRUCTION: given.dequantize(np.concatenate(made))}

    def describe(self) -> EngineInfo:
        """The board's engine, built for this machine."""
        return EngineInfo("board", "this machine's build", "host", "plain C", 1, "int8")

    def close(self) -> None:
        """Nothing to release."""


def _calibration(material: Material, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Calibration inputs; those of another size, where a preset is only asked whether it would fit, at its own."""
    for batch in material.calibration.batches():
        if batch.shape != shape:
            places = (np.arange(n) * given // n for n, given in zip(shape, batch.shape, strict=True))
            batch = batch[np.ix_(*places)]
        yield batch


def unfitted(detector: Detector, preset: str) -> Detector:
    """The same features with another preset, to see whether that would fit."""
    assert isinstance(detector, StarNet)
    return detector.unfitted(preset)


BOARD = BoardDetector(lower, tuple(PRESETS), unfitted)
