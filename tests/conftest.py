"""What all tests share: the real data sets, where this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def data_root() -> Path:
    """The folder of real data sets: EDGE_AD_DATA, or ../shared/data beside the checkout."""
    return Path(os.environ.get("EDGE_AD_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data sets; it may not exist."""
    return data_root()


@pytest.fixture
def image_sets() -> Path:
    folder = data_root() / "images"
    if not folder.is_dir():
        pytest.skip("the real image sets are not on this machine (set EDGE_AD_DATA)")
    return folder
