"""Torch to .tflite and back to numbers: what the engine makes of a file is what LiteRT's own definition says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge_ad.errors import EngineError, TargetError
from edge_ad.runtime.engines.litert import LiteRtEngine

pytest.importorskip("litert_torch")
pytest.importorskip("ai_edge_quantizer")

from edge_ad.compile.litert import calibrated, convert, float_operators, quantize

SHAPE = (1, 3, 8, 8)


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """float.tflite and int8.tflite of one network."""
    folder = tmp_path_factory.mktemp("litert")
    content = convert(_Network(), [torch.zeros(SHAPE)], what="the network")
    rng = np.random.default_rng(0)
    feeds = [[rng.normal(size=SHAPE).astype(np.float32)] for _ in range(8)]
    (folder / "float.tflite").write_bytes(content)
    (folder / "int8.tflite").write_bytes(quantize(content, calibrated(content, feeds, pixels=False)))
    return folder


def inputs(n: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=SHAPE).astype(np.float32) for _ in range(n)]


def test_the_float_file_is_the_network(files: Path) -> None:
    network, engine = _Network().eval(), LiteRtEngine(files / "float.tflite", outputs=["map"], threads=1)
    for batch in inputs():
        with torch.no_grad():
            wanted = network(torch.from_numpy(batch)).numpy()
        np.testing.assert_allclose(engine.infer(batch)["map"], wanted, atol=1e-5)
    info = engine.describe()
    assert (info.engine, info.provider, info.threads) == ("litert", "cpu", 1)
    assert info.details["kernels"] == "fast"


def test_int8_goes_in_and_out_by_the_files_own_scales(files: Path) -> None:
    """The oracle: LiteRT's reference kernels on integers made here, one by one."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    oracle = Interpreter(
        model_path=str(files / "int8.tflite"), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    oracle.allocate_tensors()
    given, made = oracle.get_input_details()[0], oracle.get_output_details()[0]
    assert given["dtype"] == made["dtype"] == np.int8
    engine = LiteRtEngine(files / "int8.tflite", outputs=["map"], threads=1, kernels="reference")
    for batch in [*inputs(), 100 * inputs(1)[0]]:  # the last one leaves the range and is cut off at its ends
        scale, zero = given["quantization"]
        steps = np.array(
            [min(127, max(-128, round(float(v) / scale) + zero)) for v in batch.ravel()], np.int8
        )
        oracle.set_tensor(given["index"], steps.reshape(SHAPE))
        oracle.invoke()
        scale, zero = made["quantization"]
        wanted = (oracle.get_tensor(made["index"]).astype(np.float64) - zero) * scale
        np.testing.assert_allclose(engine.infer(batch)["map"], wanted, rtol=1e-6, atol=1e-6)
    assert float_operators((files / "int8.tflite").read_bytes()) == []


def test_the_kernels_differ_by_few_steps(files: Path) -> None:
    engines = [
        LiteRtEngine(files / "int8.tflite", outputs=["map"], threads=1, kernels=kernels)
        for kernels in ("fast", "plain", "reference")
    ]
    for batch in inputs():
        fast, plain, reference = (engine.infer(batch)["map"] for engine in engines)
        step = np.abs(reference).max() / 64
        assert np.abs(fast - reference).max() <= 2 * step and np.abs(plain - reference).max() <= 2 * step


def test_what_it_cannot_take_is_one_line(files: Path, tmp_path: Path) -> None:
    engine = LiteRtEngine(files / "float.tflite", outputs=["map"])
    with pytest.raises(EngineError, match=r"the network takes \(1, 3, 8, 8\), not \(1, 3, 8, 9\)"):
        engine.infer(np.zeros((1, 3, 8, 9), np.float32))
    with pytest.raises(EngineError, match="gives 1 outputs, not 2"):
        LiteRtEngine(files / "float.tflite", outputs=["map", "also"])
    (tmp_path / "bad.tflite").write_bytes(b"no flatbuffer at all, but long enough to be one")
    with pytest.raises(EngineError, match=r"bad\.tflite: LiteRT refuses the network"):
        LiteRtEngine(tmp_path / "bad.tflite", outputs=["map"])
    with pytest.raises(EngineError, match="LiteRT refuses the network"):
        LiteRtEngine(tmp_path / "none.tflite", outputs=["map"])


class _Eigenvalues(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigh(x @ x.transpose(-1, -2)).eigenvalues


def test_a_network_that_litert_has_no_operator_for_is_named() -> None:
    with pytest.raises(TargetError, match="LiteRT cannot take the network"):
        convert(_Eigenvalues(), [torch.zeros(SHAPE)], what="the network")
