"""Pruned detectors of every kind: saved, loaded, compiled, and refused where they cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import prunable
import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_ad.compile.capture import capture, check_parity, unexported
from edge_ad.compile.integer.detectors import board_detector
from edge_ad.compile.integer.detectors.form import proven
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.prune import Pruned, prune
from edge_ad.compile.prune.cost import measure
from edge_ad.compile.scores import batches
from edge_ad.compile.target import Calibration
from edge_ad.detectors import load_detector
from edge_ad.detectors.base import Detector, as_tuple
from edge_ad.detectors.starnet.detector import StarNet
from edge_ad.detectors.starnet.network import Decoder, Encoder
from edge_ad.detectors.widths import PRUNED
from edge_ad.errors import ModelError, UsageError
from edge_ad.runtime.engines import open_model
from edge_ad.targets import get

SHARE = 0.4
_MADE: dict[str, tuple[Detector, Pruned]] = {}


def _slow(kind: str) -> object:
    return pytest.param(kind, marks=pytest.mark.slow)


def made_once(kind: str) -> tuple[Detector, Pruned]:
    """A detector, and what pruning makes of it."""
    if kind not in _MADE:
        detector = prunable.make(kind)
        steps = 6 if kind.endswith("-ae") else 24
        _MADE[kind] = detector, prune(detector, SHARE, prunable.normals(detector), steps=steps, multiple=4)
    return _MADE[kind]


QUICK = ("autoencoder", "efficientad", "tspulse")


@pytest.fixture(params=[k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in prunable.KINDS])
def case(request: pytest.FixtureRequest) -> tuple[Detector, Pruned]:
    return made_once(request.param)


def test_it_has_less_work_and_less_weights_and_says_so(case) -> None:
    detector, made = case
    assert made.macs_after <= (1 - SHARE) * 1.02 * made.macs_before
    assert made.parameters_after < made.parameters_before
    told = made.detector.info().fit[PRUNED]
    assert [told["macs_before"], told["macs_after"]] == [made.macs_before, made.macs_after]
    assert any(f"{made.parameters_after:,} parameters" in text for text in made.decisions)
    assert PRUNED not in detector.info().fit
    assert made.detector.input == detector.input


def test_a_model_folder_holds_it(case, tmp_path: Path) -> None:
    detector, made = case
    made.detector.save(tmp_path / "m")
    again = load_detector(tmp_path / "m")
    (batch,) = [
        b for b, _ in zip(batches(prunable.normals(detector).fit, detector.input), range(1), strict=False)
    ]
    before, after = (as_tuple(d.network()(torch.from_numpy(batch))) for d in (made.detector, again))
    for a, b in zip(before, after, strict=True):  # alignment in memory decides in which order sums are taken
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6 * float(a.detach().abs().max()))
    assert again.info() == made.detector.info()


@pytest.mark.parametrize("kind", ["autoencoder", pytest.param("efficientad", marks=pytest.mark.slow)])
def test_the_same_seed_makes_the_same_detector(kind: str, tmp_path: Path) -> None:
    states = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        detector = prunable.make(kind)
        made = prune(detector, SHARE, prunable.normals(detector), steps=8, multiple=4, seed=7)
        made.detector.save(folder)
        states.append(load_file(folder / "weights.safetensors"))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.slow
def test_recovery_brings_it_nearer_to_the_unpruned_network() -> None:
    errors = []
    for steps in (8, 80):
        detector = prunable.make("tspulse")
        errors.append(prune(detector, SHARE, prunable.normals(detector), steps=steps, multiple=4).loss)
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize(
    "kind", ["efficientad", *map(_slow, ("autoencoder", "efficientad-ae", "fader", "starnet", "tspulse"))]
)
def test_openvino_runs_the_network_that_was_pruned(kind: str, tmp_path: Path) -> None:
    _, made = made_once(kind)
    target, normal = get("openvino-cpu"), prunable.normals(made.detector, 4)
    lowered = target.lower(capture(made.detector, target.opset), "fp32", None)
    for name, content in lowered.files.items():
        (tmp_path / name).write_bytes(content)
    engine = open_model(target.engine, tmp_path / lowered.model, target.options)
    inputs = list(batches(normal.calibration, made.detector.input))[:2]
    assert check_parity(made.detector, engine, inputs).worst < 1e-3
    engine.close()


@pytest.mark.parametrize("kind", ["tspulse", *map(_slow, ("autoencoder", "efficientad", "fader", "starnet"))])
def test_a_board_runs_it_to_the_bit(kind: str) -> None:
    detector, made = made_once(kind)
    normal = prunable.normals(made.detector, 4)
    images = []
    for one in (detector, made.detector):
        inputs = list(batches(normal.calibration, one.input))
        material = Material(
            unexported(one), Calibration(lambda inputs=inputs: iter(inputs), len(inputs)), "posix"
        )
        form = board_detector(one, "posix").lower(material)
        assert proven(
            form, []
        )  # raises unless the C gives what the definitions give, on noise and at the ends
        images.append(form.image("plain"))
    assert images[1].macs < (1 - SHARE / 2) * images[0].macs
    assert len(images[1].content) < len(images[0].content)


def test_a_board_takes_an_encoder_and_a_decoder_of_different_widths() -> None:
    detector = prunable.make("starnet")
    assert isinstance(detector, StarNet)
    shape, wide, narrow = detector.input.shape[1:], (8, 16, 32), (4, 8, 12)
    uneven = replace(
        detector, encoder=Encoder(shape, wide, 16).eval(), decoder=Decoder(shape, narrow, 16).eval()
    )
    inputs = list(batches(prunable.normals(detector, 4).calibration, detector.input))
    material = Material(unexported(uneven), Calibration(lambda: iter(inputs), len(inputs)), "posix")
    form = board_detector(uneven, "posix").lower(material)
    assert proven(form, [])
    made = form.dequantized(form.reference(form.input.quantize(inputs[0])))
    network = uneven.network()
    with torch.no_grad():
        mean = network(torch.from_numpy(inputs[0]))[0].numpy()
    assert np.corrcoef(made["mean"].ravel(), mean.ravel())[0, 1] > 0.999


def test_costs_are_measured_on_the_target() -> None:
    detector, made = made_once("efficientad")
    normal = prunable.normals(detector)
    here = measure(detector, made.detector, get("openvino-cpu"), normal.calibration)
    assert here.latency_us is not None and min(here.latency_us) > 0
    assert here.macs[1] < here.macs[0] and here.flash_bytes[1] < here.flash_bytes[0]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_must_be_one(share: float) -> None:
    detector = prunable.make("autoencoder")
    with pytest.raises(UsageError, match="share"):
        prune(detector, share, prunable.normals(detector))


def test_more_than_there_is_cannot_be_taken() -> None:
    detector = prunable.make("tspulse")
    with pytest.raises(ModelError, match=r"cannot be pruned by 0.999 .* take 0\.\d\d or less"):
        prune(detector, 0.999, prunable.normals(detector), steps=4)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("student.conv2.weight", lambda t: t[:, :-1]),
        ("student.conv2.weight", lambda t: t[..., :-1]),
        ("student.conv2.bias", lambda t: t[:-1]),
        ("teacher.conv4.weight", lambda t: t[:-2]),
        ("student.conv1.weight", lambda t: t[:0]),
        ("student.conv1.weight", lambda t: t.flatten(1)),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, change, tmp_path: Path) -> None:
    made_once("efficientad")[1].detector.save(tmp_path)
    file = tmp_path / "weights.safetensors"
    state = load_file(file)
    state[name] = change(state[name]).contiguous()
    save_file(state, file)
    with pytest.raises(ModelError, match="cannot be loaded") as raised:
        load_detector(tmp_path)
    assert "\n" not in str(raised.value) and "fit or import it again" in str(raised.value)


def test_widths_of_an_unpruned_model_stay_what_its_preset_says(tmp_path: Path) -> None:
    made_once("efficientad")[1].detector.save(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    del described["fit"][PRUNED]
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_detector(tmp_path)


def test_it_can_be_pruned_again() -> None:
    detector = prunable.make("autoencoder")
    once = prune(detector, 0.3, prunable.normals(detector), steps=8, multiple=4)
    twice = prune(once.detector, 0.3, prunable.normals(detector), steps=8, multiple=4)
    assert twice.macs_before == once.macs_after and twice.macs_after < 0.72 * once.macs_after
    assert np.isfinite(twice.loss)
