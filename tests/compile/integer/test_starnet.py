"""STARNet in integers: near its float form, held to its definitions, its figures and scores those of the float head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_ad import targets
from edge_ad.bundle.manifest import HeadSpec, InputSpec, WindowSpec
from edge_ad.compile import board_payload
from edge_ad.compile.capture import unexported
from edge_ad.compile.integer.detectors import board_detector
from edge_ad.compile.integer.detectors.form import SCORE, BoardForm, proven
from edge_ad.compile.integer.detectors.material import Material
from edge_ad.compile.integer.records.layers16 import Doubling16, Standardise16
from edge_ad.compile.target import Calibration, ImageTarget
from edge_ad.data.splits import Splits
from edge_ad.detectors.board_layers import apply
from edge_ad.detectors.starnet.board import board_networks
from edge_ad.detectors.starnet.config import PRESETS, StarNetConfig
from edge_ad.detectors.starnet.detector import StarNet, TorchEngine
from edge_ad.detectors.starnet.network import Decoder, Encoder, Front, VectorFront
from edge_ad.errors import BudgetError
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.runtime.engines.image_ports import Ports
from edge_ad.runtime.heads import evaluate
from edge_ad.runtime.heads.likelihood_regret import gains
from edge_ad.runtime.scan_images import range_image_spec
from edge_ad.runtime.series.standardise import standardise_spec
from edge_ad.targets.microcontroller import fit

FIGURES = ("regret", "neg_elbo", "kl", "mahalanobis")
TAKEN = {  # by the score: the figures that a board computes
    "regret": ["neg_elbo", "kl", "regret", "mahalanobis"],
    "neg_elbo": ["neg_elbo", "kl", "mahalanobis"],
    "kl": ["kl", "mahalanobis"],
    "mahalanobis": ["mahalanobis"],
}
N = 12


def image_detector(preset: StarNetConfig) -> StarNet:
    spec = range_image_spec(
        rows=preset.rows, columns=preset.columns, elevation_deg=(-25, 5), max_range_m=80, points_per_cell=9, rings=64
    )  # fmt: skip
    input_ = InputSpec(
        modality="scan", shape=(1, 5, preset.rows, preset.columns), dtype="float32", preprocess=spec
    )
    return detector(preset, input_)


def vector_detector() -> StarNet:
    names = [f"c{i}" for i in range(12)]
    window = WindowSpec(length=1, hop=1, rate_hz=None, channels=names)
    spec = standardise_spec([0.0] * 12, [1.0] * 12)
    input_ = InputSpec(modality="series", shape=(1, 12, 1), dtype="float32", preprocess=spec, window=window)
    return detector(PRESETS["micro"].model_copy(update={"features": "vector"}), input_)


def detector(config: StarNetConfig, input_: InputSpec) -> StarNet:
    """Weights that are random, BatchNorm layers with statistics, a decoder whose results are not all alike."""
    torch.manual_seed(3)
    vector = len(input_.shape) == 3
    shape = input_.shape[1:2] if vector else input_.shape[1:]
    encoder, decoder = (kind(shape, config.widths, config.latent) for kind in (Encoder, Decoder))
    for _ in range(20):
        encoder(2 * torch.randn(16, *shape))
        decoder(2 * torch.randn(16, config.latent))
    x = torch.from_numpy(np.concatenate(inputs(input_.shape)))
    axes = (0,) if vector else (0, 2, 3)
    mean, std = x.mean(axes, keepdim=True), x.std(axes, keepdim=True)
    rows = ((x - mean) / std).mean(-1)
    kind = VectorFront if vector else Front
    front = kind(mean, std, rows.mean(0, keepdim=True), rows.std(0, keepdim=True).clamp_min(0.05))
    searched = {"step": 2e-3, "probe": 0.0625, "move": 0.1, "regret": 1.0}
    return StarNet(
        config, Splits(seed=0, fit=[], calibration=[], threshold=[]), input_, front, encoder.eval(), decoder.eval(),
        {"variance": 0.9, "score": "regret", "search": searched},
    )  # fmt: skip


def inputs(shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    if len(shape) == 3:
        return [rng.normal(0, 1.3, shape).astype(np.float32) for _ in range(N)]
    smooth = rng.uniform(0, 1, (N, *shape[1:-2], shape[-2] // 4, shape[-1] // 4)).repeat(4, -1).repeat(4, -2)
    return [np.clip(x[None] + rng.normal(0, 0.05, shape), 0, 1).astype(np.float32) for x in smooth]


def lowered(made: StarNet) -> BoardForm:
    calibration = Calibration(lambda: iter(inputs(made.input.shape)), N)
    return board_detector(made, "posix").lower(Material(unexported(made), calibration, "posix"))


@pytest.fixture(scope="module", params=["range-image", "vector"])
def both(request: pytest.FixtureRequest) -> tuple[StarNet, BoardForm]:
    made = vector_detector() if request.param == "vector" else image_detector(PRESETS["micro"])
    return made, lowered(made)


@torch.no_grad()
def outputs_of(made: StarNet, values: np.ndarray) -> dict[str, np.ndarray]:
    network = made.network()(torch.from_numpy(values))
    return {n: t.numpy() for n, t in zip(made.outputs, network, strict=True)}


def ran(form: BoardForm, values: np.ndarray) -> dict[str, np.ndarray]:
    image = form.image("plain")
    model = HostModel(image.content, inputs=image.inputs, outputs=image.outputs)
    got = model.infer([form.input.quantize(values)])
    return form.dequantized(dict(zip(form.outputs, got, strict=True)))


def test_layers_as_arrays_are_torchs(both: tuple[StarNet, BoardForm]) -> None:
    made, _ = both
    nets = board_networks(made.encoder, made.decoder)
    with torch.no_grad():
        x = torch.randn(made.input.shape[:2] if len(made.input.shape) == 3 else made.input.shape)
        mean, logvar = made.encoder(x)
        decoded = made.decoder(mean)
    hidden = x[0].double().numpy()
    hidden = hidden.transpose(1, 2, 0) if hidden.ndim == 3 else hidden
    for layer in nets.body:
        hidden = apply(layer, hidden)
    np.testing.assert_allclose(apply(nets.mean, hidden), mean[0], atol=1e-4)
    np.testing.assert_allclose(apply(nets.logvar, hidden).clip(-8, 4), logvar[0], atol=1e-4)
    z = apply(nets.decoder[0], mean[0].double().numpy()).reshape(nets.grid)
    for layer in nets.decoder[1:]:
        z = apply(layer, z)
    wanted = decoded[0].permute(1, 2, 0) if decoded.ndim == 4 else decoded[0]
    np.testing.assert_allclose(z, wanted, atol=1e-4)


def test_the_board_computes_the_definition_and_that_is_near_the_float_network(both) -> None:
    made, form = both
    given = inputs(made.input.shape, seed=5)
    proven(form, [form.input.quantize(values) for values in given[:2]])
    for values in given[:4]:
        got, wanted = ran(form, values), outputs_of(made, values)
        features = wanted["features"]
        wanted["features"] = features.transpose(0, 2, 3, 1) if features.ndim == 4 else features
        with torch.no_grad():
            decoded = made.decoder(torch.from_numpy(wanted["mean"])).numpy()
        wanted["reconstruction"] = decoded.transpose(0, 2, 3, 1) if decoded.ndim == 4 else decoded
        for name, tolerance in (
            ("mean", 2e-3),
            ("logvar", 2e-3),
            ("features", 2e-3),
            ("reconstruction", 5e-3),
        ):
            np.testing.assert_allclose(got[name], wanted[name].reshape(got[name].shape), atol=tolerance)
        np.testing.assert_allclose(got["mahalanobis"], wanted["mahalanobis"], rtol=5e-3, atol=2e-3)


def head(score: str, stop_at: float | None = None, steps: int = 6) -> HeadSpec:
    step, probe = gains(2e-3, 0.0625, steps)
    return HeadSpec(name="likelihood-regret", params={
        "output": "mean", "logvar": "logvar", "features": "features", "mahalanobis": "mahalanobis",
        "decoder": "decoder", "variance": 0.9, "seed": 42, "step": step, "probe": probe, "score": score,
        "search": score == "regret", "stop_at": stop_at,
        "ranges": {"regret": [1.0, 4.0, 9.0], "neg_elbo": [900.0, 1300.0, 1500.0], "kl": [5.0, 9.0, 20.0],
                   "mahalanobis": [0.5, 1.0, 2.5]},
    })  # fmt: skip


def kinds_of(form: BoardForm) -> set[type]:
    return {type(step.record) for step in form.program("plain").steps}


@pytest.mark.parametrize("score", FIGURES)
def test_figures_and_score_are_those_of_the_float_head(both, score: str) -> None:
    made, form = both
    finished = form.finish(head(score))
    assert list(finished.outputs)[-1] == SCORE and finished.outputs[SCORE].dtype == "int32"
    assert [n for n in finished.outputs if n != SCORE] == TAKEN[score]
    kinds = kinds_of(finished)
    assert (Doubling16 in kinds) == (Doubling16 in kinds_of(form) and score in ("regret", "neg_elbo"))
    assert (Standardise16 in kinds) == (score != "mahalanobis")
    proven(finished, [form.input.quantize(inputs(made.input.shape)[0])])
    for values in inputs(made.input.shape, seed=9)[:3]:
        got = ran(finished, values)
        wanted = evaluate(head(score), outputs_of(made, values), {"decoder": TorchEngine(made.decoder)})
        for name in TAKEN[score]:
            value = float(wanted.also[name][0])
            assert float(got[name][0, 0]) == pytest.approx(value, rel=0.01, abs=0.05), name
        assert float(got[SCORE][0, 0]) == pytest.approx(float(wanted.scores[0]), rel=0.03, abs=0.03)


def test_a_head_is_fitted_on_what_the_integers_stand_for(both) -> None:
    made, form = both
    given = inputs(made.input.shape)[:4]
    fitted = made.fit_head([ran(form, values) for values in given], form.parts)
    float_ = made.fit_head([outputs_of(made, v) for v in given], {"decoder": TorchEngine(made.decoder)})
    assert fitted.params["step"] == float_.params["step"]
    for name in FIGURES:
        np.testing.assert_allclose(
            fitted.params["ranges"][name], float_.params["ranges"][name], rtol=0.05, atol=0.05
        )


def test_a_search_ends_early_where_the_alarm_is_certain() -> None:
    made = vector_detector()
    form, values = lowered(made), inputs((1, 12, 1), seed=9)[0]
    whole = float(ran(form.finish(head("regret", steps=40)), values)["regret"][0, 0])
    early = form.finish(head("regret", steps=40, stop_at=whole / 2))
    proven(early, [form.input.quantize(values)])
    assert whole / 2 < float(ran(early, values)["regret"][0, 0]) < whole
    assert any("40 steps of four passes" in note for note in early.notes)


def test_sums_cannot_overflow_and_inputs_beyond_the_calibrated_saturate() -> None:
    made = image_detector(PRESETS["micro"])
    form = lowered(made)
    for values in (np.full(made.input.shape, 1.0), np.zeros(made.input.shape)):
        got, wanted = ran(form, values.astype(np.float32)), outputs_of(made, values.astype(np.float32))
        np.testing.assert_allclose(got["mean"], wanted["mean"].clip(-16, 16), rtol=0.2, atol=0.5)


def test_outputs_keep_the_images_order_in_a_manifest() -> None:
    options = lowered(vector_detector()).finish(head("regret")).options()
    outputs = options["outputs"]
    assert list(outputs) != sorted(outputs)
    by_name = {name: outputs[name] for name in sorted(outputs)}
    assert list(Ports.of(options["input"], by_name).outputs) == list(outputs)


def test_a_preset_that_does_not_fit_names_the_one_that_would() -> None:
    made = image_detector(PRESETS["small"])
    calibration = Calibration(lambda: iter(inputs(made.input.shape)), N)
    m7 = targets.get("cortex-m7")
    assert isinstance(m7, ImageTarget)
    small = replace(find("nrf52840-dk"), slot_bytes=192 << 10)
    target = replace(m7, fit=lambda image, parameters: fit(image, parameters, [small]))
    captured = unexported(made)
    form = board_payload.lower(captured, calibration, target.name)
    with pytest.raises(BudgetError, match="bytes over") as refused:
        board_payload.require_fit(captured, form, calibration, [target])
    assert refused.value.hint == "the preset 'micro' would: edge-ad fit starnet --preset micro"
    distance = replace(made, config=made.config.model_copy(update={"score": "mahalanobis"}))
    captured = unexported(distance)
    form = board_payload.lower(captured, calibration, target.name)
    board_payload.require_fit(captured, form, calibration, [target])  # which has no networks to fit in
