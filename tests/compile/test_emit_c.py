"""The C sources that are emitted compile by themselves and compute what the reference kernels do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from small_networks import dense
from tflite_maker import reference

from edge_ad import targets
from edge_ad.compile.emit_c import emit
from edge_ad.errors import UsageError

MAIN = """
#include "model.h"
#include <stdio.h>
#include <string.h>
_Alignas(EDGE_ALIGNMENT) static uint8_t arena[MODEL_ARENA_BYTES];
int main(void)
{
    edge_model model;
    if (edge_load(&model, model_image, MODEL_IMAGE_BYTES, arena, MODEL_ARENA_BYTES) != EDGE_OK)
        return 2;
    while (fread(edge_input(&model, 0), 1, MODEL_INPUT_BYTES, stdin) == MODEL_INPUT_BYTES) {
        edge_invoke(&model);
        fwrite(edge_output(&model, 0), 1, MODEL_OUTPUT_BYTES, stdout);
    }
    return 0;
}
"""
WARNINGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
MACHINES = {
    "cortex-m4": ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-DEDGE_KERNELS=1"],
    "cortex-m7": ["-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-DEDGE_KERNELS=1"],
    "cortex-m55": ["-mcpu=cortex-m55", "-DEDGE_KERNELS=2"],
}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "net work.tflite"
    path.write_bytes(dense((40, 12, 5)))
    return path


def sources(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.c"))


@pytest.mark.parametrize("lean", [False, True], ids=["as they are", "by the flags of model.h"])
def test_on_this_machine_they_give_the_reference_outputs(network: Path, tmp_path: Path, lean: bool) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (apt-get install gcc)")
    folder = tmp_path / "lib"
    written = emit(network, targets.get("posix"), folder)
    assert [path.name for path in written[:2]] == ["model.h", "model.c"]
    (tmp_path / "main.c").write_text(MAIN)
    program = tmp_path / "program"
    told = (folder / "model.h").read_text()
    flags = re.findall(r"-DEDGE_BUILT=\w+|-ffunction-sections|-Wl,--gc-sections", told) if lean else []
    assert len(flags) == (3 if lean else 0)
    command = [
        "cc",
        *WARNINGS,
        *flags,
        f"-I{folder}",
        str(tmp_path / "main.c"),
        *sources(folder),
        "-o",
        str(program),
    ]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    values = np.random.default_rng(0).integers(-128, 128, (20, 40)).astype(np.int8)
    ran = subprocess.run([program], input=values.tobytes(), capture_output=True)
    assert ran.returncode == 0
    expected = np.concatenate([reference(network.read_bytes(), [x])[0] for x in values])
    np.testing.assert_array_equal(np.frombuffer(ran.stdout, np.int8).reshape(20, 5), expected)
    assert (b"edge_run_softmax" in program.read_bytes()) is not lean


@pytest.mark.parametrize("target", MACHINES)
def test_for_a_microcontroller_they_compile_without_a_warning(
    network: Path, tmp_path: Path, target: str
) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("no compiler for Arm (apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi)")
    folder = tmp_path / "lib"
    emit(network, targets.get(target), folder)
    flags = [*WARNINGS, "-mthumb", "-mfloat-abi=hard", *MACHINES[target]]
    command = ["arm-none-eabi-gcc", *flags, "-c", *sources(folder)]
    built = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    wrong = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-c", str(folder / "model.c")]
    refused = subprocess.run(wrong, capture_output=True, text=True, cwd=tmp_path)
    assert "this model is packed for" in refused.stderr


def test_a_folder_of_another_kernel_set_is_not_mixed_with(network: Path, tmp_path: Path) -> None:
    emit(network, targets.get("cortex-m4"), tmp_path / "lib")
    emit(network, targets.get("cortex-m4"), tmp_path / "lib")
    with pytest.raises(UsageError, match=r"kernels/dsp/.*: is no part of this engine; name an empty folder"):
        emit(network, targets.get("posix"), tmp_path / "lib")
