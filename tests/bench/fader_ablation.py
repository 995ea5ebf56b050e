"""FADeR without and with its attenuation, for each mask and each way to compare, on four image sets: docs/fader.md.

    python tests/bench/fader_ablation.py --preset micro --steps 500 --work work/fader

Fits that are there already are kept, so that an interrupted run goes on. Without attenuation is the very same U-Net:
its second training does not touch it. Figures are of the float network; nothing is chosen by them but the defaults of
all sets together. Prints Markdown.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
import numpy.typing as npt
import torch

from edge_ad.data.labelled import LabelledFile, list_labelled, read_mask
from edge_ad.data.splits import find_splits
from edge_ad.detectors.fader.comparison import Comparison
from edge_ad.detectors.fader.config import PRESETS, AttenuationName, MaskName
from edge_ad.detectors.fader.detector import Fader
from edge_ad.detectors.fader.fit import fit
from edge_ad.detectors.fader.forms import PlainNetwork
from edge_ad.detectors.model_folder import read_description
from edge_ad.metrics.aupro import MapAndMask, au_pro
from edge_ad.metrics.ranking import auroc
from edge_ad.runtime.images import read_image
from edge_ad.runtime.localise import upsample
from edge_ad.runtime.preprocess import preprocess

SETS = ("magnetic_tile", "kolektor_sdd", "elpv_poly", "deep_pcb")
ROOT = Path(__file__).resolve().parents[2]
COMPARISONS: dict[str, dict[str, Any]] = {
    "msgms": {"compare": "msgms", "standardise": False},
    "msgms, standardised": {"compare": "msgms", "standardise": True},
    "l2, standardised": {"compare": "l2", "standardise": True},
    "both, standardised": {"compare": "both", "standardise": True},
}
Maps = list[npt.NDArray[np.float32]]


def fitted(data: Path, folder: Path, preset: str, changes: dict[str, Any]) -> Fader:
    """The model in `folder`, fitted first where there is none."""
    if (folder / "model.json").exists():
        return Fader.load(folder, read_description(folder))
    config = PRESETS[preset].model_validate({**PRESETS[preset].model_dump(), **changes})
    return fit(config, data, folder)


@torch.no_grad()
def variants(
    detector: Fader, data: Path, images: list[LabelledFile], ways: list[str]
) -> Iterator[tuple[str, Maps]]:
    """Maps (S, S) of all `images` without and with attenuation, for each of `ways` to compare: "attenuation|way"."""
    spec, splits = detector.input.preprocess, find_splits(detector.splits, data)
    forms = {"none": detector.network().without_attenuation()}
    if detector.inpainter.gates:
        forms[detector.config.attenuation] = detector.network()
    for attenuation, network in forms.items():
        good, tested = (
            [_pair(network, preprocess(spec, read_image(path))) for path in paths]
            for paths in (splits.fit, [image.path for image in images])
        )
        for way in ways:
            comparison = Comparison(detector.config.model_copy(update=COMPARISONS[way]))
            comparison.fit(good)
            yield f"{attenuation}|{way}", [comparison(x, y)[0, 0].numpy() for x, y in tested]


def _pair(network: PlainNetwork, pixels: npt.NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """An image and its reconstruction, 0..1."""
    x = torch.from_numpy(pixels).float() / 255
    return x, network.reconstruct(x).clamp(0, 1)


def figures(images: list[LabelledFile], maps: Maps, pro: bool) -> tuple[float, float | None]:
    """Image AUROC of the maps' maxima, and AU-PRO where there are masks."""
    area = auroc([image.anomalous for image in images], [float(m.max()) for m in maps]).value
    if not pro or not any(image.mask is not None for image in images):
        return area, None

    def samples() -> Iterator[MapAndMask]:
        for image, found in zip(images, maps, strict=True):
            if image.anomalous and image.mask is None:
                continue
            shape = read_image(image.path).shape[:2]
            mask = read_mask(image, (shape[0], shape[1]))
            assert mask is not None
            yield upsample(found, 0, (shape[0], shape[1])), mask

    return area, au_pro(samples).value


def measured(
    data: Path, folder: Path, preset: str, changes: dict[str, Any], ways: list[str], pro: bool
) -> dict[str, Any]:
    """All rows of one fit, kept beside it as `figures.json`, or with AU-PRO `figures-pro.json`."""
    kept = folder / ("figures-pro.json" if pro else "figures.json")
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    missing = [way for way in ways if f"none|{way}" not in found]
    if missing:
        detector = fitted(data, folder, preset, changes)
        images = list_labelled(data)
        for key, maps in variants(detector, data, images, missing):
            found[key] = figures(images, maps, pro)
        found["identity"] = detector.fit_info.get("identity")
        kept.write_text(json.dumps(found) + "\n")
    return found


def row(names: list[str], found: list[tuple[float, float | None]]) -> str:
    """One line of the table."""
    areas, pros = [f[0] for f in found], [f[1] for f in found]
    cells = [f"{a:.3f}" + ("" if p is None else f" / {p:.3f}") for a, p in found]
    known = [p for p in pros if p is not None]
    mean = f"{np.mean(areas):.3f}" + (f" / {np.mean(known):.3f}" if known else "")
    return "| " + " | ".join([*names, *cells, mean]) + " |"


@click.command(help=__doc__.splitlines()[0])
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="micro", show_default=True)
@click.option("--steps", type=int, help="Of the U-Net; the preset's unless given.")
@click.option(
    "--mask", "masks", multiple=True, type=click.Choice(get_args(MaskName)), help="All unless given."
)
@click.option(
    "--attenuation", type=click.Choice(get_args(AttenuationName)), default="soft", show_default=True
)
@click.option("--mosaic", type=int, help="Side of the mosaic's blocks, px; the preset's unless given.")
@click.option(
    "--compare", "ways", multiple=True, type=click.Choice(list(COMPARISONS)), help="All unless given."
)
@click.option(
    "--pro/--no-pro", default=True, show_default=True, help="AU-PRO too, which takes longer than all else."
)
@click.option("--set", "sets", multiple=True, default=SETS, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for models and figures.")
def main(
    preset: str, steps: int | None, masks: tuple[str, ...], attenuation: str, mosaic: int | None,
    ways: tuple[str, ...], pro: bool,     sets: tuple[str, ...], work: Path,
) -> None:  # fmt: skip
    torch.set_num_threads(1)
    images = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data")) / "images"
    print("Image AUROC / AU-PRO.\n")
    head = ["mask", "attenuation", "compare", *sets, "mean"]
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head), flush=True)
    for mask in masks or get_args(MaskName):
        changes: dict[str, Any] = {"mask": mask, "attenuation": attenuation}
        changes |= {} if steps is None else {"steps": steps}
        changes |= {} if mosaic is None else {"mosaic_px": mosaic}
        tag = "-".join([preset, *(str(changes[k]) for k in sorted(changes))])
        chosen = list(ways or COMPARISONS)
        found = [
            measured(images / name, work / f"{name}-{tag}", preset, changes, chosen, pro) for name in sets
        ]
        for form in ("none", *([attenuation] if attenuation != "none" else [])):
            for way in chosen:
                print(row([mask, form, way], [tuple(f[f"{form}|{way}"]) for f in found]), flush=True)
        print(f"identity on good parts: {[f['identity'] for f in found]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
