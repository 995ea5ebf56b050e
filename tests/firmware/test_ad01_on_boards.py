"""MLPerf Tiny's anomaly detection network on four boards, over the link: LiteRT's reference kernels, to the bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tflite_maker import reference

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import read_tflite
from edge_ad.firmware_bridge.boards import emulated
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.flasher import flash_image
from edge_ad.runtime.engines.board import BoardEngine

BOARDS = ("posix", "qemu:mps2-an386", "qemu:mps2-an500", "qemu:mps3-an547")
SCALE, ZERO = 0.3910152316093445, 89  # of the network's input
FRAME = 128  # log-mel values; a window is five frames


@pytest.mark.slow
@pytest.mark.parametrize("address", BOARDS)
def test_1000_random_inputs_and_every_window_of_the_sample_clip(
    address: str, data_folder: Path, tmp_path: Path
) -> None:
    folder = data_folder / "models" / "mlperf_tiny_ad01"
    if not (folder / "ad01_int8.tflite").is_file():
        pytest.skip("MLPerf Tiny's network is not on this machine (set EDGE_AD_DATA)")
    if address != "posix" and not (shutil.which("qemu-system-arm") and shutil.which("arm-none-eabi-gcc")):
        pytest.skip("QEMU or the cross compiler is not installed (scripts/setup.sh installs them)")
    network = folder / "ad01_int8.tflite"
    image = tmp_path / "model.bin"
    image.write_bytes(build_image(read_tflite(network), emulated(address).kernels).content)
    frames = np.fromfile(folder / "normal_id_01_00000000_hist_librosa.bin", np.float32).reshape(-1, FRAME)
    windows = np.stack([frames[i : i + 5].ravel() for i in range(len(frames) - 4)])
    quantized = np.clip(np.rint(windows / SCALE) + ZERO, -128, 127).astype(np.int8)
    rows = [*quantized, *np.random.default_rng(0).integers(-128, 128, (1000, 640)).astype(np.int8)]
    content = network.read_bytes()
    with Connection(BoardAddress(board=address, state=tmp_path)) as connection:
        flash_image(connection.client, image.read_bytes())
    with Connection(BoardAddress(board=address, state=tmp_path)) as connection:
        engine = BoardEngine(image, input=(1, 640), outputs={"output": (1, 640)}, connection=connection)
        for row in rows:
            wanted = reference(content, [row[None]])[0]
            np.testing.assert_array_equal(engine.infer(row[None])["output"], wanted)
