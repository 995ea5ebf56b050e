"""Detectors of images as a board's engine computes them: their definition to the bit, and near the float ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.compile.capture import unexported
from edge_ad.compile.integer.detectors import board_detector
from edge_ad.compile.integer.detectors.efficientad import MAPS
from edge_ad.compile.integer.detectors.form import SCORE, BoardForm, proven
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.image import write_image
from edge_ad.compile.target import Calibration
from edge_ad.data.splits import Splits
from edge_ad.detectors.base import Detector
from edge_ad.detectors.efficientad.config import PRESETS
from edge_ad.detectors.efficientad.detector import EfficientAd
from edge_ad.detectors.efficientad.network import PDN, Autoencoder
from edge_ad.detectors.efficientad.statistics import OutputTransform
from edge_ad.detectors.fader.comparison import Comparison
from edge_ad.detectors.fader.config import PRESETS as FADER_PRESETS
from edge_ad.detectors.fader.config import FaderConfig
from edge_ad.detectors.fader.detector import Fader
from edge_ad.detectors.fader.masks import make_mask
from edge_ad.detectors.fader.network import Inpainter, UNet, make_gates
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.host_library import HostModel

SPLITS = Splits(seed=0, fit=[], calibration=[], threshold=[])


def images(n: int, size: int, seed: int = 0) -> list[np.ndarray]:
    """(1, 3, size, size) uint8: smooth, with a few grey levels of noise and a bright square in every third."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    found = []
    for i in range(n):
        image = (
            110
            + 60 * np.sin(7 * x + rng.uniform(0, 3))
            + 30 * np.cos(9 * y)
            + rng.normal(0, 4, (1, 3, size, size))
        )
        if i % 3 == 2:
            image[..., size // 3 : size // 2, size // 2 : size // 2 + 6] = 250
        found.append(np.clip(image, 0, 255).round().astype(np.uint8))
    return found


def efficientad(*, autoencoder: bool = False) -> EfficientAd:
    """Small, with any weights; the student is a noisy copy of the teacher, so that differences are small."""
    torch.manual_seed(0)
    size = 128 if autoencoder else 64
    config = PRESETS["micro"].model_copy(
        update={"size": size, "widths": (8, 8, 12), "channels": 16, "autoencoder": autoencoder}
    )
    teacher, student = PDN(config.widths, 16), PDN(config.widths, 32 if autoencoder else 16)
    with torch.no_grad():
        for mine, theirs in zip(student.parameters(), teacher.parameters(), strict=True):
            if mine.shape == theirs.shape:
                mine.copy_(theirs + 0.1 * theirs.std() * torch.randn_like(theirs))
    scale = np.diag(np.random.default_rng(1).uniform(2, 6, 16))
    transform = OutputTransform(scale, np.zeros(16))
    student.conv4.weight.data[:16] = teacher.conv4.weight.data * torch.from_numpy(np.diag(scale).copy()).view(
        -1, 1, 1, 1
    )
    auto = Autoencoder(size, 16, width=8) if autoencoder else None
    return EfficientAd(config, SPLITS, teacher, transform, student, auto, {}, {"autoencoder_trust": 0.6})


def fader(**changed: object) -> Fader:
    torch.manual_seed(0)
    config = FaderConfig.model_validate(
        FADER_PRESETS["micro"].model_dump() | {"widths": (4, 4, 8, 8)} | changed
    )
    gates = make_gates(config.widths, config.attenuated_levels, config.cell_px, config.attenuation)
    for gate in gates.values():
        torch.nn.init.normal_(gate.weigh.weight, 0, 2)
    unet = UNet(config.widths)
    for _ in range(3):
        unet(torch.rand(4, 3, 64, 64))  # statistics for its batch norms
    with torch.no_grad():
        unet.out.weight.mul_(0.3)
        unet.out.bias.fill_(0.45)
    detector = Fader(config, SPLITS, Inpainter(unet, gates).eval(), make_mask(config), Comparison(config))
    normal = torch.from_numpy(np.concatenate(images(8, 64)))
    detector.mask.fit(normal)
    plain = detector.network()
    with torch.no_grad():
        x = normal.float() / 255
        detector.comparison.fit([(a[None], plain.reconstruct(a[None]).clamp(0, 1)) for a in x])
    return detector


def lowered(detector: Detector) -> BoardForm:
    size = detector.input.shape[2]
    calibration = Calibration(lambda: iter(images(8, size)), 8)
    return board_detector(detector, "posix").lower(Material(unexported(detector), calibration, "posix"))


def maps_of(detector: Detector, image: np.ndarray) -> np.ndarray:
    """Of the network as published, in float."""
    with torch.no_grad():
        return detector.network()(torch.from_numpy(image)).numpy()


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
