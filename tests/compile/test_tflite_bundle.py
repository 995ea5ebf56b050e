"""A .tflite file becomes a bundle whose images and vectors any board can be held to, or one line that says why not."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_networks import dense
from tflite_maker import Maker, reference

from edge_ad import targets
from edge_ad.bundle.archive import open_bundle
from edge_ad.compile import reference as reference_module
from edge_ad.compile.tflite_bundle import compile_tflite
from edge_ad.errors import (
    BudgetError,
    DataError,
    ModelError,
    ParityError,
    QualityError,
    TargetError,
    UsageError,
)
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.targets.microcontroller import fit

POSIX, M4, M55 = (targets.get(name) for name in ("posix", "cortex-m4", "cortex-m55"))


@pytest.fixture
def autoencoder(tmp_path: Path) -> Path:
    path = tmp_path / "auto.tflite"
    path.write_bytes(dense((24, 8, 24)))
    return path


def test_a_bundle_holds_an_image_for_each_target_and_vectors_of_the_reference(
    autoencoder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pump.edgead"
    made = compile_tflite(autoencoder, [POSIX, M4, M55], out)
    with open_bundle(out) as bundle:
        bundle.verify()
        assert bundle.manifest == made.manifest and bundle.digest == made.digest
        assert [p.target for p in bundle.manifest.payloads] == ["posix", "cortex-m4", "cortex-m55"]
        payload = bundle.manifest.payload("posix")
        assert (payload.golden.atol, payload.golden.rtol, payload.head.name) == (0, 0, "mse")
        assert payload.thresholds is None and payload.drift is None
        assert payload.budget.fits and payload.budget.macs == 2 * 24 * 8
        assert sum(payload.budget.parts.values()) == payload.budget.flash_bytes + payload.budget.ram_bytes
        golden = np.load(io.BytesIO(bundle.read(payload.golden.file)))
        model = HostModel(bundle.read(payload.model))
        for x, y in zip(golden["input"], golden["output"], strict=True):
            np.testing.assert_array_equal(y, reference(autoencoder.read_bytes(), [x])[0][0])
            np.testing.assert_array_equal(model.infer([x])[0], y)


def test_the_same_file_gives_the_same_bundle(autoencoder: Path, tmp_path: Path) -> None:
    digests = {compile_tflite(autoencoder, [POSIX], tmp_path / "x.edgead").digest for _ in range(2)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("sizes", "asked", "head"),
    [((8, 4, 8), None, "mse"), ((8, 1), None, "value"), ((8, 3), None, "max"), ((8, 8), "max", "max")],
)
def test_the_head_follows_from_the_shapes_or_is_named(
    tmp_path: Path, sizes: tuple[int, ...], asked, head: str
) -> None:
    (tmp_path / "n.tflite").write_bytes(dense(sizes))
    made = compile_tflite(tmp_path / "n.tflite", [POSIX], tmp_path / "n.edgead", head=asked)
    assert made.manifest.payloads[0].head.name == head


def test_a_head_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.tflite").write_bytes(dense((8, 3)))
    with pytest.raises(
        UsageError, match=r"the head 'mse' does not fit an input \(1, 8\) and an output \(1, 3\)"
    ):
        compile_tflite(tmp_path / "n.tflite", [POSIX], tmp_path / "n.edgead", head="mse")


def test_a_threshold_is_calibrated_on_normal_rows(autoencoder: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(0, 1, (199, 24)).astype(np.float32)
    np.save(tmp_path / "normals.npy", rows)
    made = compile_tflite(
        autoencoder, [POSIX], tmp_path / "x.edgead", data=tmp_path / "normals.npy", max_false_alarms=0.01
    )
    thresholds = made.manifest.payloads[0].thresholds
    assert thresholds is not None and thresholds.float_ is None
    assert (thresholds.compiled.n, thresholds.compiled.rank) == (199, 198)
    spec = made.manifest.input.preprocess.params
    quantized = np.clip(np.rint(rows / spec["scale"]) + spec["zero_point"], -128, 127).astype(np.int8)
    head = made.manifest.payloads[0].head.params
    outputs = np.stack([reference(autoencoder.read_bytes(), [q])[0][0] for q in quantized]).astype(np.float64)
    difference = spec["scale"] * (quantized - float(spec["zero_point"])) - head["scale"] * (
        outputs - head["zero_point"]
    )
    wanted = np.sort((difference**2).mean(1))[197]
    assert thresholds.compiled.value == pytest.approx(wanted, rel=1e-6)


def test_what_cannot_be_calibrated_is_refused(autoencoder: Path, tmp_path: Path) -> None:
    normals, out = tmp_path / "normals.npy", tmp_path / "x.edgead"
    np.save(normals, np.zeros((20, 24), np.float32))
    with pytest.raises(UsageError, match="needs both --data with normal inputs and --max-false-alarms"):
        compile_tflite(autoencoder, [POSIX], out, data=normals)
    with pytest.raises(QualityError, match=r"cannot support a false-alarm rate of 0\.01"):
        compile_tflite(autoencoder, [POSIX], out, data=normals, max_false_alarms=0.01)
    np.save(normals, np.zeros((20, 25), np.float32))
    with pytest.raises(DataError, match=r"numbers of shape \(24,\) are expected"):
        compile_tflite(autoencoder, [POSIX], out, data=normals, max_false_alarms=0.1)
    assert not out.exists()


def test_an_engine_that_differs_from_the_reference_stops_the_compile(
    autoencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = reference_module.Network.results

    def wrong(network, values):
        results = original(network, values)
        results[0] = results[0].copy()
        results[0][5] ^= 1
        return results

    monkeypatch.setattr(reference_module.Network, "results", wrong)
    with pytest.raises(
        ParityError, match="'output' differs from LiteRT's reference kernels in 1 of 24 values"
    ):
        compile_tflite(autoencoder, [POSIX], tmp_path / "x.edgead")
    assert not (tmp_path / "x.edgead").exists()


def test_what_does_not_fit_says_how_much_is_over(autoencoder: Path, tmp_path: Path) -> None:
    from edge_ad.firmware_bridge.boards import find

    board = replace(find("posix"), slot_bytes=500, arena_bytes=32)
    small = replace(POSIX, fit=lambda image, parameters: fit(image, parameters, [board]))
    with pytest.raises(BudgetError) as caught:
        compile_tflite(autoencoder, [small], tmp_path / "x.edgead")
    assert "the image is" in str(caught.value) and "over the 500 that there are on posix" in str(caught.value)
    assert "the arena is 16 bytes over the 32 that there are" in str(caught.value)
    assert "use a smaller network" in str(caught.value)


def test_what_is_no_network_for_a_board_is_one_line(autoencoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.edgead"
    with pytest.raises(TargetError, match=r"'openvino-cpu' does not take \.tflite files"):
        compile_tflite(autoencoder, [targets.get("openvino-cpu")], out)
    with pytest.raises(UsageError, match="name each target once"):
        compile_tflite(autoencoder, [POSIX, POSIX], out)
    with pytest.raises(UsageError, match=r"ends in \.edgead"):
        compile_tflite(autoencoder, [POSIX], tmp_path / "x.zip")
    with pytest.raises(ModelError, match="cannot be read"):
        compile_tflite(tmp_path / "gone.tflite", [POSIX], out)
    maker = Maker()
    a, b, y = (maker.tensor((1, 4), 0.1, 0) for _ in range(3))
    maker.operator("ADD", [a, b], [y], "AddOptions", 2)
    two = tmp_path / "two.tflite"
    two.write_bytes(maker.data([a, b], [y]))
    with pytest.raises(ModelError, match="has 2 inputs, a bundle's network takes one; --emit-c"):
        compile_tflite(two, [POSIX], out)


def test_the_mlperf_tiny_anomaly_detector(tmp_path: Path) -> None:
    data = Path(
        os.environ.get("EDGE_AD_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data")
    )
    model = data / "models" / "mlperf_tiny_ad01" / "ad01_int8.tflite"
    if not model.exists():
        pytest.skip("MLPerf Tiny's network is not on this machine (set EDGE_AD_DATA)")
    made = compile_tflite(model, [POSIX, M4, M55], tmp_path / "pump.edgead")
    assert made.manifest.payload("posix").budget.macs == 264192
    assert made.images["posix"].plan.size <= 1400
