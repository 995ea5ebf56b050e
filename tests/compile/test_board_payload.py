"""A fitted detector for boards: what does not fit or has no integer form is said, and C is held to a reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edge_ad import targets
from edge_ad.bundle.manifest import HeadSpec, InputSpec, WindowSpec
from edge_ad.compile import board_payload
from edge_ad.compile.capture import Captured, unexported
from edge_ad.compile.integer.detectors import board_detector
from edge_ad.compile.integer.detectors.form import BoardForm, held_by_the_image, proven
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.target import Calibration, ImageTarget
from edge_ad.data.series_splits import SeriesSplits
from edge_ad.detectors.autoencoder.config import PRESETS
from edge_ad.detectors.autoencoder.detector import Autoencoder
from edge_ad.detectors.autoencoder.network import Body, folded, untrained
from edge_ad.errors import BudgetError, ParityError, TargetError
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.runtime.series.standardise import standardise_spec
from edge_ad.targets.microcontroller import fit

POSIX, M4 = targets.get("posix"), targets.get("cortex-m4")
CHANNELS, ROWS = 6, 4
HEAD = HeadSpec(name="mean-error", params={"output": "errors"})


def inputs(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (1, CHANNELS, ROWS)).astype(np.float32) for _ in range(n)]


@pytest.fixture(scope="module")
def captured() -> Captured:
    """An autoencoder of the larger preset whose BatchNorm layers have statistics to fold."""
    names = [f"c{i}" for i in range(CHANNELS)]
    window = WindowSpec(length=ROWS, hop=1, rate_hz=10.0, channels=names)
    spec = InputSpec(
        modality="series", shape=(1, CHANNELS, ROWS), dtype="float32", window=window,
        preprocess=standardise_spec([0.0] * CHANNELS, [1.0] * CHANNELS),
    )  # fmt: skip
    config = PRESETS["ad01"]
    body = untrained(CHANNELS * ROWS, config.widths, config.latent, 0)
    for _ in range(5):
        body(torch.randn(64, CHANNELS * ROWS) * 2 + 1)
    body.eval()
    detector = Autoencoder(config, SeriesSplits(window=window, parts=[]), spec, body)
    return unexported(detector)


def calibration() -> Calibration:
    def batches() -> Iterator[np.ndarray]:
        return iter(inputs(20))

    return Calibration(batches, 20)


@pytest.fixture(scope="module")
def form(captured: Captured) -> BoardForm:
    detector = captured.detector
    assert detector is not None
    return board_detector(detector, "posix").lower(Material(captured, calibration(), "posix"))


def test_folding_batchnorm_changes_nothing(captured: Captured) -> None:
    detector: Any = captured.detector
    body: Body = detector.body
    x = torch.randn(16, CHANNELS * ROWS)
    with torch.no_grad():
        torch.testing.assert_close(folded(body)(x), body(x), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, torch.nn.BatchNorm1d) for m in folded(body).modules())
    assert sum(isinstance(m, torch.nn.BatchNorm1d) for m in body.modules()) == 9


def test_the_boards_score_is_the_mean_squared_error(captured: Captured, form: BoardForm) -> None:
    finished = form.finish(HEAD)
    head = board_payload.score_head(finished, HEAD)
    assert list(finished.outputs) == ["reconstruction", "score"] and head.name == "value"
    image = finished.image("plain")
    model = HostModel(image.content, inputs=image.inputs, outputs=image.outputs)
    network: Any = captured.network
    for x in inputs(20, seed=1):
        integers = form.input.quantize(x)
        reconstruction, score = model.infer([integers])
        restored = finished.outputs["reconstruction"].dequantize(reconstruction).astype(np.float64)
        seen = form.input.dequantize(integers).astype(np.float64)
        exact = float(np.square(seen.ravel() - restored.ravel()).mean())
        assert score[0, 0] * head.params["scale"] == pytest.approx(exact, rel=1e-4)
        with torch.no_grad():
            float_error = float(network(torch.from_numpy(x))[1].mean())
        assert score[0, 0] * head.params["scale"] == pytest.approx(float_error, rel=0.05)


def test_a_streamed_window_stays_in_its_place(form: BoardForm) -> None:
    """What the firmware moves on from one inference to the next must not be overwritten by any step."""
    image = form.finish(HEAD).image("plain")
    model = HostModel(image.content, inputs=image.inputs, outputs=image.outputs)
    x = form.input.quantize(inputs(1)[0])
    for once, again in zip(model.infer([x]), model.again(), strict=True):
        np.testing.assert_array_equal(once, again)


def test_vectors_of_the_reference_are_in_the_image_and_a_difference_ends_the_compile(form: BoardForm) -> None:
    vectors = proven(form, [form.input.quantize(x) for x in inputs(3)])
    assert len(vectors) == 13
    held = held_by_the_image(form, vectors)
    assert len(held) == 4 and held[0] is vectors[-1]
    image = form.image("plain", held)
    for given, made in held:
        raw = form.input.raw(given) + b"".join(spec.raw(made[name]) for name, spec in form.outputs.items())
        assert raw in image.content

    def wrong(values: np.ndarray) -> dict[str, np.ndarray]:
        made = form.reference(values)
        made["reconstruction"][0, 7] ^= 1
        return made

    with pytest.raises(
        ParityError, match="'reconstruction' differs from its definition in 1 of 24 values, first at 7"
    ):
        proven(replace(form, reference=wrong), [])


def test_what_does_not_fit_says_by_how_much_and_which_preset_would(captured: Captured) -> None:
    lowered = board_payload.lower(captured, calibration(), "posix")
    board = replace(find("posix"), slot_bytes=90_000)
    assert isinstance(POSIX, ImageTarget) and isinstance(M4, ImageTarget)
    board_payload.require_fit(captured, lowered, calibration(), [POSIX, M4])
    small = replace(POSIX, fit=lambda image, parameters: fit(image, parameters, [board]))
    with pytest.raises(BudgetError) as caught:
        board_payload.require_fit(captured, lowered, calibration(), [M4, small])
    told = str(caught.value)
    assert told.startswith("posix: the detector does not fit: the image is ")
    assert "bytes over the 90000 that there are on posix" in told
    assert told.endswith("; the preset 'micro' would: edge-ad fit autoencoder --preset micro")
    none = replace(
        POSIX, fit=lambda image, parameters: fit(image, parameters, [replace(board, slot_bytes=500)])
    )
    with pytest.raises(BudgetError, match="use a smaller network or input, or another target"):
        board_payload.require_fit(captured, lowered, calibration(), [none])


def test_a_detector_without_an_integer_form_is_named(captured: Captured) -> None:
    class Other:
        def info(self) -> Any:
            return captured.detector.info().model_copy(update={"name": "oracle"})  # type: ignore[union-attr]

    with pytest.raises(
        TargetError, match=r"cortex-m7: the detector 'oracle' has no integer form yet; boards take: "
    ):
        board_detector(Other(), "cortex-m7")  # type: ignore[arg-type]
