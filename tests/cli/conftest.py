"""One small fitted model and its bundle, made once through the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_ad.data.samples import make_parts


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a user sees of an expected error."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Run = Callable[..., Done]


def run_command(*args: object, timeout: float = 240, **options: object) -> Done:
    command = [sys.executable, "-m", "edge_ad", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)  # type: ignore[call-overload]
    return Done(done.returncode, done.stdout, done.stderr)


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
