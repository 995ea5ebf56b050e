"""ONNX Runtime as an engine: what runs where, what is required, and where engines are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_ad.errors import EngineError, MissingDependencyError
from edge_ad.runtime.engines import open_model
from edge_ad.runtime.engines.onnxruntime import OnnxRuntimeEngine, _opened, engine_cache, nodes_by_provider

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """y = 2 x + 1 for x (1, 3)."""
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "two"], ["m"], "mul"),
            helper.make_node("Add", ["m", "one"], ["y"], "add"),
        ],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 3))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 3))],
        [tensor(np.float32([2]), "two"), tensor(np.float32([1]), "one")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, tmp_path / "network.onnx")
    return tmp_path / "network.onnx"


def test_it_runs_and_says_what_runs(model: Path) -> None:
    engine = open_model("onnxruntime", model, {"providers": ["tensorrt", "cuda", "cpu"], "threads": 1})
    np.testing.assert_array_equal(engine.infer(np.float32([[1, 2, 3]]))["y"], [[3, 5, 7]])
    np.testing.assert_array_equal(engine.infer(np.uint8([[1, 2, 3]]))["y"], [[3, 5, 7]])  # bytes as numbers
    info = engine.describe()
    assert (info.engine, info.provider, info.threads) == ("onnxruntime", "cpu", 1)
    assert info.version == ort.__version__
    engine.close()


def test_what_does_not_run_where_it_was_asked_to_is_said(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A provider that is not there, and one that fails when it is opened."""
    asked = {"providers": ["tensorrt", "cuda", "cpu"], "cache": tmp_path}
    assert "fallback" not in OnnxRuntimeEngine(model).describe().details
    if "TensorrtExecutionProvider" not in ort.get_available_providers():
        told = OnnxRuntimeEngine(model, **asked).describe().details["fallback"]
        assert told.startswith("runs on cpu, not on tensorrt: tensorrt is not in this ONNX Runtime")
    monkeypatch.setattr(
        ort, "get_available_providers", lambda: [f"{n}ExecutionProvider" for n in ("Tensorrt", "CPU")]
    )
    real = ort.InferenceSession

    def session(path: str, options: object, *, providers: list, enable_fallback: int) -> object:
        assert not enable_fallback
        if providers[0][0] == "TensorrtExecutionProvider":
            raise RuntimeError("libnvinfer.so.10: no such file")
        return real(path, options, providers=providers)

    monkeypatch.setattr(ort, "InferenceSession", session)
    engine = OnnxRuntimeEngine(model, **asked)
    np.testing.assert_array_equal(engine.infer(np.float32([[1, 2, 3]]))["y"], [[3, 5, 7]])
    assert "tensorrt failed (libnvinfer.so.10: no such file)" in engine.describe().details["fallback"]
    with pytest.raises(EngineError, match="libnvinfer"):
        OnnxRuntimeEngine(model, **asked, require="tensorrt")


def test_an_engine_cache_that_cannot_be_written_is_one_line(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        ort, "get_available_providers", lambda: ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    )
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineError, match=r"engine cannot be kept there .* set EDGE_AD_CACHE"):
        OnnxRuntimeEngine(model, providers=["tensorrt", "cpu"], cache=tmp_path / "file")


@pytest.mark.parametrize("wrong", [np.zeros((1, 4), np.float32), np.zeros((1, 3), np.float64)])
def test_another_shape_or_type_is_refused(model: Path, wrong: np.ndarray) -> None:
    with pytest.raises(EngineError, match=r"the network takes \(1, 3\) float32"):
        OnnxRuntimeEngine(model).infer(wrong)


def test_a_provider_that_is_required_and_not_there_is_an_error_that_says_what_is(model: Path) -> None:
    OnnxRuntimeEngine(model, require="cpu").close()
    if "TensorrtExecutionProvider" not in ort.get_available_providers():
        with pytest.raises(
            EngineError, match="'tensorrt' is required and is not in this ONNX Runtime; it has: cpu"
        ):
            OnnxRuntimeEngine(model, providers=["tensorrt", "cpu"], require="tensorrt")


def test_a_required_provider_that_leaves_nodes_to_another_is_an_error(model: Path) -> None:
    engine = OnnxRuntimeEngine(model)
    engine._nodes = {"CPUExecutionProvider": 1, "CUDAExecutionProvider": 40}
    with pytest.raises(
        EngineError, match="does not run all of the network; 40 nodes on CUDAExecutionProvider"
    ):
        engine._check_required("cpu", model)
    engine._asked = "cuda"
    info = engine.describe()
    assert info.provider == "cuda" and info.details["nodes"] == "cpu 1, cuda 40"
    assert info.details["fallback"] == "1 on cpu of 41 nodes, the others on cuda"


def test_the_nodes_of_each_provider_are_counted_from_a_real_profile(model: Path) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session, nodes = _opened(ort, model, options, [("CPUExecutionProvider", {})], profile=True)
    assert nodes == {"CPUExecutionProvider": 2}
    np.testing.assert_array_equal(session.run(None, {"x": np.float32([[1, 2, 3]])})[0], [[3, 5, 7]])


def test_a_node_that_ran_twice_counts_once(tmp_path: Path) -> None:
    def ran(name: str, provider: str) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "args": {"provider": provider}}

    events = [
        ran("a", "T"),
        ran("a", "T"),
        ran("b", "C"),
        {"cat": "Session", "name": "x"},
        {"cat": "Node", "name": "n"},
    ]
    (tmp_path / "p.json").write_text(json.dumps(events))
    assert nodes_by_provider(tmp_path / "p.json") == {"T": 1, "C": 1}


def test_built_engines_are_kept_by_file_and_gpu(model: Path, tmp_path: Path) -> None:
    one = engine_cache(model, "NVIDIA Jetson Orin Nano", tmp_path / "c")
    assert one.name.endswith(f"-nvidia-jetson-orin-nano-ort{ort.__version__}")
    assert one.parent == tmp_path / "c" / "tensorrt"
    assert engine_cache(model, "Jetson AGX Xavier", tmp_path / "c") != one
    model.write_bytes(model.read_bytes() + b" ")
    assert engine_cache(model, "NVIDIA Jetson Orin Nano", tmp_path / "c") != one


def test_a_file_that_is_no_network_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(EngineError, match="ONNX Runtime refuses the network") as caught:
        OnnxRuntimeEngine(tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)


def test_without_the_package_the_extra_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"edge-ad\[onnxruntime\]"):
        OnnxRuntimeEngine(model)
