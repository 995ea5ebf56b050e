"""Instructions of layers and of MLPerf Tiny's ad01 on QEMU's boards, beside CMSIS-NN: a Markdown table.

    python tests/bench/boards.py

Counted by the boards themselves under `-icount shift=7,sleep=off`. They are instructions, neither cycles nor time.
CMSIS-NN's figures were counted in the same way, built at -Ofast, its outputs equal to the bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import board_images  # noqa: E402
from front_images import log_mel_image  # noqa: E402
from matrix_models import layer  # noqa: E402
from tflite_maker import reference  # noqa: E402

from edge_ad.compile.integer.image import build_image  # noqa: E402
from edge_ad.compile.integer.read import parse_tflite  # noqa: E402
from edge_ad.runtime.integer.log_mel import LogMel, log_mel, standardised  # noqa: E402

CONV_OPTIONS = {"options": "Conv2DOptions", "padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1,
                "dilationWFactor": 1, "fusedActivationFunction": 1}  # fmt: skip
# title, input, weights, CMSIS-NN's instructions a MAC on Cortex-M4 and on Cortex-M55 (None: not counted)
CONVOLUTIONS = (
    ("conv 3x3, 16x16x16 to 16", (1, 16, 16, 16), (16, 3, 3, 16), (2.33, 0.388)),
    ("conv 3x3, 8x8x32 to 32", (1, 8, 8, 32), (32, 3, 3, 32), (1.93, 0.253)),
    ("conv 3x3, 25x6x16 to 32", (1, 25, 6, 16), (32, 3, 3, 16), (2.14, 0.332)),
    ("conv 1x1, 25x5x64 to 64", (1, 25, 5, 64), (64, 1, 1, 64), (None, None)),
)
DENSE = (
    ("fully connected 640 to 128", 640, 128, (1.95, 0.490)),
    ("fully connected 128 to 128", 128, 128, (2.27, 0.576)),
)
DEPTHWISE = (("depthwise 3x3, 25x5x64", (1, 25, 5, 64), (1, 3, 3, 64)),)


def layers() -> list[tuple[str, bytes, int, tuple[float | None, float | None]]]:
    """(title, .tflite file, bytes of its input, CMSIS-NN's figures)."""
    rng = np.random.default_rng(0)

    def weights(shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(-127, 128, shape).astype(np.int8)

    made: list[tuple[str, bytes, int, tuple[float | None, float | None]]] = []
    for title, source, shape, cmsis in CONVOLUTIONS:
        content = layer(
            "CONV_2D", source, weights(shape), (*source[:3], shape[0]), axis=0, rng=rng, **CONV_OPTIONS
        )
        made.append((title, content, int(np.prod(source)), cmsis))
    for title, depth, units, cmsis in DENSE:
        content = layer(
            "FULLY_CONNECTED", (1, depth), weights((units, depth)), (1, units), axis=0, rng=rng,
            options="FullyConnectedOptions", fusedActivationFunction=1, per_channel=False,
        )  # fmt: skip
        made.append((title, content, depth, cmsis))
    for title, source, shape in DEPTHWISE:
        options = CONV_OPTIONS | {"options": "DepthwiseConv2DOptions", "depthMultiplier": 1}
        content = layer("DEPTHWISE_CONV_2D", source, weights(shape), source, axis=3, rng=rng, **options)
        made.append((title, content, int(np.prod(source)), (None, None)))
    return made


def ad01() -> bytes | None:
    """MLPerf Tiny's anomaly detection network, where the data sets are."""
    folder = Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))
    path = folder / "models" / "mlperf_tiny_ad01" / "ad01_int8.tflite"
    return path.read_bytes() if path.exists() else None


def count(machine: str, kernels: str, files: list[tuple[bytes, int]]) -> list[tuple[int, int]]:
    """(instructions, multiply-accumulates) of each file. Outputs are held to LiteRT's reference kernels."""
    rng = np.random.default_rng(1)
    cases = []
    for content, size in files:
        image = build_image(parse_tflite(content), kernels)  # type: ignore[arg-type]
        cases.append((image, [rng.integers(-128, 128, size).astype(np.int8)]))
    results = board_images.run_on(machine, cases, kernels=kernels, count=True)
    for (content, _), (_, inputs), result in zip(files, cases, results, strict=True):
        np.testing.assert_array_equal(result.outputs[0], reference(content, inputs)[0].ravel())
    return [(r.instructions[0], image.macs) for r, (image, _) in zip(results, cases, strict=True)]


def count_log_mel(machine: str) -> int:
    """Instructions of AD01's front: from 3,072 samples to 640 features, held to their definition."""
    features = LogMel()
    image = log_mel_image(
        features, [0] * features.bands, [1 << 16] * features.bands, machine_kernels(machine)
    )
    samples = np.random.default_rng(2).integers(-9000, 9000, features.length).astype(np.int16)
    (result,) = board_images.run_on(machine, [(image, [samples.view(np.int8)])], count=True)
    wanted = standardised(log_mel(samples, features), [0] * features.bands, [1 << 16] * features.bands)
    np.testing.assert_array_equal(result.outputs[0].view(np.int16), wanted.ravel())
    return result.instructions[0]


def machine_kernels(machine: str) -> str:
    """The kernel set of a board."""
    return board_images.MACHINES[machine].kernels


def text_bytes(machine: str, kernels: str) -> int:
    """Code and constants of the engine with all its kernels, start-up and the board's port."""
    listing = subprocess.run(
        ["arm-none-eabi-size", str(board_images.firmware(machine, kernels))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return int(listing.splitlines()[1].split()[0])


def table() -> list[str]:
    """The rows of all boards."""
    chosen = layers()
    network = ad01()
    files = [(content, size) for _, content, size, _ in chosen]
    if network is not None:
        files.append((network, 640))
    lines = [
        "| board | kernels | layer | instructions | a MAC | CMSIS-NN | plain C |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for machine, board in board_images.MACHINES.items():
        plain, fast = count(machine, "plain", files), count(machine, board.kernels, files)
        figures = [cmsis[board.kernels == "mve"] for *_, cmsis in chosen] + [None]
        titles = [title for title, *_ in chosen] + ["ad01, an inference"]
        for title, figure, (instructions, macs), (slow, _) in zip(titles, figures, fast, plain, strict=False):
            beside = "–" if figure is None or machine == "mps2-an500" else f"{figure:.3f}"
            lines.append(
                f"| {machine} | {board.kernels} | {title} | {instructions:,} | {instructions / macs:.3f} | {beside} "
                f"| {slow / macs:.2f} |"
            )
        lines.append(
            f"| {machine} | {board.kernels} | log-mel, 5 frames | {count_log_mel(machine):,} | | | |"
        )
        size = f"engine, port: {text_bytes(machine, board.kernels):,} bytes"
        lines.append(f"| {machine} | {board.kernels} | {size} | | | | |")
    return lines


def main() -> None:
    if (tool := board_images.missing()) is not None:
        sys.exit(f"{tool} is not installed")
    print("\n".join(table()))
    if ad01() is None:
        print("\nad01_int8.tflite is not there: set EDGE_AD_DATA")


if __name__ == "__main__":
    main()
