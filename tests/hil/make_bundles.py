"""Makes the bundles of `rig.toml` in `work/` beside it, from generated networks and data."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from rig_bundles import NETWORKS, make_bundle  # noqa: E402

if __name__ == "__main__":
    (HERE / "work").mkdir(exist_ok=True)
    for name in NETWORKS:
        print(make_bundle(HERE / "work", name))
