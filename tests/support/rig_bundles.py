"""Small bundles for boards, made from generated networks and data, and rig files that name them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from command_line import run_here
from small_networks import dense
from whole_models import mixed

TARGETS = ("posix", "cortex-m4", "cortex-m55")
SIZE = 32


def _dense(*sizes: int, seed: int = 0) -> Callable[[], tuple[bytes, tuple[int, ...], str]]:
    return lambda: (dense(sizes, seed), (sizes[0],), "mse")


def _mixed(seed: int) -> Callable[[], tuple[bytes, tuple[int, ...], str]]:
    def made() -> tuple[bytes, tuple[int, ...], str]:
        content, shape = mixed(seed)
        return content, shape[1:], "max"

    return made


NETWORKS: Mapping[str, Callable[[], tuple[bytes, tuple[int, ...], str]]] = {
    "pump": _dense(SIZE, 8, SIZE),
    "fan": _dense(SIZE, 16, 4, 16, SIZE, seed=1),
    "valve": _mixed(3),
    "slider": _mixed(4),
}


def make_bundle(folder: Path, name: str, *, targets: tuple[str, ...] = TARGETS) -> Path:
    """`NAME.edgead` below `folder`, and `NAME.npy`, normal rows that it was not compiled with."""
    content, shape, head = NETWORKS[name]()
    rng = np.random.default_rng(0)
    (folder / f"{name}.tflite").write_bytes(content)
    rows = rng.normal(0, 0.5, (260, *shape)).astype(np.float32)
    np.save(folder / f"{name}-normals.npy", rows[:200])
    np.save(folder / f"{name}.npy", rows[200:])
    done = run_here(
        "compile", folder / f"{name}.tflite", *(word for t in targets for word in ("--target", t)), "--head", head,
        "--data", folder / f"{name}-normals.npy", "--max-false-alarms", "5%", "--out", folder / f"{name}.edgead",
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder / f"{name}.edgead"


def write_rig(
    folder: Path, devices: Mapping[str, Mapping[str, object]], bundles: Mapping[str, Path], checks: str
) -> Path:
    """`rig.toml` below `folder`. devices: keys of each, by name; bundles: files; checks: the tables, as they stand in
    it."""
    lines = []
    for name, keys in devices.items():
        state = {} if keys["kind"] not in ("qemu", "posix") else {"state": str(folder / "boards" / name)}
        lines += ["[[device]]", f'name = "{name}"', *_keys({**state, **keys})]
    for name, path in bundles.items():
        lines += ["[[bundle]]", f'name = "{name}"', f'path = "{path}"']
    file = folder / "rig.toml"
    file.write_text("\n".join(lines) + "\n" + checks)
    return file


def _keys(keys: Mapping[str, object]) -> list[str]:
    """Numbers, truth values, lists and texts are in TOML as in JSON."""
    return [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
