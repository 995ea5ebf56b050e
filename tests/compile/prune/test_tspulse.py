"""A TSPulse that lost features of its tokens, all registers and hidden channels: it is one like any other."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import prunable
import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_ad.compile.capture import capture, unexported
from edge_ad.compile.integer.detectors import board_detector
from edge_ad.compile.integer.detectors.form import proven
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.prune import prune
from edge_ad.compile.prune.anatomies import anatomy_of
from edge_ad.compile.prune.groups import Channels
from edge_ad.compile.scores import batches
from edge_ad.compile.target import Calibration
from edge_ad.detectors import load_detector
from edge_ad.detectors.tspulse.config import PRESETS
from edge_ad.detectors.tspulse.detector import TsPulse
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scoring_form import scoring_form
from edge_ad.detectors.widths import PRUNED
from edge_ad.errors import ModelError
from edge_ad.runtime.engines import open_model
from edge_ad.targets import get

FEATURES_GONE = [1, 2, 7, 12]


@cache
def narrowed(registers: bool = False) -> TsPulse:
    """registers: whether they stay."""
    detector = prunable.make("tspulse")
    normal = torch.from_numpy(np.concatenate(_windows(detector)))
    anatomy = anatomy_of(detector, normal, normal, normal)
    channels = Channels(anatomy, normal[:1])
    macs, parameters = channels.macs(), channels.parameters()
    for root in [group.root for group in channels.groups()]:
        group = next(g for g in channels.groups() if g.root == root)
        gone = FEATURES_GONE if root == "features" else range(group.width if root == "registers" else 8)
        if root != "registers" or not registers:
            channels.prune(group, list(gone))
    told = {
        "macs_before": macs, "macs_after": channels.macs(), "parameters_before": parameters,
        "parameters_after": channels.parameters(), "steps": 0, "loss": 0.0,
    }  # fmt: skip
    made = anatomy.rebuilt(anatomy.network.requires_grad_(False), channels.kept, normal, {PRUNED: told})
    assert isinstance(made, TsPulse)
    assert made.core.time_embedding.out_features == 12
    assert bool(len(made.core.registers)) == registers
    return made


def _windows(detector: TsPulse, count: int = 4) -> list[np.ndarray]:
    return list(batches(prunable.normals(detector, count).calibration, detector.input))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_scoring_form_gives_what_the_published_one_gives(preset: str) -> None:
    torch.manual_seed(0)
    config = PRESETS[preset]
    core = Core(config).eval()
    for norm in core.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(norm.running_mean, -1, 1)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    series, spectrum = torch.randn(3, config.context), torch.rand(3, config.context)
    with torch.no_grad():
        expected = core(series, spectrum)
        other, scoring = scoring_form(config, core)
        fresh = Core(other).eval()
        fresh.load_state_dict(scoring.state_dict())
        for made in (scoring, fresh):
            for got, wanted in zip(made(series, spectrum), expected, strict=True):
                torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert scoring_form(other, scoring)[0] == other


@pytest.mark.parametrize("registers", [False, True])
def test_its_folder_gives_the_same_errors_by_both_networks(registers: bool, tmp_path: Path) -> None:
    made = narrowed(registers)
    made.save(tmp_path)
    again = load_detector(tmp_path)
    for window in map(torch.from_numpy, _windows(made)):
        with torch.no_grad():
            expected = made.simplified()(window)
            torch.testing.assert_close(again.simplified()(window), expected, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(again.network()(window), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("openvino-cpu", "int8"),
        pytest.param("litert", "int8", marks=pytest.mark.slow),
        pytest.param("onnx-cpu", "fp32", marks=pytest.mark.slow),
    ],
)
def test_other_targets_run_it(name: str, precision: str, tmp_path: Path) -> None:
    made, target = narrowed(), get(name)
    windows = _windows(made, 8)
    captured = capture(made, target.opset)
    lowered = target.lower(captured, precision, Calibration(lambda: iter(windows), len(windows)))
    for file, content in lowered.files.items():
        (tmp_path / file).write_bytes(content)
    engine = open_model(
        lowered.engine or target.engine, tmp_path / lowered.model, {**target.options, **lowered.options}
    )
    found = [engine.infer(window)["errors"] for window in windows]
    engine.close()
    with torch.no_grad():
        wanted = [made.simplified()(torch.from_numpy(window)).numpy() for window in windows]
    assert np.corrcoef(np.ravel(found), np.ravel(wanted))[0, 1] > 0.99


@pytest.mark.parametrize("registers", [False, True])
def test_a_board_runs_it_to_the_bit_and_as_the_float_network(registers: bool) -> None:
    made = narrowed(registers)
    windows = _windows(made, 8)
    material = Material(unexported(made), Calibration(lambda: iter(windows), len(windows)), "posix")
    form = board_detector(made, "posix").lower(material)
    assert proven(form, [])  # raises unless the C gives what the definitions give
    for window in windows:
        found = form.dequantized(form.reference(form.input.quantize(window)))["errors"]
        with torch.no_grad():
            wanted = made.simplified()(torch.from_numpy(window)).numpy()
        np.testing.assert_allclose(found, wanted, rtol=0.05, atol=0.01 * wanted.max())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("core.mixers.0.norm", lambda t: t[:1]),  # would broadcast over all features
        ("core.mixers.1.down", lambda t: t[:1]),
        ("core.mixers.1.gate.linear", lambda t: t[:1]),
        ("core.mixers.2.up.weight", lambda t: t[:, :-1]),
        ("core.registers", lambda t: t[:, :-1]),
        ("core.registers", lambda t: torch.zeros(3, t.shape[1])),
        ("core.base_norm", lambda t: t[:-12]),
        ("core.time_embedding", lambda t: t[:0]),
        ("core.spectrum_head.weight", lambda t: t[:, :1]),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, change, tmp_path: Path) -> None:
    narrowed().save(tmp_path)
    file = tmp_path / "weights.safetensors"
    state = load_file(file)
    hit = [key for key in state if key == name or key.startswith(f"{name}.")]
    state |= {key: change(state[key]).contiguous() for key in hit if state[key].ndim}
    save_file(state, file)
    with pytest.raises(ModelError, match="cannot be loaded") as raised:
        load_detector(tmp_path)
    assert hit and "\n" not in str(raised.value)


@pytest.mark.parametrize("form", ["published", "other"])
def test_a_form_that_the_weights_do_not_have_is_refused(form: str, tmp_path: Path) -> None:
    narrowed().save(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    described["config"]["form"] = form
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_detector(tmp_path)


@pytest.mark.slow
def test_the_published_shape_is_pruned_too(tmp_path: Path) -> None:
    """Layer norm and softmax gates over all tokens, hidden layers of twice the width: nothing is trimmed there."""
    detector = prunable.make("tspulse")
    changed = {"norm": "layer", "gate": "softmax", "expansion": 2}
    config = detector.config.model_copy(update=changed)
    detector = replace(detector, config=config, core=Core(config).eval())
    made = prune(detector, 0.8, prunable.normals(detector, 4), steps=4, multiple=4)
    assert made.macs_after <= 0.2 * made.macs_before
    made.detector.save(tmp_path)
    again, (window, *_) = load_detector(tmp_path), map(torch.from_numpy, _windows(detector))
    with torch.no_grad():
        expected = made.detector.simplified()(window)
        torch.testing.assert_close(again.simplified()(window), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(again.network()(window), expected, rtol=1e-3, atol=1e-5)


def test_features_and_registers_go_where_hidden_channels_do_not_suffice() -> None:
    detector = prunable.make("tspulse")
    made = prune(detector, 0.9, prunable.normals(detector, 4), steps=4, multiple=4)
    assert made.macs_after <= 0.1 * made.macs_before
    assert isinstance(made.detector, TsPulse)
    assert made.detector.core.time_embedding.out_features < detector.config.width
    assert made.detector.config.form == "scoring" and detector.config.form == "published"


def test_it_can_be_pruned_again() -> None:
    once = narrowed(registers=True)
    twice = prune(once, 0.3, prunable.normals(once, 4), steps=4, multiple=4)
    assert twice.macs_before == once.fit_info[PRUNED]["macs_after"]
    assert twice.macs_after <= 0.7 * twice.macs_before
    assert isinstance(twice.detector, TsPulse) and twice.detector.config == once.config
