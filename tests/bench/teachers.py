"""Compare EfficientAD's teachers by image AUROC of a Gaussian on their outputs: what docs/teachers.md reports.

    python tests/bench/teachers.py --data DATA [--preset small] [--teacher NAME ...] [--set NAME ...]

DATA holds one MVTec-style folder per set. All statistics, and the synthetic defects behind the weights, use
train/good alone; test/ is read for the AUROC. Scores: squared length of the transformed outputs, either its
maximum over positions or the mean of its highest 1 %.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from edge_ad.detectors.efficientad.config import PRESETS
from edge_ad.detectors.efficientad.emphasis import defect_moment, emphasise
from edge_ad.detectors.efficientad.network import PDN
from edge_ad.detectors.efficientad.simplify import normalise
from edge_ad.detectors.efficientad.statistics import (
    OutputTransform,
    feature_statistics,
    standardise,
    whiten,
)
from edge_ad.detectors.efficientad.teacher import load_teacher, random_dct_pdn
from edge_ad.runtime.images import list_images, read_image
from edge_ad.runtime.preprocess import resize_area

CHOOSING = ("magnetic_tile", "kolektor_sdd", "elpv_poly", "deep_pcb")
TOP_SHARE = 0.01
SEED = 42

Sizes = tuple[tuple[int, int, int], int]
Scores = npt.NDArray[np.float64]
Images = tuple[Tensor, Tensor, npt.NDArray[np.bool_]]


def read_set(root: Path, size: int) -> Images:
    """Normal images and test images (N, 3, size, size) uint8, and which test images are defective."""

    def read(paths: list[Path]) -> Tensor:
        images = [resize_area(read_image(p), (size, size)).transpose(2, 0, 1) for p in paths]
        return torch.from_numpy(np.stack(images))

    test = list_images(root / "test")
    defective = np.array([p.relative_to(root / "test").parts[0] != "good" for p in test])
    return read(list_images(root / "train" / "good")), read(test), defective


def random_he(sizes: Sizes, seed: int) -> PDN:
    return _initialised(sizes, seed, lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"))


def random_orthogonal(sizes: Sizes, seed: int) -> PDN:
    return _initialised(sizes, seed, lambda w: nn.init.orthogonal_(w, 2**0.5))


def _initialised(sizes: Sizes, seed: int, fill: Callable[[Tensor], object]) -> PDN:
    torch.manual_seed(seed)
    pdn = PDN(*sizes)
    for name, parameter in pdn.named_parameters():
        if name.endswith("weight"):
            fill(parameter)
        else:
            nn.init.zeros_(parameter)
    return pdn


def candidates(sizes: Sizes) -> dict[str, Callable[[], PDN]]:
    """Teachers by name."""
    widths, channels = sizes
    return {
        "random-he": lambda: random_he(sizes, 0),
        "random-he, seed 1": lambda: random_he(sizes, 1),
        "random-orthogonal": lambda: random_orthogonal(sizes, 0),
        "random-dct": lambda: random_dct_pdn(widths, channels),
    }


def baselines(train: Tensor, test: Tensor) -> dict[str, Scores]:
    """Scores that need no network: brightness, contrast, edges, and what image PCA cannot reconstruct."""
    grey = test.double().mean(1) / 255
    across, down = grey.diff(dim=2).abs().mean((1, 2)), grey.diff(dim=1).abs().mean((1, 2))
    return {
        "minus mean grey value": -grey.mean((1, 2)).numpy(),
        "standard deviation of grey": grey.flatten(1).std(1).numpy(),
        "mean edge strength": (across + down).numpy(),
        "image PCA, 30 components": _pca_residual(train, test),
    }


def _pca_residual(train: Tensor, test: Tensor, components: int = 30) -> Scores:
    """Highest blurred (sigma 2 px) squared residual of each test image at 128 px."""

    def rows(images: Tensor) -> npt.NDArray[np.float64]:
        small = nn.functional.adaptive_avg_pool2d(images.double().mean(1, keepdim=True), 128)
        return small.flatten(1).numpy() / 255

    normal, tested = rows(train), rows(test)
    mean = normal.mean(0)
    basis = np.linalg.svd(normal - mean, full_matrices=False)[2][:components]
    residual = tested - mean - (tested - mean) @ basis.T @ basis
    return np.array([cv2.GaussianBlur(r.reshape(128, 128) ** 2, (0, 0), 2).max() for r in residual])


@torch.no_grad()
def outputs(pdn: PDN, images: Tensor, bfloat16: bool) -> Tensor:
    """(N, C, H, W) float32."""
    pdn = pdn.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        return torch.cat(
            [pdn(normalise(i[None]).to(memory_format=torch.channels_last)).float() for i in images]
        )


def transforms(pdn: PDN, train: Tensor, out: Tensor, powers: list[float]) -> dict[str, OutputTransform]:
    mean, covariance = feature_statistics(o[None] for o in out)
    moment = defect_moment(pdn, train, mean, SEED)
    found = {"standardise": standardise(mean, covariance), "whiten": whiten(mean, covariance)}
    return found | {f"emphasise {p:g}": emphasise(mean, covariance, moment, power=p) for p in powers}


def gaussian_scores(out: Tensor, transform: OutputTransform) -> tuple[Scores, Scores]:
    """Image scores: maximum over positions, and mean of the highest TOP_SHARE."""
    matrix, bias = torch.from_numpy(transform.matrix).float(), torch.from_numpy(transform.bias).float()
    lengths = torch.stack([(matrix @ o.flatten(1) + bias[:, None]).square().mean(0) for o in out])
    top = max(1, round(TOP_SHARE * lengths.shape[1]))
    return lengths.amax(1).double().numpy(), lengths.topk(top, 1).values.mean(1).double().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "images"
    parser.add_argument("--data", type=Path, default=os.environ.get("EDGE_AD_DATA", beside))
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small")
    parser.add_argument("--set", action="append", help=f"default: {', '.join(CHOOSING)}")
    parser.add_argument("--teacher", action="append", help="a name as printed; all unless given")
    parser.add_argument("--weights", type=Path, action="append", default=[], help="further teacher files")
    parser.add_argument("--power", type=float, action="append", help="of the defect weights; default 0.5")
    parser.add_argument("--fp32", action="store_true", help="no bfloat16 in the convolutions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write all figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = PRESETS[options.preset]
    sizes: Sizes = (config.widths, config.channels)
    makers = candidates(sizes)
    names = options.teacher or list(makers)
    for path in options.weights:
        makers[path.name] = lambda path=path: load_teacher(path, *sizes)[0]
        names.append(path.name)
    root = options.data if not (options.data / "images").is_dir() else options.data / "images"
    found: dict[str, dict[str, float]] = {}
    for name in options.set or list(CHOOSING):
        train, test, defective = read_set(root / name, config.size)
        for baseline, scores in baselines(train, test).items():
            found.setdefault(baseline, {})[name] = float(roc_auc_score(defective, scores))
        for teacher in names:
            pdn = makers[teacher]().eval().requires_grad_(False)
            fitted = transforms(pdn, train, outputs(pdn, train, not options.fp32), options.power or [0.5])
            tested = outputs(pdn, test, not options.fp32)
            for kind, transform in fitted.items():
                for how, scores in zip(("max", "top 1 %"), gaussian_scores(tested, transform), strict=True):
                    row = found.setdefault(f"{teacher} | {kind} | {how}", {})
                    row[name] = float(roc_auc_score(defective, scores))
        print(f"{name}: {len(train)} normal, {len(test)} test images", flush=True)
    width = max(map(len, found)) + 2
    print(" " * width + "  ".join(f"{n[:9]:>9}" for n in next(iter(found.values()))) + "       mean")
    for row, values in found.items():
        figures = [*values.values(), float(np.mean(list(values.values())))]
        print(f"{row:<{width}}" + "  ".join(f"{v:9.3f}" for v in figures))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
