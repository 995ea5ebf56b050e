"""Networks that are not ours on the whole way: import, compile for several devices, inspect, flash, run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from command_line import Done, run_here
from foreign_networks import IMAGENET, SeriesAutoencoder, SimpleNet, export

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
        return run_here(
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
    imported = run_here("import", file, *options, "--data", parts, "--out", folder / "model")
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
    imported = run_here("import", file, *options, "--data", pump, "--out", folder / "model")
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
        done = run_here(
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
        done = run_here("infer", bundle, "--target", target, "--input", image, "--output", tmp_path / "o.npz")
        assert done.code == 0, done.err
        map_ = np.load(tmp_path / "o.npz")["map"]
        assert map_.shape == (1, 1, SIZE, SIZE) and len(np.unique(map_)) > 1000, target


def test_inspect_tells_of_the_network(case: Case, compiled: tuple[Path, dict]) -> None:
    done = run_here("inspect", compiled[0])
    assert done.code == 0 and f"detector  imported {case.file.stem.replace(' ', '-')}" in done.out
    manifest = json.loads(run_here("inspect", compiled[0], "--json").out)["manifest"]
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
    done = run_here("flash", compiled[0], "--to", line, "--target", target)
    assert done.code == 0, done.err
    assert run_here("verify", line).code == 0
    done = run_here(
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

    done = run_here("verify", compiled[0], "--target", "jetson-orin")
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
    done = run_here(
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


def test_data_and_folders_that_do_not_do(parts: Path, pump: Path, simplenet: Case, tmp_path: Path) -> None:
    words = ("import", simplenet.file, *simplenet.options, "--out", tmp_path / "m")
    assert "there is no folder train/good" in run_here(*words, "--data", tmp_path).error
    assert "holds no image" in run_here(*words, "--data", pump).error
    done = run_here(
        "import", simplenet.file, *simplenet.options, "--data", simplenet.data, "--out", simplenet.model
    )
    assert done.code == 1 and "holds a model already; choose another --out" in done.error


def test_help_names_the_heads_and_the_document() -> None:
    done = run_here("import", "--help")
    assert done.code == 0
    for word in ("NETWORK.onnx", "channel-mse", "--exact-from", "docs/import.md", "imagenet"):
        assert word in done.out
    assert "import" in run_here("--help").out
