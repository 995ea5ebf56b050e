"""TSPulse on boards: the image equals its definition to the bit, and both are near the fitted network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.compile.capture import unexported
from edge_ad.compile.integer.detectors import board_detector
from edge_ad.compile.integer.detectors.form import BoardForm, proven
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.image import write_image
from edge_ad.compile.integer.lower import Builder
from edge_ad.compile.integer.records.moves import Fill
from edge_ad.compile.integer.records.series import Repeat
from edge_ad.compile.target import Calibration
from edge_ad.data.series_splits import SeriesSplits
from edge_ad.detectors.tspulse.config import PRESETS, TsPulseConfig
from edge_ad.detectors.tspulse.detector import TsPulse
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scaling
from edge_ad.errors import EngineError, TargetError
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.port_spec import PortSpec
from edge_ad.runtime.heads.error_streams import error_streams

SMALL = PRESETS["micro"].model_copy(
    update={"context": 128, "width": 8, "layers": 2, "decoder_layers": 1, "registers": 3}
)
KIB = 1024


def detector(config: TsPulseConfig, channels: int) -> TsPulse:
    """Weights at random, the norms with statistics of their own, gain and offset that are not 1 and 0."""
    torch.manual_seed(3)
    scaling, core = Scaling(config), Core(config).eval()
    with torch.no_grad():
        scaling.gain.fill_(-0.8)
        scaling.offset.fill_(0.3)
        for mixer in core.mixers:
            if config.norm == "batch":
                mixer.norm.running_mean.normal_(0, 0.3)
                mixer.norm.running_var.uniform_(0.2, 4)
                mixer.norm.weight.uniform_(-1.5, 1.5)
    window = {"length": config.context, "hop": config.hop, "rate_hz": None,
              "channels": [f"c{i}" for i in range(channels)]}  # fmt: skip
    splits = SeriesSplits.model_validate({"window": window, "parts": []})
    return TsPulse(config, splits, [0.0] * channels, [1.0] * channels, scaling, core)


def series(config: TsPulseConfig, channels: int, count: int) -> list[np.ndarray]:
    """Standardised windows (1, C, S): a rhythm, noise, and a slow walk."""
    rng = np.random.default_rng(11)
    t = np.arange(config.context)
    return [
        (
            np.sin(t * rng.uniform(0.05, 1, (channels, 1)) + rng.uniform(0, 6))
            + rng.normal(0, 0.3, (channels, len(t)))
            + rng.normal(0, 0.1, (channels, len(t))).cumsum(1)
        )[None].astype(np.float32)
        for _ in range(count)
    ]


@dataclass(frozen=True)
class Case:
    detector: TsPulse
    form: BoardForm
    windows: list[np.ndarray]

    def infer(self, form: BoardForm, values: np.ndarray) -> list[np.ndarray]:
        image = form.image("plain")
        return HostModel(image.content, inputs=image.inputs, outputs=image.outputs).infer([values])


def case(config: TsPulseConfig, channels: int) -> Case:
    made, windows = detector(config, channels), series(config, channels, 12)
    calibration = Calibration(lambda: iter(windows[:8]), 8)
    form = board_detector(made, "posix").lower(Material(unexported(made), calibration, "posix"))
    return Case(made, form, windows)


@pytest.fixture(scope="module")
def small() -> Case:
    return case(SMALL, 3)


def head(case: Case) -> HeadSpec:
    port = case.form.outputs["errors"]
    return case.detector.fit_head(
        [{"errors": port.dequantize(errors(case, w))} for w in case.windows[:8]], {}
    )


def errors(case: Case, window: np.ndarray) -> np.ndarray:
    return case.infer(case.form, case.form.input.quantize(window))[0]


def test_the_image_is_its_definition(small: Case) -> None:
    """On normal windows, constant ones, such with steps and spikes, the ends of the range, and noise (`proven`)."""
    given = small.form.input
    rng = np.random.default_rng(0)
    constant = np.full(given.shape, 3.7)
    stepped = constant + (np.arange(given.shape[2]) > 60) * 50.0
    spiked = np.where(rng.random(given.shape) < 0.02, 1e4, 0.0)
    inputs = [given.quantize(w) for w in (*small.windows[:4], constant, 0 * constant, stepped, spiked)]
    for form in (small.form, small.form.finish(head(small))):
        vectors = proven(form, inputs)
        assert len(vectors) > len(inputs)
        assert len({v[1]["errors"].tobytes() for v in vectors}) > 12, "the cases say little"


def test_errors_are_near_those_of_the_fitted_network(small: Case) -> None:
    network, port = small.detector.network(), small.form.outputs["errors"]
    for window in small.windows:
        with torch.no_grad():
            exact = network(torch.from_numpy(window)).numpy()
        got = port.dequantize(errors(small, window))
        assert np.abs(np.log1p(got / 0.05) - np.log1p(exact / 0.05)).max() < 0.03
        np.testing.assert_allclose(got[:, 2], exact[:, 2], rtol=2e-3, atol=1e-3)


def test_the_score_is_that_of_the_float_head(small: Case) -> None:
    fitted = head(small)
    form = small.form.finish(fitted)
    for window in small.windows:
        found, score = small.infer(form, form.input.quantize(window))
        exact = error_streams(fitted.params, {"errors": form.outputs["errors"].dequantize(found)}).scores
        assert form.outputs["score"].dequantize(score)[0, 0] == pytest.approx(exact[0], abs=2**-12)


def test_channels_do_not_see_each_other(small: Case) -> None:
    window = np.broadcast_to(small.windows[0][:, 1:2], small.windows[0].shape)
    found = errors(small, window)
    assert (found == found[:, :, :1]).all() and (found > 0).all()
    other = window.copy()
    other[0, 0] += 30
    other[0, 0, -16:] -= 9
    changed = errors(small, other)
    assert (changed[:, :, 0] != found[:, :, 0]).any() and (changed[:, :, 1:] == found[:, :, 1:]).all()


def test_a_gap_or_a_sensor_that_stands_still_gives_finite_errors(small: Case) -> None:
    """A hidden patch that differs from a window that never moved is an error, and the only one."""
    still = np.full(small.form.input.shape, 2.0)
    moved = still.copy()
    moved[0, 1, -16:] += 5
    calm, found = errors(small, still), errors(small, moved)
    assert (found[0, :2, 1] > 20 * calm[0, :2, 1]).all()
    assert (found[:, :, [0, 2]] == calm[:, :, [0, 2]]).all()


def test_what_a_tiny_preset_takes() -> None:
    """Flash: image beside 64 KiB of firmware. Memory: 1 KiB of samples and 12 bytes of errors a channel, no more."""
    config = PRESETS["tiny"]
    images = {channels: case(config, channels).form.image("dsp") for channels in (1, 3)}
    assert len(images[1].content) + 56 * KIB < 160 * 1000
    assert images[1].plan.size < 8 * KIB
    assert 0 < images[3].plan.size - images[1].plan.size <= 2 * (2 * config.context + 12) + 16
    assert len(images[3].program.steps) == len(images[1].program.steps) + 1
    assert images[3].macs == 3 * images[1].macs > 4_000_000


def test_another_preset_is_tried_on_the_same_channels(small: Case) -> None:
    made = board_detector(small.detector, "posix").unfitted(small.detector, "tiny")
    assert made.input.shape == (1, 3, 512)
    windows = series(PRESETS["tiny"], 3, 2)
    for preset, size in (("tiny", 512), ("micro", 256)):
        made = board_detector(small.detector, "posix").unfitted(small.detector, preset)
        material = Material(unexported(made), Calibration(lambda: iter(windows), 2), "posix")
        assert board_detector(made, "posix").lower(material).input.shape == (1, 3, size)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"norm": "layer", "gate": "softmax"}, "not layer norm and softmax gates"),
        ({"gate": "softmax"}, "not batch norm and softmax gates"),
        ({"context": 96}, "windows of 64, 128, 256, 512, 1024, 2048 rows, not 96"),
    ],
)
def test_what_no_board_runs_is_named(changed: dict, what: str) -> None:
    with pytest.raises(TargetError, match=what) as caught:
        case(TsPulseConfig.model_validate({**SMALL.model_dump(), **changed}), 1)
    assert "tiny and micro" in str(caught.value.hint)


def test_a_gain_that_nothing_undoes_is_refused() -> None:
    made = detector(SMALL, 1)
    made.scaling.gain.data.zero_()
    windows = series(SMALL, 1, 2)
    material = Material(unexported(made), Calibration(lambda: iter(windows), 2), "posix")
    with pytest.raises(TargetError, match="a gain of 0"):
        board_detector(made, "posix").lower(material)


def test_a_head_that_answers_next_to_nothing_still_runs() -> None:
    """Ranges of next to nothing: units stay within what the operators take."""
    made, windows = detector(SMALL, 1), series(SMALL, 1, 4)
    with torch.no_grad():
        for layer in (made.core.time_head, made.core.spectrum_head):
            layer.weight.mul_(1e-9)
            layer.bias.zero_()
    material = Material(unexported(made), Calibration(lambda: iter(windows), 4), "posix")
    form = board_detector(made, "posix").lower(material)
    assert proven(form, [form.input.quantize(w) for w in windows])


def test_windows_that_are_not_finite_are_refused() -> None:
    made = detector(SMALL, 1)
    for windows in ([], [np.full((1, 1, 128), np.nan, np.float32)]):
        material = Material(unexported(made), Calibration(lambda w=windows: iter(w), len(windows)), "posix")
        with pytest.raises(TargetError, match="no calibration windows"):
            board_detector(made, "posix").lower(material)


@pytest.mark.parametrize(
    "changed", [{"times": 0}, {"times": 5000}, {"first": 1}, {"count": 2}, {"first": -1}, {"count": 0}]
)
def test_a_loop_that_cannot_be_is_refused(changed: dict[str, int]) -> None:
    builder = Builder("plain")
    source = builder.input(PortSpec((16,)))
    counter = builder.buffer(4)
    builder.step(Fill(output=counter, count=4, value=0), reads=[source], writes=[counter])
    record = replace(Repeat(counter=counter, first=0, count=1, times=3), **changed)
    whole = Repeat(counter=counter, first=0, count=1, times=3)
    builder.step(whole, reads=[counter], writes=[counter])
    builder.program.steps[-1] = replace(builder.program.steps[-1], record=record)
    builder.output(PortSpec((4,)), counter)
    image = write_image(builder.program)
    with pytest.raises(EngineError, match="damaged"):
        HostModel(image.content)
