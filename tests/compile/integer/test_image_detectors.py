"""Detectors of images as a board's engine computes them: their definition to the bit, and near the float ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from image_detectors import efficientad, fader, images, maps_of

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.compile.capture import unexported
from edge_ad.compile.integer.detectors import board_detector
from edge_ad.compile.integer.detectors.efficientad import MAPS
from edge_ad.compile.integer.detectors.form import SCORE, BoardForm, proven
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.image import write_image
from edge_ad.compile.target import Calibration
from edge_ad.detectors.base import Detector
from edge_ad.detectors.fader.detector import Fader
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.host_library import HostModel


def lowered(detector: Detector) -> BoardForm:
    size = detector.input.shape[2]
    calibration = Calibration(lambda: iter(images(8, size)), 8)
    return board_detector(detector, "posix").lower(Material(unexported(detector), calibration, "posix"))


CASES = {
    "efficientad": efficientad,
    "efficientad with autoencoder": lambda: efficientad(autoencoder=True),
    "fader": fader,
    "fader, template, both maps, prototype": lambda: fader(mask="template", compare="both", attenuation="prototype"),
    "fader, msgms as it is, no attenuation": lambda: fader(compare="msgms", standardise=False, attenuation="none"),
}  # fmt: skip


SLOW = "fader, msgms as it is, no attenuation"


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] if c == SLOW else []) for c in CASES]
)
def test_the_board_computes_its_definition_which_is_near_the_float_detector(case: str) -> None:
    detector = CASES[case]()
    form = lowered(detector)
    given = images(6, detector.input.shape[2], seed=5)
    vectors = proven(form, given)[-len(given) :]  # to the bit, on noise and the ends of the range too
    real = np.concatenate([maps_of(detector, image) for image in given])
    found = np.concatenate([form.dequantized(made)[MAPS] for _, made in vectors])
    assert found.shape == real.shape
    for k in range(real.shape[1]):
        together = np.corrcoef(found[:, k].ravel(), real[:, k].ravel())[0, 1]
        assert together > 0.97, (case, k, together)

    head = detector.fit_head([form.dequantized(made) for _, made in vectors], {})
    finished = form.finish(head)
    port = finished.outputs[SCORE]
    assert port.dtype == "int32" and port.shape == (1, 1) and list(finished.outputs)[-1] == SCORE
    combined = np.einsum("k,nkhw->nhw", head.params["gain"], found) + head.params["offset"]
    for (_, made), expected in zip(proven(finished, given)[-len(given) :], combined.max((1, 2)), strict=True):
        assert port.dequantize(made[SCORE]).item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.fixture(scope="module")
def form() -> BoardForm:
    return lowered(efficientad())


def test_a_difference_has_twelve_bits_and_more_and_room_for_what_is_far_off(form: BoardForm) -> None:
    (note,) = form.notes
    bits, room = (float(note.partition(before)[2].split()[0]) for before in ("accumulator: ", "room for "))
    assert bits >= 12 and room >= 3.9
    quiet = form.reference(np.full((1, 3, 64, 64), 100, np.uint8))[MAPS]
    loud = form.reference(np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64)).astype(np.uint8))[MAPS]
    assert len(np.unique(quiet)) == 1 and loud.max() < 2**31 - 1 and len(np.unique(loud)) == loud.size


def test_stripes_need_a_fraction_of_the_arena_and_change_no_bit(form: BoardForm) -> None:
    form = form.finish(
        HeadSpec(name="map-max", params={"output": "maps", "gain": [1.0], "offset": -0.1, "pad": 4})
    )
    whole, cut = (write_image(form.program("plain", stripes=stripes)) for stripes in (False, True))
    assert cut.plan.size < 0.6 * whole.plan.size and cut.macs <= whole.macs
    models = [HostModel(image.content, inputs=image.inputs, outputs=image.outputs) for image in (whole, cut)]
    for image in images(3, 64, seed=9):
        for a, b in zip(*(model.infer([image]) for model in models), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mask", ["saliency", "two-pass"])
def test_a_mask_that_no_board_computes_is_named_with_one_that_boards_do(mask: str) -> None:
    with pytest.raises(TargetError, match=rf"the mask '{mask}' has no integer form") as caught:
        lowered(_with_mask(mask))
    assert "--mask mosaic or --mask template" in str(caught.value)


def _with_mask(mask: str) -> Fader:
    detector = fader()
    return replace(detector, config=detector.config.model_copy(update={"mask": mask}))


def test_another_size_is_tried_with_images_of_this_one(tmp_path: Path) -> None:
    """A larger preset asks which smaller one would fit: it is lowered with calibration images of the larger."""
    detector = efficientad().unfitted("micro")
    assert detector.input.shape == (1, 3, 64, 64)
    calibration = Calibration(lambda: iter(images(2, 128)), 2)
    form = board_detector(detector, "posix").lower(Material(unexported(detector), calibration, "posix"))
    assert form.input.shape == (1, 3, 64, 64)
    smaller = fader(compare="both").unfitted("micro")
    assert smaller.config.compare == "both" and smaller.config.preset == "micro"
