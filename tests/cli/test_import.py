"""Networks that are not ours on the whole way: import, compile for several devices, inspect, flash, run."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from foreign_networks import IMAGENET, SeriesAutoencoder, SimpleNet, export
from onnx import helper, numpy_helper
from torch import Tensor, nn

from edge_ad import targets
from edge_ad.bundle.archive import open_bundle
from edge_ad.compile.capture import capture
from edge_ad.data.sample_series import make_series
from edge_ad.data.samples import make_parts
from edge_ad.detectors import load_detector
from edge_ad.runtime.engines import open_model
from edge_ad.runtime.images import read_image
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scorer import Scorer

SIZE = 48
ROWS = 32
CHANNELS = ("current", "vibration", "flow")
TARGETS = ("openvino-cpu", "onnx-cpu", "jetson-orin")
PAYLOADS = ["openvino-cpu", "onnx-cpu", "jetson-orin", "jetson-orin-fp16"]
RATE = 0.1


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a user sees of an expected error."""
        assert "Traceback" not in self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return line


def edge_ad(*words: object) -> Done:
    """The command line in this process, where its libraries are loaded already."""
    from edge_ad.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Case:
    """A foreign network on its way. data: normal inputs; tests: others, in folders by kind. score: by torch, of an
    input as it was acquired."""

    file: Path
    data: Path
    tests: Path
    options: tuple[object, ...]
    model: Path
    imported: Done
    score: Callable[[np.ndarray], float]

    def compile(self, out: Path, *more: object, names: tuple[str, ...] = TARGETS) -> Done:
        """Into `out`, INT8 where nothing else is said."""
        chosen = [word for name in names for word in ("--target", name)]
        return edge_ad(
            "compile",
            self.model,
            *chosen,
            "--data",
            self.data,
            "--max-false-alarms",
            RATE,
            "--out",
            out,
            *more,
        )


def without_tests(made: Path) -> Path:
    """Inputs to test with lie beside the data instead of inside: reports are shorter so."""
    (made / "test").rename(made.parent / "test")
    return made


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("import") / "parts"
    return without_tests(make_parts(folder, 5, size=SIZE, n_train=44, n_test_good=3, n_defective=3))


@pytest.fixture(scope="module")
def pump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("import") / "pump"
    return without_tests(make_series(folder, 4, n_train=2400, n_test=1200))


def image_score(network: SimpleNet, image: np.ndarray) -> float:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return network((pixels - IMAGENET[0]) / IMAGENET[1])[0].max().item()


def series_score(network: SeriesAutoencoder, window: np.ndarray) -> float:
    given = torch.from_numpy(window)[None]
    return ((network(given) - given) ** 2).mean().item()


@pytest.fixture(scope="module")
def simplenet(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Exported with open dimensions, by torch's older exporter."""
    torch.manual_seed(0)
    network = SimpleNet().eval()
    folder = tmp_path_factory.mktemp("simplenet")
    file = export(
        network,
        (1, 3, SIZE, SIZE),
        folder / "simple net.onnx",
        outputs=("anomaly_map", "mask"),
        dynamic=(0, 2, 3),
    )
    options = ("--head", "map-max", "--pixels", "imagenet", "--shape", f"1,3,{SIZE},{SIZE}")
    imported = edge_ad("import", file, *options, "--data", parts, "--out", folder / "model")
    return Case(
        file,
        parts,
        parts.parent / "test",
        options,
        folder / "model",
        imported,
        lambda image: image_score(network, image),
    )


@pytest.fixture(scope="module")
def autoencoder(pump: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Channels last, of the present exporter: opset 20, its weights in a second file."""
    torch.manual_seed(0)
    network = SeriesAutoencoder(len(CHANNELS)).eval()
    folder = tmp_path_factory.mktemp("autoencoder")
    file = export(network, (1, ROWS, len(CHANNELS)), folder / "pump.onnx", opset=20, new=True)
    assert (folder / "pump.onnx.data").exists()
    options = (
        "--head",
        "mse",
        "--input",
        "series",
        "--layout",
        "nlc",
        "--channels",
        ",".join(CHANNELS),
        "--hop",
        16,
    )
    imported = edge_ad("import", file, *options, "--data", pump, "--out", folder / "model")
    return Case(
        file,
        pump,
        pump.parent / "test",
        options,
        folder / "model",
        imported,
        lambda window: series_score(network, window),
    )


@pytest.fixture(scope="module", params=["simplenet", "autoencoder"])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], tuple[Path, dict]]:
    """The INT8 bundle of a case and its report, compiled once."""
    made: dict[Path, tuple[Path, dict]] = {}

    def compiled_once(case: Case) -> tuple[Path, dict]:
        if case.file not in made:
            out = tmp_path_factory.mktemp("bundle") / "b.edgead"
            done = case.compile(out, "--json")
            assert done.code == 0, done.err
            made[case.file] = out, json.loads(done.out)
        return made[case.file]

    return compiled_once


@pytest.fixture(scope="module")
def compiled(case: Case, bundle_of: Callable[[Case], tuple[Path, dict]]) -> tuple[Path, dict]:
    return bundle_of(case)


def test_import_says_what_it_made_and_who_takes_it(case: Case) -> None:
    done = case.imported
    assert done.code == 0, done.err
    images = case.file.stem == "simple net"
    assert (
        "imported simple-net: map-max of anomaly_map" if images else "imported pump: mse of out"
    ) in done.out
    assert (
        "set aside: 22 images for calibration, 22 for the threshold" if images else "windows for calib"
    ) in done.out
    assert "taken by jetson-nano, jetson-orin, jetson-xavier, onnx-cpu, openvino-cpu" in done.out
    assert (
        "not by litert: takes networks from torch, this one came as ONNX; take onnx-cpu or openvino-cpu"
        in done.out
    )
    assert (
        "not by cortex-m4, cortex-m55, cortex-m7, posix: takes a full-INT8 .tflite file, no model folder"
        in done.out
    )
    assert f"next: edge-ad compile {case.model} --target openvino-cpu" in done.out


def test_each_payload_has_a_threshold_of_its_own_scores(
    case: Case, compiled: tuple[Path, dict], tmp_path: Path
) -> None:
    """The order statistic of what that payload gives for the inputs that were held back."""
    bundle, report = compiled
    with open_bundle(bundle) as opened:
        manifest = opened.manifest
    assert [(p.target, p.precision) for p in manifest.payloads] == list(
        zip(PAYLOADS, ["int8"] * 3 + ["fp16"], strict=True)
    )
    assert len({p.thresholds.compiled.value for p in manifest.payloads if p.thresholds}) == len(PAYLOADS)
    assert report["data"]["fit"] == 0 and report["data"]["threshold"] > 15
    held = tmp_path / "held"
    if manifest.input.modality == "image":
        held.mkdir()
        for entry in json.loads((case.model / "model.json").read_text())["splits"]["threshold"]:
            shutil.copy(case.data / "train" / "good" / entry["name"], held)
    else:
        part = json.loads((case.model / "model.json").read_text())["splits"]["parts"][0]
        lines = (case.data / "train" / "good" / part["name"]).read_text().splitlines()
        held = tmp_path / "held.csv"
        held.write_text(
            "\n".join([lines[0], *lines[1 + part["threshold"][0] : 1 + part["threshold"][1]]]) + "\n"
        )
    for payload in manifest.payloads:
        assert payload.thresholds is not None and payload.drift is not None
        done = edge_ad(
            "infer",
            bundle,
            "--target",
            payload.target,
            "--input",
            held,
            "--output",
            tmp_path / "o.npz",
            "--json",
        )
        assert done.code == 0, done.err
        scores = sorted(json.loads(done.out)["scores"])
        threshold = payload.thresholds.compiled
        assert threshold.n == len(scores) == payload.drift.n
        assert scores[threshold.rank - 1] == pytest.approx(threshold.value, rel=1e-6)


@torch.no_grad()
def test_the_float_form_gives_torchs_scores(case: Case, tmp_path: Path) -> None:
    """On every target, by the engine that it has."""
    detector = load_detector(case.model)
    if case.file.stem == "simple net":
        inputs = [read_image(file) for file in sorted(case.tests.rglob("*.png"))]
    else:
        table = np.genfromtxt(case.tests / "spike" / "pump.csv", delimiter=",", names=True)
        values = np.stack([table[name] for name in CHANNELS], 1).astype(np.float32)
        inputs = [values[first : first + ROWS] for first in range(0, len(values) - ROWS + 1, ROWS)]
    wanted = [case.score(given) for given in inputs]
    assert len(wanted) > 5 and len(set(wanted)) == len(wanted)
    for target in map(targets.get, TARGETS):
        lowered = target.lower(capture(detector, target.opset), "fp32", None)
        folder = tmp_path / target.name
        folder.mkdir()
        for name, content in lowered.files.items():
            (folder / name).write_bytes(content)
        engine = open_model(target.engine, folder / lowered.model, {**target.options, **lowered.options})
        scorer = Scorer(engine, detector.input, detector.fit_head([], {}))
        found = [scorer(Sample(given, "", datetime.now(timezone.utc))).score for given in inputs]
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_the_map_is_not_of_eight_bits(
    simplenet: Case, bundle_of: Callable[[Case], tuple[Path, dict]], tmp_path: Path
) -> None:
    """Its last layer gives it on a coarser grid, and it is resized there: in float32."""
    bundle, _ = bundle_of(simplenet)
    image = next((simplenet.tests / "good").iterdir())
    for target in TARGETS:
        done = edge_ad("infer", bundle, "--target", target, "--input", image, "--output", tmp_path / "o.npz")
        assert done.code == 0, done.err
        map_ = np.load(tmp_path / "o.npz")["map"]
        assert map_.shape == (1, 1, SIZE, SIZE) and len(np.unique(map_)) > 1000, target


def test_inspect_tells_of_the_network(case: Case, compiled: tuple[Path, dict]) -> None:
    done = edge_ad("inspect", compiled[0])
    assert done.code == 0 and f"detector  imported {case.file.stem.replace(' ', '-')}" in done.out
    manifest = json.loads(edge_ad("inspect", compiled[0], "--json").out)["manifest"]
    config = manifest["detector"]["config"]
    assert config["shape"] == ([1, 3, SIZE, SIZE] if config["head"] == "map-max" else [1, ROWS, 3])
    text = compiled[0].with_suffix(".html").read_text()
    assert "fitted elsewhere, nobody here knows on what" in text
    assert config["file_sha256"] in text and "stays in float32: it makes the score" in text


@pytest.mark.parametrize("target", ["openvino-cpu", "onnx-cpu"])
def test_flash_and_run_report_events(
    case: Case, compiled: tuple[Path, dict], target: str, tmp_path: Path
) -> None:
    line, log = f"dir:{tmp_path}/line", tmp_path / "events.jsonl"
    done = edge_ad("flash", compiled[0], "--to", line, "--target", target)
    assert done.code == 0, done.err
    assert edge_ad("verify", line).code == 0
    done = edge_ad(
        "run",
        line,
        "--source",
        case.tests,
        "--sink",
        f"jsonl:{log}",
        "--threshold",
        "-1000",
        "--json",
    )
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["frames"] == summary["anomalous"] > 5
    event = json.loads(log.read_text().splitlines()[0])
    assert event["schema"] == "edge-ad/event/1" and event["score"] > -1000
    if case.file.stem == "simple net":
        left, top, width, height = event["where"]["box"]
        assert 0 <= left < left + width <= SIZE and 0 <= top < top + height <= SIZE
    else:  # a mean over everything says nothing of where
        assert event.get("where") is None


def test_the_jetsons_file_is_what_it_takes(compiled: tuple[Path, dict]) -> None:
    from edge_ad.compile.tensorrt_rules import violations
    from edge_ad.targets.jetson import ORIN

    done = edge_ad("verify", compiled[0], "--target", "jetson-orin")
    assert done.code == 0, done.err
    with open_bundle(compiled[0]) as bundle:
        model = onnx.load_from_string(bundle.read("payload/jetson-orin/network.onnx"))
    assert violations(model, ORIN) == []
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def test_two_compiles_give_the_same_bytes(
    autoencoder: Case, bundle_of: Callable[[Case], tuple[Path, dict]], tmp_path: Path
) -> None:
    assert autoencoder.compile(tmp_path / "b.edgead").code == 0
    assert (tmp_path / "b.edgead").read_bytes() == bundle_of(autoencoder)[0].read_bytes()


def test_a_network_file_that_was_altered_after_the_import(simplenet: Case, tmp_path: Path) -> None:
    shutil.copytree(simplenet.model, tmp_path / "m")
    network = tmp_path / "m" / "network.onnx"
    content = bytearray(network.read_bytes())
    content[len(content) // 2] ^= 1
    network.write_bytes(content)
    done = edge_ad(
        "compile", tmp_path / "m", "--target", "onnx-cpu", "--data", simplenet.data, "--max-false-alarms", "0.1",
        "--out", tmp_path / "b.edgead",
    )  # fmt: skip
    assert done.code == 1 and "network.onnx is not the network that was imported" in done.error
    assert not (tmp_path / "b.edgead").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("litert", "litert: takes networks from torch, this one came as ONNX; take onnx-cpu or openvino-cpu"),
        (
            "cortex-m4",
            "cortex-m4: the detector 'imported' has no integer form yet; boards take: ",
        ),
    ],
)
def test_targets_that_take_none(simplenet: Case, target: str, said: str, tmp_path: Path) -> None:
    done = simplenet.compile(tmp_path / "b.edgead", names=(target,))
    assert done.code == 1 and said in done.error
    assert not list(tmp_path.iterdir())


def odd_network(path: Path, kind: str = "Det", domain: str = "") -> Path:
    """A convolution and an operator that some targets lack, to one value."""
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["f"], "conv", pads=[1] * 4),
        helper.make_node(kind, ["f"], ["d"], "odd", domain=domain),
        helper.make_node("Reshape", ["d", "s"], ["flat"], "flat"),
        helper.make_node("ReduceMax", ["flat"], ["score"], "max", axes=[1], keepdims=1),
    ]
    weights = [
        numpy_helper.from_array(
            np.random.default_rng(0).normal(0, 0.1, (4, 3, 3, 3)).astype(np.float32), "w"
        ),
        numpy_helper.from_array(np.array([1, -1]), "s"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, [1, 1])], weights,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path


def test_an_operator_that_targets_lack_is_named_for_each(parts: Path, tmp_path: Path) -> None:
    """The others take the network."""
    file = odd_network(tmp_path / "odd.onnx")
    done = edge_ad("import", file, "--head", "value", "--data", parts, "--out", tmp_path / "m", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["targets"]
    assert found["onnx-cpu"] is None
    assert (
        found["openvino-cpu"]
        == "OpenVINO does not take the network (No conversion rule found for operations: Det-17)"
    )
    for name, version in (("nano", "8.2"), ("xavier", "8.5"), ("orin", "10.3")):
        said = f"TensorRT {version} would not take the network: tail/odd: Det is no operator of TensorRT {version}"
        assert said in found[f"jetson-{name}"]
    compile_ = (
        "compile",
        tmp_path / "m",
        "--data",
        parts,
        "--max-false-alarms",
        RATE,
        "--out",
        tmp_path / "b.edgead",
    )
    done = edge_ad(*compile_, "--target", "openvino-cpu")
    assert (
        done.code == 1
        and "openvino-cpu: OpenVINO does not take the network" in done.error
        and "Det" in done.error
    )
    done = edge_ad(*compile_, "--target", "jetson-orin")
    assert done.code == 1 and "Det is no operator of TensorRT 10.3" in done.error
    assert not (tmp_path / "b.edgead").exists()
    assert edge_ad(*compile_, "--target", "onnx-cpu", "--precision", "fp32").code == 0


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.conv(x) + z


def quantized(file: Path, path: Path) -> Path:
    from onnxruntime.quantization import QuantFormat, quantize_static

    class Reader:
        left = 2

        def get_next(self) -> dict | None:
            self.left -= 1
            return {"given": np.zeros((1, 3, SIZE, SIZE), np.float32)} if self.left >= 0 else None

    quantize_static(file, path, Reader(), quant_format=QuantFormat.QDQ)
    return path


@pytest.fixture(scope="module")
def files(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that cannot be imported, or not so."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    made = {"plain": export(nn.Conv2d(3, 3, 3, padding=1), (1, 3, SIZE, SIZE), folder / "plain.onnx")}
    made["open"] = export(nn.Conv2d(3, 3, 3), (1, 3, 8, 8), folder / "open.onnx", dynamic=(0, 2, 3))
    made["foreign"] = odd_network(folder / "foreign.onnx", "Odd", "com.example")
    made["quantized"] = quantized(made["plain"], folder / "quantized.onnx")
    made["random"] = export(
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), _Noise()), (1, 3, 8, 8), folder / "random.onnx"
    )
    two = folder / "two.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = (torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
        torch.onnx.export(TwoInputs(), given, two, dynamo=False, input_names=["x", "z"])
    made["two"] = two
    content = made["plain"].read_bytes()
    for name, damaged in (("cut", content[:-200]), ("rubbish", b"no network at all"), ("empty", b"")):
        made[name] = folder / f"{name}.onnx"
        made[name].write_bytes(damaged)
    beside = export(nn.Conv2d(3, 64, 3), (1, 3, 8, 8), folder / "beside.onnx")
    model = onnx.load(beside)
    onnx.save(model, beside, save_as_external_data=True, location="beside.data", size_threshold=0)
    (folder / "beside.data").unlink()
    made["beside"] = beside
    made["missing"], made["folder"] = folder / "missing.onnx", folder
    return made


class _Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


@pytest.mark.parametrize(
    ("file", "options", "code", "said"),
    [
        ("open", (), 1, "its input (?, 3, ?, ?) is not of a fixed shape (dimension 2, 3); export it with fixed shapes, "
                        "or say the whole of it: --shape 1,3,256,256"),
        ("open", ("--shape", "1,4,8,8"), 1, "takes (?, 3, ?, ?), not (1, 4, 8, 8)"),
        ("open", ("--shape", "3,8,8"), 1, "takes (?, 3, ?, ?), not (3, 8, 8)"),
        ("open", ("--shape", "2,3,8,8"), 1, "takes batches of 2, one input at a time is needed"),
        ("open", ("--shape", "1,3,2,2"), 1, "error: "),
        ("plain", ("--shape", "1,3,8,8"), 1, f"takes (1, 3, {SIZE}, {SIZE}), not (1, 3, 8, 8)"),
        ("plain", ("--shape", "1,3,x"), 2, None),
        ("plain", ("--std", "1,nan,1"), 2, None),
        ("plain", ("--head", "value"), 2, f"gives nothing that the head 'value' takes; its input is (1, 3, {SIZE}, "
                                          f"{SIZE}), it gives: out (1, 3, {SIZE}, {SIZE})"),
        ("plain", ("--head", "map-max"), 2, "gives nothing that the head 'map-max' takes"),
        ("plain", ("--output", "other"), 2, "has no output other in float32; it gives: out"),
        ("plain", ("--hop", 8), 2, "--hop is for series; --input series"),
        ("quantized", (), 1, "is quantized already (node "),
        ("two", (), 1, "has 2 inputs (x, z), one is needed"),
        ("foreign", (), 1, "node odd is a Odd of com.example, which no target here has; export it with standard ONNX"),
        ("random", (), 1, "its output differs from run to run; export it in evaluation mode"),
        ("cut", (), 1, "is no ONNX network ("),
        ("rubbish", (), 1, "is no ONNX network ("),
        ("empty", (), 1, "is no ONNX network ("),
        ("folder", (), 1, "is no ONNX network ("),
        ("beside", (), 1, "beside.data"),
        ("missing", (), 1, "there is no such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_one_line(
    files: dict[str, Path],
    parts: Path,
    tmp_path: Path,
    file: str,
    options: tuple[object, ...],
    code: int,
    said: str | None,
) -> None:
    head = () if "--head" in options else ("--head", "mse")
    done = edge_ad("import", files[file], *head, *options, "--data", parts, "--out", tmp_path / "m")
    assert done.code == code, done.err
    if said is not None:
        assert said in done.error and len(done.error) < 400, done.error
    assert not (tmp_path / "m").exists()


def test_data_and_folders_that_do_not_do(
    files: dict[str, Path], pump: Path, simplenet: Case, tmp_path: Path
) -> None:
    words = ("import", files["plain"], "--head", "mse", "--out", tmp_path / "m")
    assert "there is no folder train/good" in edge_ad(*words, "--data", tmp_path).error
    assert "holds no image" in edge_ad(*words, "--data", pump).error
    done = edge_ad(
        "import", simplenet.file, *simplenet.options, "--data", simplenet.data, "--out", simplenet.model
    )
    assert done.code == 1 and "holds a model already; choose another --out" in done.error


def test_help_names_the_heads_and_the_document() -> None:
    done = edge_ad("import", "--help")
    assert done.code == 0
    for word in ("NETWORK.onnx", "channel-mse", "--exact-from", "docs/import.md", "imagenet"):
        assert word in done.out
    assert "import" in edge_ad("--help").out
