"""Networks that came as ONNX, held to torch: what is read, what inputs are made of, which outputs a head takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from foreign_networks import IMAGENET, SeriesAutoencoder, export
from onnx import helper, numpy_helper
from torch import Tensor, nn

from edge_ad.compile.capture import capture
from edge_ad.compile.onnx_graphs import joined
from edge_ad.data.samples import make_parts
from edge_ad.detectors import load_detector
from edge_ad.detectors.imported.detector import Imported
from edge_ad.detectors.imported.importing import import_network
from edge_ad.detectors.imported.inputs import Said
from edge_ad.detectors.imported.outputs import choose
from edge_ad.detectors.imported.reading import read_network
from edge_ad.detectors.imported.stages import map_places
from edge_ad.errors import DataError, ModelError, UsageError
from edge_ad.runtime.preprocess import preprocess


class Map(nn.Module):
    """One convolution to a map, in any layout."""

    def __init__(self, channels: int = 3, last: bool = False):
        super().__init__()
        torch.manual_seed(channels)
        self.conv, self.last = nn.Conv2d(channels, 1, 3, padding=1), last

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.permute(0, 3, 1, 2) if self.last else x)


class Pair(nn.Module):
    """Two outputs of one shape, which is not the input's, and a third one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 2, 2), nn.Conv2d(3, 5, 2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.a(x), self.b(x), self.a(x).mean((1, 2, 3))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_parts(
        tmp_path_factory.mktemp("imported") / "parts", 1, size=32, n_train=10, n_test_good=1, n_defective=1
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series far from 0, one of them constant."""
    folder = tmp_path_factory.mktemp("rows")
    (folder / "train" / "good").mkdir(parents=True)
    rng = np.random.default_rng(0)
    values = np.stack(
        [101325 + 300 * rng.standard_normal(400), rng.uniform(-1, 1, 400), np.full(400, 7.0)], 1
    )
    lines = ["pressure,tilt,mode", *(",".join(f"{v:.6f}" for v in row) for row in values)]
    (folder / "train" / "good" / "a.csv").write_text("\n".join(lines) + "\n")
    return folder


def by_stages(detector: Imported, batch: np.ndarray, opset: int = 20) -> np.ndarray:
    """The map by front, core and tail as targets take them, run by ONNX Runtime."""
    captured = capture(detector, opset)
    stages = [
        None if one is None else onnx.load_from_string(one)
        for one in (captured.front, captured.onnx, captured.tail)
    ]
    whole = joined(*stages)  # type: ignore[arg-type]
    assert max(entry.version for entry in whole.opset_import) <= opset
    return onnxruntime.InferenceSession(whole.SerializeToString()).run(None, {"input": batch})[0]


@dataclass(frozen=True)
class Pixels:
    """Options of an import, and what they have to make of pixels (1, 3, h, w) in float."""

    said: dict
    wanted: object
    channels: int = 3
    last: bool = False


GREY = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
CASES = {
    "0..1": Pixels({}, lambda x: x / 255),
    "0..255": Pixels({"pixels": "0..255"}, lambda x: x),
    "-1..1": Pixels({"pixels": "-1..1"}, lambda x: x / 127.5 - 1),
    "imagenet": Pixels({"pixels": "imagenet"}, lambda x: (x / 255 - IMAGENET[0]) / IMAGENET[1]),
    "imagenet, bgr": Pixels(
        {"pixels": "imagenet", "bgr": True}, lambda x: ((x / 255 - IMAGENET[0]) / IMAGENET[1]).flip(1)
    ),
    "caffe": Pixels(
        {"pixels": "0..255", "bgr": True, "mean": (104.0, 117.0, 123.0)},
        lambda x: x.flip(1) - torch.tensor([104.0, 117.0, 123.0]).reshape(1, 3, 1, 1),
    ),
    "own": Pixels({"mean": (0.5,), "std": (0.1, 0.2, 0.4)},
                  lambda x: (x / 255 - 0.5) / torch.tensor([0.1, 0.2, 0.4]).reshape(1, 3, 1, 1)),
    "channels last": Pixels({"pixels": "-1..1"}, lambda x: (x / 127.5 - 1).permute(0, 2, 3, 1), last=True),
    "grey": Pixels({}, lambda x: (x * GREY).sum(1, keepdim=True) / 255, channels=1),
    "grey, last": Pixels(
        {"pixels": "imagenet"}, lambda x: ((x * GREY).sum(1) / 255 - 0.449)[..., None] / 0.226, channels=1, last=True
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_pixels_become_what_the_network_wants(name: str, parts: Path, tmp_path: Path) -> None:
    case = CASES[name]
    network = Map(case.channels, case.last)
    size = (12, 10)
    shape = (1, *size, case.channels) if case.last else (1, case.channels, *size)
    path = export(network, shape, tmp_path / "n.onnx")
    detector = import_network(path, parts, tmp_path / "m", Said("map-max", **case.said)).detector
    batch = np.random.default_rng(0).integers(0, 256, (1, 3, *size), np.uint8)
    wanted = network(case.wanted(torch.from_numpy(batch).float())).numpy()  # type: ignore[operator]
    assert detector.config.layout == ("nhwc" if case.last else "nchw")
    for found in (detector.network()(torch.from_numpy(batch)).numpy(), by_stages(detector, batch)):
        assert found.shape == (1, 1, *size)
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("options", [{}, {"mean": (101000.0, 0.0, 7.0), "std": (500.0, 1.0, 2.0)}])
@torch.no_grad()
def test_series_reach_the_network_in_its_own_unit(options: dict, rows: Path, tmp_path: Path) -> None:
    """Also where values are large, which devices would cut off if they did not standardise by the data."""
    torch.manual_seed(0)
    network = SeriesAutoencoder(3)
    path = export(network, (1, 16, 3), tmp_path / "n.onnx")
    made = import_network(path, rows, tmp_path / "m", Said("mse", "series", layout="nlc", **options))
    window = np.array([[101325 + 40 * i, -0.5 + i / 16, 7.0] for i in range(16)], np.float32)
    given = torch.from_numpy((window - options.get("mean", 0)) / options.get("std", 1)).float()[None]
    wanted = ((network(given) - given) ** 2).mean().item()
    batch = preprocess(made.detector.input.preprocess, window)
    assert float(made.detector.network()(torch.from_numpy(batch))) == pytest.approx(wanted, rel=1e-5)
    assert float(by_stages(made.detector, batch).max()) == pytest.approx(wanted, rel=1e-5)
    assert made.detector.input.window is not None
    assert (made.detector.input.window.length, made.detector.input.window.hop) == (16, 16)
    assert made.calibration > 5 and made.threshold > 5


@torch.no_grad()
def test_a_network_of_vectors_takes_rows_one_by_one(rows: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    path = export(network, (1, 2), tmp_path / "n.onnx")
    said = Said("mse", "series", channels=("tilt", "mode"))
    detector = import_network(path, rows, tmp_path / "m", said).detector
    row = torch.tensor([[0.25, 7.0]])
    batch = preprocess(detector.input.preprocess, row.numpy())
    wanted = ((network(row) - row) ** 2).mean().item()
    assert float(by_stages(detector, batch).max()) == pytest.approx(wanted, rel=1e-4)


@torch.no_grad()
def test_two_outputs_are_compared_by_place(parts: Path, tmp_path: Path) -> None:
    network = Pair()
    path = export(network, (1, 3, 12, 12), tmp_path / "n.onnx", outputs=("a", "b", "c"))
    detector = import_network(path, parts, tmp_path / "m", Said("channel-mse", pixels="0..255")).detector
    assert detector.config.outputs == ["a", "b"]
    batch = np.random.default_rng(0).integers(0, 256, (1, 3, 12, 12), np.uint8)
    a, b, _ = network(torch.from_numpy(batch).float())
    wanted = ((a - b) ** 2).mean(1, keepdim=True).numpy()
    np.testing.assert_allclose(by_stages(detector, batch), wanted, rtol=1e-4)


def test_a_model_folder_comes_back_as_it_was(parts: Path, tmp_path: Path) -> None:
    path = export(Map(), (1, 3, 12, 12), tmp_path / "n.onnx")
    made = import_network(path, parts, tmp_path / "m", Said("map-max")).detector
    again = load_detector(tmp_path / "m")
    assert isinstance(again, Imported) and again == made
    assert again.info().preset == "n" and sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        "model.json",
        "network.onnx",
    ]
    with pytest.raises(ModelError, match="holds a model already"):
        import_network(path, parts, tmp_path / "m", Said("map-max"))


@pytest.mark.parametrize("what", ["network", "cut", "gone", "config", "splits"])
def test_a_model_folder_that_was_altered_is_refused(what: str, parts: Path, tmp_path: Path) -> None:
    path = export(Map(), (1, 3, 12, 12), tmp_path / "n.onnx")
    import_network(path, parts, tmp_path / "m", Said("map-max"))
    network, described = tmp_path / "m" / "network.onnx", tmp_path / "m" / "model.json"
    if what == "network":
        other = import_network(export(Map(1), (1, 1, 12, 12), path), parts, tmp_path / "o", Said("map-max"))
        network.write_bytes(other.detector.model.SerializeToString(deterministic=True))
    elif what == "cut":
        network.write_bytes(network.read_bytes()[:-9])
    elif what == "gone":
        network.unlink()
    else:
        content = json.loads(described.read_text())
        content[what] = {}
        described.write_text(json.dumps(content))
    wanted = "is not the network that was imported" if what in ("network", "cut") else "cannot be loaded"
    with pytest.raises(ModelError, match=wanted):
        load_detector(tmp_path / "m")


def two_layers(**changes: object) -> onnx.ModelProto:
    """Conv, Relu, Conv by hand: (1, 3, 8, 8) to (1, 1, 8, 8), nodes without names."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(4, 3, 3, 3)).astype(np.float32), "w2": rng.normal(size=(1, 4, 3, 3)).astype(np.float32)
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        helper.make_node(changes.get("kind", "Relu"), ["a"], ["b"], domain=changes.get("domain", "")),  # type: ignore[arg-type]
        helper.make_node("Conv", ["b", "w2"], ["y"], pads=[1] * 4),
    ]
    kind = changes.get("dtype", onnx.TensorProto.FLOAT)
    value = helper.make_tensor_value_info
    inputs = [value("x", kind, changes.get("shape", [1, 3, 8, 8]))]  # type: ignore[arg-type]
    if changes.get("weights_listed"):
        inputs += [value(name, onnx.TensorProto.FLOAT, list(w.shape)) for name, w in weights.items()]
    if changes.get("second"):
        inputs.append(value("z", onnx.TensorProto.FLOAT, [1]))
    graph = helper.make_graph(
        nodes, "g", inputs, [value("y", onnx.TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_what_is_read_has_shapes_names_and_one_input(tmp_path: Path) -> None:
    model = two_layers(weights_listed=True, shape=["batch", 3, 8, 8])
    found = read_network(saved(model, tmp_path / "n.onnx"))
    assert [value.name for value in found.graph.input] == ["x"]
    assert [d.dim_value for d in found.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 8, 8]
    assert [d.dim_value for d in found.graph.output[0].type.tensor_type.shape.dim] == [1, 1, 8, 8]
    assert [node.name for node in found.graph.node] == ["Conv_0", "Relu_1", "Conv_2"]
    assert [entry.domain for entry in found.opset_import] == [""]


def test_functions_of_the_file_itself_are_unfolded(tmp_path: Path) -> None:
    model = two_layers(kind="Twice", domain="com.example")
    body = [helper.make_node("Relu", ["i"], ["r"]), helper.make_node("Add", ["r", "r"], ["o"])]
    model.functions.append(
        helper.make_function("com.example", "Twice", ["i"], ["o"], body, [helper.make_opsetid("", 13)])
    )
    found = read_network(saved(model, tmp_path / "n.onnx"))
    assert [node.op_type for node in found.graph.node] == ["Conv", "Relu", "Add", "Conv"]


def test_a_file_of_an_older_opset_is_brought_to_13(tmp_path: Path) -> None:
    path = export(Map(), (1, 3, 12, 12), tmp_path / "n.onnx", opset=11)
    found = read_network(path)
    assert found.opset_import[0].version == 13
    batch = np.random.default_rng(0).normal(size=(1, 3, 12, 12)).astype(np.float32)
    sessions = [onnxruntime.InferenceSession(one) for one in (path.read_bytes(), found.SerializeToString())]
    np.testing.assert_array_equal(*(session.run(None, {"given": batch})[0] for session in sessions))


def test_a_network_of_2018_is_taken_as_it_was_published(parts: Path, tmp_path: Path) -> None:
    """ShuffleNet of Caffe2, from onnx's own tests: weights among the inputs, opset 9."""
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_shufflenet.onnx"
    if not path.is_file():
        pytest.skip("this onnx comes without its tests' networks")
    detector = import_network(path, parts, tmp_path / "m", Said("map-max", pixels="imagenet")).detector
    assert detector.config.opset == 13 and detector.config.shape == (1, 3, 224, 224)
    batch = np.random.default_rng(0).integers(0, 256, (1, 3, 224, 224), np.uint8)
    given = ((torch.from_numpy(batch) / 255 - IMAGENET[0]) / IMAGENET[1]).numpy()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options)
    wanted = session.run(None, {session.get_inputs()[0].name: given})[0]
    np.testing.assert_allclose(by_stages(detector, batch).ravel(), wanted.ravel(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"second": True}, r"has 2 inputs \(x, z\), one is needed"),
        ({"dtype": onnx.TensorProto.FLOAT16}, "takes float16, float32 is needed; export it in float32"),
        (
            {"dtype": onnx.TensorProto.UINT8},
            "takes uint8, float32 is needed; leave its own preprocessing out",
        ),
        (
            {"kind": "Odd", "domain": "com.example"},
            "node Odd is a Odd of com.example, which no target here has",
        ),
        ({"shape": ["n", 3, "h", 8]}, r"its input \(\?, 3, \?, 8\) is not of a fixed shape \(dimension 2\)"),
        ({"shape": [4, 3, 8, 8]}, "takes batches of 4, one input at a time is needed"),
        ({"shape": [1, 3, 8]}, "its shapes do not fit together"),
    ],
)
def test_networks_that_cannot_be_taken(changes: dict, said: str, tmp_path: Path) -> None:
    path = saved(two_layers(**changes), tmp_path / "n.onnx")
    with pytest.raises(ModelError, match=said):
        read_network(path)


SHAPES = {
    "map": (1, 1, 8, 8),
    "small": (1, 1, 4, 4),
    "one": (1, 1),
    "a": (1, 5, 4, 4),
    "b": (1, 5, 4, 4),
    "same": (1, 3, 8, 8),
}


@pytest.mark.parametrize(
    ("head", "there", "named", "wanted"),
    [
        ("mse", ["map", "same", "one"], [], ["same"]),
        ("mse", ["map"], [], "gives nothing that the head 'mse' takes"),
        ("channel-mse", ["a", "b", "map"], [], ["a", "b"]),
        ("channel-mse", ["same", "one"], [], ["same"]),
        ("channel-mse", ["a", "b", "same"], [], "more than one thing"),
        ("channel-mse", ["a", "b", "same"], ["same"], ["same"]),
        ("channel-mse", ["a", "b", "same"], ["b", "a"], ["b", "a"]),
        ("channel-mse", ["a", "map"], ["a", "map"], "nothing that the head"),
        ("map-max", ["map", "one"], [], ["map"]),
        ("map-max", ["map", "small"], [], "choose by --output NAME"),
        ("map-max", ["map", "small"], ["small"], ["small"]),
        ("map-max", ["map", "small"], ["map", "small"], "nothing that the head"),
        ("map-max", ["same"], [], "nothing that the head"),
        ("value", ["map", "one"], [], ["one"]),
        ("value", ["map", "one"], ["other"], "has no output other in float32"),
    ],
)
def test_the_outputs_that_a_head_takes(
    head: str, there: list[str], named: list[str], wanted: list[str] | str
) -> None:
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, SHAPES[name]) for name in there]
    values.append(helper.make_tensor_value_info("mask", onnx.TensorProto.BOOL, (1, 1, 8, 8)))
    model = helper.make_model(helper.make_graph([], "g", [], values))

    def found() -> list[str]:
        return choose(model, head, named, SHAPES["same"], "nchw", Path("n.onnx"))  # type: ignore[arg-type]

    if isinstance(wanted, list):
        assert found() == wanted
        return
    with pytest.raises(UsageError, match=wanted) as caught:
        found()
    assert all(name in str(caught.value) for name in there)


@pytest.mark.parametrize(
    ("shape", "last", "wanted"),
    [
        ([1, 1, 8, 9], False, [8, 9]), ([1, 8, 9, 1], True, [8, 9]), ([1, 8, 9], False, [8, 9]),
        ([1, 1, 8, 1], False, [8, 1]), ([1, 8, 1, 1], True, [8, 1]), ([1, 1, 1, 8], False, [1, 8]),
        ([8, 9], False, [8, 9]), ([1, 7], False, [7]),
        ([1, 1, 1, 1], False, [1, 1]), ([1], False, []), ([], False, []), ([1, 2, 8, 9], False, [2, 8, 9]),
    ],
)  # fmt: skip
def test_the_places_of_a_map(shape: list[int], last: bool, wanted: list[int]) -> None:
    assert map_places(shape, channels_last=last) == wanted


class Odd(nn.Module):
    """A convolution, and something that scores must not have behind it."""

    def __init__(self, what: str):
        super().__init__()
        self.conv, self.what = nn.Conv2d(3, 1, 3, padding=1), what

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        noise = torch.randn_like(y)
        odd = {"random": y + noise, "infinite": y / x.sum(), "elsewhere": y}[self.what]
        return odd, noise


@pytest.mark.parametrize(
    ("what", "said"),
    [("random", "its output differs from run to run; export it in evaluation mode"),
     ("infinite", "its output is not finite for a black image"), ("elsewhere", None)],
)  # fmt: skip
def test_networks_that_give_no_score_or_another_one_each_time(
    what: str, said: str | None, parts: Path, tmp_path: Path
) -> None:
    """Of what no head takes nothing is asked: there it may be random."""
    path = export(Odd(what), (1, 3, 12, 12), tmp_path / "n.onnx", outputs=("y", "noise"))
    options = Said("map-max", outputs=("y",))
    if said is None:
        detector = import_network(path, parts, tmp_path / "m", options).detector
        assert b"Random" not in capture(detector).onnx
        return
    with pytest.raises(ModelError, match=said):
        import_network(path, parts, tmp_path / "m", options)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "shape", "said"),
    [
        ({"hop": 4}, (1, 3, 12, 12), "--hop is for series"),
        ({"pixels": "0..1", "modality": "series"}, (1, 3, 12), "--pixels is for images"),
        ({"mean": (0.1, 0.2)}, (1, 3, 12, 12), "--mean holds 2 numbers, the network takes 3 channels"),
        ({"std": (0.0,)}, (1, 3, 12, 12), "--std must be above 0"),
        ({"bgr": True}, (1, 1, 12, 12), "--bgr is for images of three channels"),
        ({}, (1, 5, 12, 12), "of 5 channels, 1 or 3 are possible"),
        ({}, (1, 3, 12), r"takes \(1, 3, 12\), which is no image; --input series"),
        ({"modality": "series"}, (1, 3, 12, 12), r"takes \(1, 3, 12, 12\), which is no window of a series"),
        (
            {"modality": "series"},
            (1, 4, 12),
            "takes 4 channels of 12 rows, the data has 3: pressure, tilt, mode",
        ),
        ({"modality": "series"}, (1, 3, 300), "its longest series has 400 rows"),
        ({"exact_from": ("nowhere",)}, (1, 3, 12, 12), "has no tensor nowhere on the way to its output"),
        ({"exact_from": ("given",)}, (1, 3, 12, 12), "holds nothing to quantize before given"),
    ],
)
def test_what_does_not_fit_the_network(
    options: dict, shape: tuple[int, ...], said: str, parts: Path, rows: Path, tmp_path: Path
) -> None:
    conv = nn.Conv2d(shape[1], 1, 3, padding=1) if len(shape) == 4 else nn.Conv1d(shape[1], 1, 3, padding=1)
    path = export(conv, shape, tmp_path / "n.onnx")
    data = rows if options.get("modality") == "series" else parts
    with pytest.raises((UsageError, DataError), match=said):
        import_network(path, data, tmp_path / "m", Said("map-max", **options))
    assert not (tmp_path / "m").exists()
