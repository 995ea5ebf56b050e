"""A copy of this checkout to build from: an installation must leave the checkout itself alone."""

from __future__ import annotations

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Of the device install, what there must be nothing of.
ABSENT = ("torch", "onnx", "nncf", "sklearn", "scipy", "matplotlib", "jinja2")


def copy_checkout(folder: Path) -> Path:
    """Copy what a package is built from, and the tests, to `folder`, and return it."""
    left_out = shutil.ignore_patterns(".git", ".venv", "build", "work", "*.egg-info")
    return shutil.copytree(REPOSITORY, folder, symlinks=True, ignore=left_out)
