"""One bundle for several devices: what each payload is, that it proves itself, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkout import copy_checkout

from edge_ad.bundle.archive import open_bundle

onnx = pytest.importorskip("onnx")
pytest.importorskip("litert_torch")

TARGETS = ("openvino-cpu", "onnx-cpu", "litert", "jetson-orin")
PAYLOADS = ["openvino-cpu", "onnx-cpu", "litert", "jetson-orin", "jetson-orin-fp16"]


@pytest.fixture(scope="module")
def many(model: Path, parts: Path, edge_ad, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("many") / "part.edgead"
    arguments = [argument for name in TARGETS for argument in ("--target", name)]
    words = (*arguments, "--data", parts, "--max-false-alarms", "0.1", "--out", out)
    done = edge_ad("compile", model, *words, timeout=550)  # five payloads, on a machine that may be busy
    assert done.code == 0, done.err
    assert "this machine is none of its kind" in done.out  # of the Jetson's speed nothing is claimed
    return out


def test_one_bundle_has_a_payload_and_a_threshold_for_each_device(many: Path) -> None:
    with open_bundle(many) as bundle:
        payloads = bundle.manifest.payloads
        assert [payload.target for payload in payloads] == PAYLOADS
        assert [payload.precision for payload in payloads] == ["int8", "int8", "int8", "int8", "fp16"]
        assert all(payload.thresholds is not None and payload.drift is not None for payload in payloads)
        assert [payload.architectures for payload in payloads] == [[], [], [], ["aarch64"], ["aarch64"]]
        assert any("trtexec --onnx=network.onnx --int8" in text for text in payloads[3].decisions)
        assert payloads[2].golden.basis.startswith("measured, largest difference from LiteRT's reference")


@pytest.mark.parametrize("target", PAYLOADS)
def test_each_payload_proves_itself_here(many: Path, edge_ad, target: str) -> None:
    """The Jetson's on ONNX Runtime's CPU provider, which is what there is."""
    import onnxruntime

    done = edge_ad("verify", many, "--target", target)
    assert done.code == 0, done.err
    if (
        target.startswith("jetson")
        and "TensorrtExecutionProvider" not in onnxruntime.get_available_providers()
    ):
        said = edge_ad("verify", many, "--target", target, "--json").out
        assert json.loads(said)["engine"]["details"]["fallback"].startswith("runs on cpu, not on tensorrt")


@pytest.mark.parametrize("target", ["onnx-cpu", "litert"])
def test_each_cpu_payload_is_flashed_and_judges_images_like_the_others(
    many: Path, parts: Path, edge_ad, target: str, tmp_path: Path
) -> None:
    done = edge_ad("flash", many, "--to", f"dir:{tmp_path}/line", "--target", target)
    assert done.code == 0, done.err
    done = edge_ad(
        "run",
        f"dir:{tmp_path}/line",
        "--source",
        parts / "test",
        "--sink",
        f"jsonl:{tmp_path}/e.jsonl",
        "--json",
    )
    assert done.code == 0 and json.loads(done.out)["frames"] == 12, done.err


@pytest.mark.parametrize(
    ("target", "provider", "said"),
    [
        (
            "jetson-orin",
            "tensorrt",
            "the provider 'tensorrt' is required and is not in this ONNX Runtime; it has: ",
        ),
        ("jetson-orin", "cuda", "the provider 'cuda' is required"),
        (
            "litert",
            "cuda",
            "the provider 'cuda' is required, and the payload for 'litert' runs on litert (cpu)",
        ),
        ("openvino-cpu", "tensorrt", "runs on openvino (CPU)"),
    ],
)
def test_a_provider_that_is_required_and_does_not_run_is_exit_1(
    many: Path, parts: Path, edge_ad, tmp_path: Path, target: str, provider: str, said: str
) -> None:
    import onnxruntime

    full = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}[provider]
    if target == "jetson-orin" and full in onnxruntime.get_available_providers():
        pytest.skip(f"this machine has {provider}")
    for words in (
        ("verify", many), ("run", many, "--source", parts / "test"),
        ("infer", many, "--input", parts / "test", "--output", tmp_path / "o.npz"),
    ):  # fmt: skip
        done = edge_ad(*words, "--target", target, "--require-provider", provider)
        assert done.code == 1 and said in done.error, (words, done.err)
    assert list(tmp_path.iterdir()) == []


def test_the_provider_that_runs_may_be_required(many: Path, edge_ad) -> None:
    for target in ("jetson-orin", "litert", "openvino-cpu"):
        done = edge_ad("verify", many, "--target", target, "--require-provider", "cpu")
        assert done.code == 0, done.err


def test_scores_of_all_payloads_agree_in_order(many: Path, parts: Path, edge_ad, tmp_path: Path) -> None:
    scores = {}
    for target in PAYLOADS:
        done = edge_ad(
            "infer",
            many,
            "--input",
            parts / "test",
            "--target",
            target,
            "--output",
            tmp_path / f"{target}.npz",
        )
        assert done.code == 0, done.err
        scores[target] = np.load(tmp_path / f"{target}.npz")["score"]
    for target in PAYLOADS[1:]:
        assert np.corrcoef(scores[PAYLOADS[0]], scores[target])[0, 1] > 0.9, (target, scores)


def test_the_jetson_files_keep_tensorrts_rules(many: Path) -> None:
    from edge_ad.compile.tensorrt_rules import violations
    from edge_ad.targets.jetson import ORIN

    with open_bundle(many) as bundle:
        for name in ("jetson-orin", "jetson-orin-fp16"):
            model = onnx.load_from_string(bundle.read(f"payload/{name}/network.onnx"))
            assert violations(model, ORIN) == []
            quantized = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
            assert bool(quantized) == (name == "jetson-orin")


def test_the_older_jetsons_get_what_their_tensorrt_reads(
    model: Path, parts: Path, edge_ad, tmp_path: Path
) -> None:
    from edge_ad.compile.tensorrt_rules import violations
    from edge_ad.targets.jetson import NANO, XAVIER

    words = ("--data", parts, "--max-false-alarms", "0.1", "--out", tmp_path / "old.edgead")
    done = edge_ad("compile", model, "--target", "jetson-xavier", "--target", "jetson-nano", *words)
    assert done.code == 0, done.err
    devices = {"jetson-xavier": (XAVIER, 16), "jetson-xavier-fp16": (XAVIER, 16), "jetson-nano": (NANO, 13)}
    with open_bundle(tmp_path / "old.edgead") as bundle:
        assert [payload.target for payload in bundle.manifest.payloads] == list(devices)
        assert [payload.precision for payload in bundle.manifest.payloads] == ["int8", "fp16", "fp16"]
        for name, (device, opset) in devices.items():
            network = onnx.load_from_string(bundle.read(f"payload/{name}/network.onnx"))
            assert violations(network, device) == [] and network.opset_import[0].version <= opset
        kind = network.graph.input[0].type.tensor_type.elem_type
        assert kind == onnx.TensorProto.FLOAT  # the Nano's takes no bytes; the others' do
    for name in devices:
        assert edge_ad("verify", tmp_path / "old.edgead", "--target", name).code == 0


def test_the_litert_file_is_what_a_microcontroller_takes(many: Path, edge_ad, tmp_path: Path) -> None:
    with open_bundle(many) as bundle:
        (tmp_path / "network.tflite").write_bytes(bundle.read("payload/litert/network.tflite"))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(tmp_path / "network.tflite"))
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert {detail["dtype"] for detail in details} == {np.int8}
    done = edge_ad(
        "compile",
        tmp_path / "network.tflite",
        "--target",
        "posix",
        "--head",
        "max",
        "--out",
        tmp_path / "b.edgead",
    )
    assert done.code == 0, done.err


@pytest.mark.slow
def test_two_compiles_give_the_same_bytes(
    many: Path, model: Path, parts: Path, edge_ad, tmp_path: Path
) -> None:
    arguments = [argument for name in TARGETS for argument in ("--target", name)]
    again = tmp_path / "part.edgead"
    words = (*arguments, "--data", parts, "--max-false-alarms", "0.1", "--out", again)
    done = edge_ad("compile", model, *words, timeout=550)
    assert done.code == 0, done.err
    assert again.read_bytes() == many.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "jetson-nano", "--precision", "int8"), "'jetson-nano' has no int8; it has: fp16"),
        (("--target", "litert", "--precision", "fp16"), "'litert' has no fp16; it has: int8, fp32"),
        (("--target", "jetson"), "unknown target 'jetson'; did you mean jetson-"),
    ],
)
def test_what_a_target_does_not_have_is_one_line(
    model: Path, parts: Path, edge_ad, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = edge_ad(
        "compile",
        model,
        *arguments,
        "--data",
        parts,
        "--max-false-alarms",
        "0.1",
        "--out",
        tmp_path / "b.edgead",
    )
    assert done.code in (1, 2) and message in done.error


def test_nothing_is_reported_to_openvinos_maker() -> None:
    """Its package would tell at every import, from a process that it forks."""
    code = "import sys, edge_ad, openvino; print(type(sys.modules['openvino_telemetry']).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "NoneType"


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime has no wheel for this Python")
def test_a_device_with_tflite_runtime_and_numpy_1_agrees_with_the_host(
    many: Path, parts: Path, tmp_path: Path
) -> None:
    """The device install: no torch, no onnx; the package that older boards have."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    source = copy_checkout(tmp_path / "source")
    packages = [f"{source}[camera]", "numpy<2", "tflite-runtime==2.14.0"]
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"packages cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]

    def edge_ad(*words: object) -> str:
        command = [python, "-m", "edge_ad", *map(str, words)]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert "litert 2.14.0" in edge_ad("verify", many, "--target", "litert")
    edge_ad("flash", many, "--to", "dir:line", "--target", "litert")
    ran = edge_ad("run", "dir:line", "--source", parts / "test", "--sink", "jsonl:e.jsonl", "--json")
    assert json.loads(ran)["frames"] == 12
