"""Fitted detectors with layers kept in 16 bits: their definition to the bit, nearer to float than INT8, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import prunable
import pytest
import torch
from image_detectors import efficientad, fader, images, maps_of

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.compile import board_payload
from edge_ad.compile.capture import Captured, capture
from edge_ad.compile.integer.detectors.form import SCORE, BoardForm, proven
from edge_ad.compile.integer.image import write_image
from edge_ad.compile.layers import layers_of
from edge_ad.compile.target import Calibration
from edge_ad.detectors.base import Detector
from edge_ad.errors import TargetError, UsageError
from edge_ad.firmware_bridge.host_library import HostModel


@dataclass(frozen=True)
class Case:
    """output: what is compared with `real`, the float network's."""

    detector: Detector
    captured: Captured
    calibration: Calibration
    given: list[np.ndarray]
    output: str
    real: np.ndarray

    def form(self, *keep: str) -> BoardForm:
        board = board_payload.lower(self.captured, self.calibration, "posix", keep, stripes=False).board
        assert board is not None
        return board

    def error(self, form: BoardForm) -> float:
        """The mean error, in parts of the mean, once the board's C was found equal to the definition."""
        vectors = proven(form, [form.input.quantize(x) for x in self.given])[-len(self.given) :]
        found = np.concatenate([form.dequantized(made)[self.output].ravel() for _, made in vectors])
        return float(np.abs(found - self.real).mean() / np.abs(self.real).mean())


def _of_images(detector: Detector) -> Case:
    size = detector.input.shape[2]
    calibration = Calibration(lambda: iter(images(8, size)), 8)
    given = images(4, size, seed=5)
    real = np.concatenate([maps_of(detector, image).ravel() for image in given])
    return Case(detector, capture(detector), calibration, given, "maps", real)


def _autoencoder() -> Case:
    detector = prunable.make("autoencoder")
    rng = np.random.default_rng(0)
    # slow waves and a little noise, so that a reconstruction is asked for something
    windows = [
        (np.sin(rng.uniform(0, 6) + np.arange(np.prod(detector.input.shape)) / 3) + rng.normal(0, 0.2))
        .reshape(detector.input.shape)
        .astype(np.float32)
        for _ in range(24)
    ]
    with torch.no_grad():
        real = [detector.network()(torch.from_numpy(x))[0].numpy().ravel() for x in windows[:4]]
    calibration = Calibration(lambda: iter(windows), len(windows))
    return Case(detector, capture(detector), calibration, windows[:4], "reconstruction", np.concatenate(real))


CASES: dict[str, Callable[[], Case]] = {
    "efficientad": lambda: _of_images(efficientad()),
    "fader": lambda: _of_images(fader()),
    "autoencoder": _autoencoder,
}


@lru_cache
def case(name: str) -> Case:
    return CASES[name]()


@lru_cache
def plain_error(name: str) -> float:
    return case(name).error(case(name).form())


@pytest.mark.parametrize(
    ("name", "keep"),
    [
        ("efficientad", ("student.conv2",)),
        ("efficientad", ("teacher.conv3", "difference")),
        ("fader", ("unet.down.0.conv", "unet.decoder.2.0.conv", "unet.out")),
        ("autoencoder", ("0",)),
        ("autoencoder", ("2", "4")),
    ],
)
def test_the_board_computes_its_definition(name: str, keep: Sequence[str]) -> None:
    one = case(name)
    form = one.form(*keep)
    assert one.error(form) < 1.2 * plain_error(name)
    for layer in keep:
        assert any(note.startswith(f"{layer} takes and gives int16") for note in form.notes)


@pytest.mark.parametrize(("name", "times"), [("efficientad", 8.0), ("autoencoder", 8.0)])
def test_with_every_layer_kept_a_board_is_near_the_float_network(name: str, times: float) -> None:
    form = case(name).form("*")
    assert case(name).error(form) < plain_error(name) / times
    assert not any("8 bits before" in note for note in form.notes)


def test_stripes_change_no_bit_of_a_form_with_kept_layers() -> None:
    head = HeadSpec(name="map-max", params={"output": "maps", "gain": [1.0], "offset": -0.1, "pad": 4})
    form = case("efficientad").form("student.conv1", "teacher.conv2", "difference").finish(head)
    images_ = [write_image(form.program("plain", stripes=stripes)) for stripes in (False, True)]
    assert images_[1].plan.size < 0.6 * images_[0].plan.size
    models = [HostModel(image.content, inputs=image.inputs, outputs=image.outputs) for image in images_]
    for given in case("efficientad").given:
        expected = form.reference(given)
        for found in (model.infer([given]) for model in models):
            for name, values in zip(form.outputs, found, strict=True):
                np.testing.assert_array_equal(values.ravel(), expected[name].ravel())
    assert SCORE in form.outputs


def test_an_autoencoders_last_layer_gives_int16_which_the_score_is_made_of() -> None:
    one = case("autoencoder")
    last = layers_of(one.captured)[-1].name
    form = one.form(last).finish(HeadSpec(name="mean-error", params={"output": "errors"}))
    assert form.outputs["reconstruction"].dtype == "int16"
    vectors = proven(form, [form.input.quantize(x) for x in one.given])
    for x, (_, made) in zip(one.given, vectors[-len(one.given) :], strict=True):
        values = form.dequantized(made)
        exact = np.square(x.ravel() - values["reconstruction"].ravel()).mean()
        assert values[SCORE].item() == pytest.approx(float(exact), rel=2e-3)


def test_what_no_board_keeps_is_named() -> None:
    one = case("fader")
    with pytest.raises(TargetError, match=r"cannot keep the layer split\.0\.sum in 16 bits: a sum"):
        one.form("split.0.skipped", "split.0.sum")
    with pytest.raises(UsageError, match=r"no layer unet\.oat.*did you mean unet\.out"):
        one.form("unet.oat")
    found = board_payload.keepable_layers(one.captured, "posix")
    assert [layer for layer in layers_of(one.captured) if layer.kind != "Sum"] == found


@pytest.mark.parametrize(
    ("kind", "reason"), [("tspulse", "sums have 16 bits"), ("starnet", "networks have 16 bits")]
)
def test_detectors_that_have_16_bits_anyway_say_so(kind: str, reason: str) -> None:
    with pytest.raises(TargetError, match=rf"cortex-m4: cannot keep the layer mixers\.0 .*{reason}"):
        board_payload.require_keep(prunable.make(kind), "cortex-m4", ("mixers.0",))


def test_the_report_says_what_is_the_int8_file_and_what_is_not() -> None:
    one = case("efficientad")
    for keep, but in (((), "runs, what"), (("difference",), "runs but for the layers that are kept, what")):
        lowered = board_payload.lower(one.captured, one.calibration, "posix", keep, stripes=False)
        assert f"the INT8 file that target litert {but}" in lowered.decisions[0]
        assert lowered.kept == keep
