"""What `edge-ad sweep`, and `compile` with a budget, refuse before any work: one clear line, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Done, run_here

from edge_ad.compile.sweep.journal import JOURNAL


def sweep(folder: Path, *more: object) -> Done:
    return run_here("sweep", folder / "model", "--data", folder, "--out", folder / "out", *more)


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (("--target", "posix", "--prune", "half"), 2, "no list of shares"),
        (("--target", "posix", "--prune", "1.0"), 2, "a share to prune is 0 or more and below 1"),
        (("--target", "posix", "--precision", "fp16"), 2, "'posix' has none of fp16"),
        (("--target", "posix", "--precision", "int3"), 2, "no list of precisions"),
        (("--target", "posics"), 1, "did you mean posix"),
        (("--target", "posix", "--jobs", 2, "--scheduler", "tcp://127.0.0.1:9"), 2, "--jobs is for this machine"),
        (("--target", "posix", "--flash-kb", "1e-9"), 2, "holds nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(more: tuple[object, ...], code: int, told: str, tmp_path: Path) -> None:
    done = sweep(tmp_path, *more)
    assert done.code == code and told in done.err and "Traceback" not in done.err
    assert not (tmp_path / "out" / JOURNAL).exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--target", "posix", "--target", "litert", "--flash-kb", 9), "a budget is for one target"),
        (("--target", "posix", "--precision", "int8", "--flash-kb", 9), "the search chooses the precision"),
        (("--target", "posix", "--no-stripes", "--flash-kb", 9), "not searched with"),
    ],
)
def test_budgets_that_do_not_go_with_other_options(
    more: tuple[object, ...], told: str, tmp_path: Path
) -> None:
    done = run_here(
        "compile",
        tmp_path / "model",
        "--data",
        tmp_path,
        "--max-false-alarms",
        "5%",
        "--out",
        tmp_path / "p.edgead",
        *more,
    )
    assert done.code == 2 and told in done.error and not list(tmp_path.iterdir())


def test_a_models_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    done = sweep(tmp_path, "--target", "posix")
    assert done.code == 1 and "is no model folder" in done.error
