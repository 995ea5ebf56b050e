"""One small fitted model and its bundle, made once through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Done, Run, run_command

from edge_ad.data.samples import make_parts


@pytest.fixture(scope="session")
def edge_ad() -> Run:
    """Run the command line in a process of its own."""
    return run_command


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "parts"
    return make_parts(folder, 5, size=96, n_train=64, n_test_good=6, n_defective=6)


@pytest.fixture(scope="session")
def model(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "model"
    done = run_command(
        "fit", "efficientad", "--preset", "micro", "--teacher", "random-dct", "--steps", 60, "--threads", 1,
        "--data", parts, "--out", folder,
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def compiled(model: Path, parts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The bundle and what `compile --json` printed."""
    bundle = tmp_path_factory.mktemp("cli") / "part.edgead"
    done = run_command(
        "compile", model, "--target", "openvino-cpu", "--data", parts, "--max-false-alarms", "0.1",
        "--out", bundle, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    return bundle, done


@pytest.fixture(scope="session")
def bundle(compiled: tuple[Path, Done]) -> Path:
    return compiled[0]
