"""What pruning costs and gains: EfficientAD beside anomalib's graph, and micro presets on emulated boards.

    python tests/bench/pruning.py boards --work work/pruning
    python tests/bench/pruning.py starnet
    python tests/bench/pruning.py anomalib work/magnetic_tile-small work/magnetic_tile-small-75 --data MAGNETIC_TILE \\
        --anomalib SITE

Models that are there already are kept, so that an interrupted run goes on. Prints Markdown.

anomalib's network alone is built, with random weights, on which latency does not depend; nothing of it is kept. SITE is
a folder that holds the package without what it depends on:

    pip install --no-deps anomalib==2.7.0 --target SITE
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from targets import machines, recorded_scans

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))
BOARD, BOARD_TARGET = "qemu:mps2-an500", "cortex-m7"


def edge_ad(*args: object) -> str:
    """Run the command line; its standard output."""
    command = [sys.executable, "-m", "edge_ad", *map(str, args)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


@dataclass(frozen=True)
class Case:
    """name: of the model's folder. fit: detector and its options. rate: of false alarms."""

    name: str
    data: Path
    fit: tuple[str, ...]
    rate: float
    share: float


def board_cases(work: Path) -> Iterator[Case]:
    tiles = SHARED / "images" / "magnetic_tile"
    micro = ("--preset", "micro")
    yield Case(
        "magnetic_tile-efficientad-micro", tiles, ("efficientad", *micro, "--steps", "3000"), 0.05, 0.55
    )
    yield Case("magnetic_tile-fader-micro", tiles, ("fader", *micro, "--steps", "400"), 0.05, 0.5)
    yield Case("asd-tspulse", machines(SHARED, work, "asd"), ("tspulse", "--steps", "600"), 0.02, 0.6)
    scans = recorded_scans(SHARED, work)
    yield Case("kitti-starnet-micro", scans, ("starnet", *micro), 0.25, 0.5)
    yield Case("kitti-starnet-micro-elbo", scans, ("starnet", *micro, "--score", "neg_elbo"), 0.25, 0.5)


def fitted(case: Case, work: Path) -> Path:
    """The unpruned model."""
    model = work / case.name
    if not (model / "model.json").exists():
        edge_ad("fit", *case.fit, "--data", case.data, "--out", model)
    return model


def pruned(model: Path, data: Path, share: float, target: str, *more: object) -> tuple[Path, dict[str, Any]]:
    """The pruned model beside it, and what `edge-ad prune` said."""
    made = model.parent / f"{model.name}-{round(100 * share)}"
    told = made.with_suffix(".pruned.json")
    if not (made / "model.json").exists():
        told.write_text(
            edge_ad(
                "prune",
                model,
                "--data",
                data,
                "--macs",
                share,
                "--target",
                target,
                "--out",
                made,
                "--json",
                *more,
            )
        )
    found: dict[str, Any] = json.loads(told.read_text())
    return made, found


def compiled(model: Path, data: Path, target: str, rate: float) -> tuple[Path, dict[str, Any]]:
    """The bundle for one target, and its report."""
    bundle, told = (model.parent / f"{model.name}-{target}{suffix}" for suffix in (".edgead", ".json"))
    if not told.exists():
        told.write_text(
            edge_ad("compile", model, "--target", target, "--data", data, "--max-false-alarms", rate, "--out", bundle,
                    "--json")
        )  # fmt: skip
    found: dict[str, Any] = json.loads(told.read_text())
    return bundle, found


def quality(report: dict[str, Any]) -> tuple[str, float, float]:
    """What ranks the test inputs, float and compiled: VUS-PR for series with labelled rows, else AUROC."""
    test = report["payloads"][0]["test"]
    if test.get("series_compiled") is not None:
        return "VUS-PR", test["series_float"]["vus_pr"], test["series_compiled"]["vus_pr"]
    return "AUROC", test["auroc_float"]["value"], test["auroc_compiled"]["value"]


def counted(bundle: Path, state: Path) -> tuple[int, int, int]:
    """(instructions of an inference, image bytes, arena bytes) on the board."""
    where = ("--board", BOARD, "--state", state)
    edge_ad("flash", bundle, *where, "--json")
    verified = json.loads(edge_ad("verify", bundle, *where, "--json"))
    budget = json.loads(edge_ad("inspect", bundle, "--json"))["manifest"]["payloads"][0]["budget"]
    return (
        int(verified["engine"]["details"]["instructions"]),
        budget["parts"]["image"],
        budget["parts"]["arena"],
    )


@click.group(help=__doc__.splitlines()[0])
def main() -> None:
    pass


@main.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for models and bundles.")
@click.option("--only", help="The one model to measure, by its folder's name.")
@click.option("--share", "other", type=float, help="Another share of MACs than each case's own.")
def boards(work: Path, only: str | None, other: float | None) -> None:
    """Instructions, flash and accuracy of micro presets, before and after."""
    work.mkdir(parents=True, exist_ok=True)
    heads = ["model", "MMAC", "pruned", "instructions", "pruned", "left", "image bytes", "pruned", "left",
             "arena", "pruned", "figure", "float, unpruned", "board, unpruned", "board, pruned", "change"]  # fmt: skip
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads), flush=True)
    for case in board_cases(work):
        if only in (None, case.name):
            print(board_row(case, work, other or case.share), flush=True)


def board_row(case: Case, work: Path, share: float) -> str:
    model = fitted(case, work)
    made, told = pruned(model, case.data, share, BOARD_TARGET)
    bundles = [compiled(folder, case.data, BOARD_TARGET, case.rate) for folder in (model, made)]
    before, after = (counted(bundle, work / "state" / bundle.stem) for bundle, _ in bundles)
    figure, float_, whole = quality(bundles[0][1])
    _, _, small = quality(bundles[1][1])
    cells = [case.name, *(f"{m / 1e6:.3g}" for m in told["macs"])]
    for a, b in zip(before[:2], after[:2], strict=True):
        cells += [f"{a:,}", f"{b:,}", f"{b / a:.0%}"]
    cells += [f"{before[2]:,}", f"{after[2]:,}"]
    cells += [figure, f"{float_:.3f}", f"{whole:.3f}", f"{small:.3f}", f"{small - float_:+.4f}"]
    return "| " + " | ".join(cells) + " |"


@main.command()
@click.option("--preset", "presets", multiple=True, default=("small", "micro"), show_default=True)
@click.option("--share", default=0.5, show_default=True)
@click.option("--n-fit", default=64, show_default=True, help="Generated scans to fit on.")
@click.option("--n-test", default=32, show_default=True, help="Others to test with, clean and corrupted.")
@click.option("--seed", "seeds", multiple=True, default=(42, 1, 2), show_default=True, help="Of the fits.")
def starnet(presets: tuple[str, ...], share: float, n_fit: int, n_test: int, seeds: tuple[int, ...]) -> None:
    """STARNet's two figures that one pass gives, float, before and after: AUROC over generated corruptions."""
    from starnet_corruptions import corrupted_copies, scans_of
    from starnet_corruptions import fitted as fitted_on

    from edge_ad.compile.prune import normals_of, prune

    print("| preset | seed | MMAC | pruned | parameters | pruned | figure | AUROC | pruned | change of the mean | "
          "largest |\n" + "|" + " --- |" * 11)  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        paths = scans_of(Path(temporary), None, True, n_fit, n_test)
        for preset, seed in product(presets, seeds):
            root = Path(temporary) / f"{preset}-{seed}"
            detector = fitted_on(preset, {"score": "neg_elbo", "seed": seed}, paths[:n_fit], root)
            made = prune(detector, share, normals_of(detector, root / "data"), multiple=8)
            clean, corrupted = corrupted_copies(detector.input, paths[-n_test:], 1)
            areas = [_areas(one, clean, corrupted) for one in (detector, made.detector)]
            for name in ("neg_elbo", "kl"):
                before, after = (np.array([area[name] for area in found]) for found in areas)
                cells = [
                    preset, str(seed), f"{made.macs_before / 1e6:.3g}", f"{made.macs_after / 1e6:.3g}",
                    f"{made.parameters_before:,}", f"{made.parameters_after:,}", name, f"{before.mean():.3f}",
                    f"{after.mean():.3f}", f"{after.mean() - before.mean():+.4f}", f"{(after - before).min():+.4f}",
                ]  # fmt: skip
                print("| " + " | ".join(cells) + " |", flush=True)


def _areas(detector: Any, clean: list[Any], corrupted: dict[Any, list[Any]]) -> list[dict[str, float]]:
    """AUROC of each figure, two-sided, for each kind of corruption."""
    import torch
    from starnet_corruptions import _auroc

    from edge_ad.detectors.starnet.network import kl_divergence

    @torch.no_grad()
    def figures(inputs: list[Any]) -> dict[str, Any]:
        found: dict[str, list[float]] = {"neg_elbo": [], "kl": []}
        for x in inputs:
            features = detector.front(torch.from_numpy(x))[0]
            mean, logvar = detector.encoder(features)
            kl = float(kl_divergence(mean, logvar))
            squares = float((detector.decoder(mean) - features).square().sum())
            found["kl"].append(kl)
            found["neg_elbo"].append(kl + squares / (2 * detector.fit_info["variance"]))
        return {name: np.array(values) for name, values in found.items()}

    normal = figures(clean)
    centres = {name: np.median(values) for name, values in normal.items()}
    areas = []
    for copies in corrupted.values():
        given = figures(copies)
        areas.append(
            {n: _auroc(np.abs(normal[n] - centres[n]), np.abs(given[n] - centres[n])) for n in normal}
        )
    return areas


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("small", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--anomalib", "site", type=click.Path(path_type=Path, exists=True), required=True,
              help="Folder that holds the package anomalib 2.7.0.")  # fmt: skip
@click.option("--threads", default=1, show_default=True)
@click.option("--runs", default=15, show_default=True)
def anomalib(model: Path, small: Path, data: Path, site: Path, threads: int, runs: int) -> None:
    """EfficientAD `small` before and after pruning beside anomalib's graph of the same network, in one run."""
    from edge_ad.compile.prune import normals_of
    from edge_ad.compile.scores import batches
    from edge_ad.detectors import load_detector

    detectors = [load_detector(folder) for folder in (model, small)]
    images = list(batches(normals_of(detectors[0], data).calibration, detectors[0].input))[:8]
    forms = {"anomalib 2.7 FP32": anomalib_graph(site), "anomalib 2.7 INT8 (nncf's defaults)": None}
    with tempfile.TemporaryDirectory() as folder:
        engines = {name: _opened(xml, threads) for name, xml in
                   _graphs(forms, detectors, images, Path(folder)).items()}  # fmt: skip
        floats = [image.astype(np.float32) / 255 for image in images]
        times: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(3 + runs):
            for name, run in engines.items():
                batch = floats if name.startswith("anomalib") else images
                times[name].append(run(batch[turn % len(batch)]))
    middle = {name: median(values[3:]) for name, values in times.items()}
    print("| graph | ms | anomalib FP32 over it | anomalib INT8 over it |\n| --- | --- | --- | --- |")
    for name, value in middle.items():
        ratios = (median(np.divide(times[other][3:], times[name][3:])) for other in list(middle)[:2])
        print(f"| {name} | {value:.1f} | " + " | ".join(f"{r:.2f}" for r in ratios) + " |")
    print(f"\nMedians of {runs} interleaved runs, {threads} thread(s); ratios are medians over runs.")


def anomalib_graph(site: Path) -> Any:
    """anomalib's EfficientAD-S in evaluation mode as an openvino.Model, its statistics set, so that nothing folds."""
    import openvino
    import torch

    network = _anomalib_module(site).EfficientAdModel().eval()
    with torch.no_grad():
        for values in (*network.mean_std.values(), *network.quantiles.values()):
            values.copy_(torch.rand_like(values) + 0.5)

    class Scored(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = self.network(x)
            return found.pred_score, found.anomaly_map

    content = io.BytesIO()
    torch.onnx.export(Scored(), (torch.rand(1, 3, 256, 256),), content, dynamo=False, opset_version=17)
    return openvino.Core().read_model(content.getvalue())


def _anomalib_module(site: Path) -> Any:
    """The file with the network; the packages that only its training needs are stood in for."""
    inference = types.ModuleType("anomalib.data")
    inference.InferenceBatch = types.SimpleNamespace  # type: ignore[attr-defined]
    stand_ins = {"anomalib": types.ModuleType("anomalib"), "anomalib.data": inference}
    if importlib.util.find_spec("torchvision") is None:
        vision = types.ModuleType("torchvision")
        vision.transforms = types.ModuleType("transforms")  # type: ignore[attr-defined]
        stand_ins["torchvision"] = vision
    sys.modules.update(stand_ins)
    path = site / "anomalib" / "models" / "image" / "efficient_ad" / "torch_model.py"
    spec = importlib.util.spec_from_file_location("anomalib_efficient_ad", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        for name in stand_ins:
            sys.modules.pop(name)
    return module


def _graphs(theirs: dict[str, Any], detectors: list[Any], images: list[Any], folder: Path) -> dict[str, Path]:
    """All graphs as files of OpenVINO."""
    import nncf
    import openvino

    from edge_ad.compile.capture import capture
    from edge_ad.compile.target import Calibration
    from edge_ad.targets import get

    name_float, name_int8 = theirs
    model = theirs[name_float]
    data = nncf.Dataset([image.astype(np.float32) / 255 for image in images])
    found = {}
    for name, graph in (
        (name_float, model),
        (name_int8, nncf.quantize(model, data, subset_size=len(images))),
    ):
        found[name] = folder / f"{len(found)}.xml"
        openvino.save_model(graph, found[name], compress_to_fp16=False)
    target, calibration = get("openvino-cpu"), Calibration(lambda: iter(images), len(images))
    for what, detector, precisions in (
        ("unpruned", detectors[0], ("fp32", "int8")),
        ("pruned", detectors[1], ("int8",)),
    ):
        captured = capture(detector, target.opset)
        for precision in precisions:
            lowered = target.lower(captured, precision, calibration)  # type: ignore[arg-type]
            place = folder / f"{what}-{precision}"
            place.mkdir()
            for file, content in lowered.files.items():
                (place / file).write_bytes(content)
            found[f"edge-ad {precision.upper()}, {what}"] = place / lowered.model
    return found


def _opened(xml: Path, threads: int) -> Any:
    """(batch) -> milliseconds, under the options that the runtime opens OpenVINO with."""
    from edge_ad.runtime.engines import open_model

    engine = open_model("openvino", xml, {"threads": threads})

    def run(batch: Any) -> float:
        begun = time.perf_counter()
        engine.infer(batch)
        return 1e3 * (time.perf_counter() - begun)

    return run


if __name__ == "__main__":
    main()
