"""Loading EfficientAD's teacher: the built-in one by name, published or own ones from a weights file."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from edge_ad.detectors.efficientad.network import PDN
from edge_ad.errors import ModelError

BUILT_IN = ("random-dct",)
LAYOUTS = {
    "sequential": ("0", "3", "6", "8"),  # nn.Sequential of convolutions, ReLUs and pools
    "named": ("conv1", "conv2", "conv3", "conv4"),
}
CONVS = LAYOUTS["named"]
RANDOM_SEED = 0
MAX_FILE_BYTES = 1 << 30

_KNOWN_LAYOUTS = "known keys are 0,3,6,8 or conv1..conv4, each with .weight and .bias"
_GET_WEIGHTS = "download the weights file itself"


@dataclass(frozen=True)
class TeacherInfo:
    """Which teacher it is. sha256: of the weights file, or of all weights together for a built-in one.

    source: built-in name or path as given. layout: "sequential", "named" or "built-in".
    """

    name: str
    source: str
    sha256: str
    layout: str
    provenance: str


def load_teacher(
    source: str | Path, widths: tuple[int, int, int], channels: int, *, sha256: str | None = None
) -> tuple[PDN, TeacherInfo]:
    """The teacher PDN in evaluation mode, frozen, and what it is.

    source: "random-dct", or a weights file (a torch state dict or safetensors) whose shapes are
    those of `widths` and `channels`. sha256: the digest that it must have. Raises ModelError.
    """
    if str(source) in BUILT_IN:
        pdn = random_dct_pdn(widths, channels)
        provenance = f"untrained: cosine filters and random orthogonal weights, seed {RANDOM_SEED}"
        info = TeacherInfo(str(source), str(source), state_sha256(pdn), "built-in", provenance)
    else:
        pdn, info = _from_file(Path(source), widths, channels)
    if sha256 is not None and sha256.lower() != info.sha256:
        raise ModelError(
            f"the teacher's sha256 is {info.sha256}, expected {sha256.lower()}",
            where=source,
            hint="use the teacher that this digest belongs to, or give the new digest",
        )
    return pdn.eval().requires_grad_(False), info


def random_dct_pdn(widths: tuple[int, int, int], channels: int, seed: int = RANDOM_SEED) -> PDN:
    """An untrained PDN: conv1 is a bank of 4x4 cosine filters, the rest is random orthogonal.

    The weights lie on the float16 grid, so that rounding in the linear algebra of different machines does not
    show and the digest is the same everywhere.
    """
    rng = np.random.default_rng(seed)
    pdn = PDN(widths, channels)
    with torch.no_grad():
        for name in CONVS:
            conv = getattr(pdn, name)
            out, inputs = conv.weight.shape[0], conv.weight[0].numel()
            bank = _dct_bank(out) if name == "conv1" else np.zeros((0, inputs))
            gain = 1.0 if name == "conv4" else np.sqrt(2.0)
            rows = np.concatenate([bank, _orthogonal(rng, out - len(bank), inputs)]) * gain
            coarse = rows.astype(np.float16).astype(np.float32)
            conv.weight.copy_(torch.from_numpy(coarse).view_as(conv.weight))
            conv.bias.zero_()
    return pdn


def state_sha256(pdn: PDN) -> str:
    """sha256 over all weights and biases as little-endian float32, conv1 to conv4."""
    digest = hashlib.sha256()
    for name in CONVS:
        conv = getattr(pdn, name)
        for tensor in (conv.weight, conv.bias):
            digest.update(tensor.detach().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _from_file(path: Path, widths: tuple[int, int, int], channels: int) -> tuple[PDN, TeacherInfo]:
    raw = _read(path)
    tensors = _tensors(_parse(raw, path))
    prefix, layout = _find_layout(tensors, path)
    pdn = _fill(PDN(widths, channels), tensors, prefix, layout, path)
    digest = hashlib.sha256(raw).hexdigest()
    provenance = f"loaded from {path.name}; what it was trained on is known only to who made it"
    return pdn, TeacherInfo(path.name, str(path), digest, layout, provenance)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError("is too large for a teacher's weights (over 1 GiB)", where=path)
        raw = path.read_bytes()
    except FileNotFoundError as error:
        hint = f"give a weights file, or one of: {', '.join(BUILT_IN)}"
        raise ModelError("there is no such teacher", where=path, hint=hint) from error
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", where=path) from error
    if raw.startswith(b"version https://git-lfs"):
        hint = f"{_GET_WEIGHTS}, e.g. with: git lfs pull"
        raise ModelError("is a Git LFS pointer, not the weights", where=path, hint=hint)
    if raw[:512].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ModelError("is a web page, not weights", where=path, hint=_GET_WEIGHTS)
    if not raw:
        raise ModelError("is empty", where=path, hint=_GET_WEIGHTS)
    return raw


def _parse(raw: bytes, path: Path) -> Any:
    """The file's content; a pickle may hold nothing but tensors and plain containers."""
    if path.suffix.lower() == ".safetensors":
        try:
            return load_safetensors(raw)
        except (SafetensorError, ValueError, KeyError) as error:
            what = "is truncated or no safetensors file"
            raise ModelError(what, where=path, hint=_GET_WEIGHTS) from error
    try:
        return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the unpickler or the archive reader meets
        if re.search(r"unsupported (global|class)", str(error), re.IGNORECASE):
            raise ModelError(
                "holds Python objects besides tensors, which could run code when loaded; refused",
                where=path,
                hint="save its state_dict() alone, or as safetensors",
            ) from error
        what = "is truncated or no torch weights file"
        raise ModelError(what, where=path, hint=_GET_WEIGHTS) from error


def _tensors(content: Any, prefix: str = "", depth: int = 0) -> dict[str, Tensor]:
    """All tensors of nested mappings, keys joined by dots."""
    found: dict[str, Tensor] = {}
    if isinstance(content, Mapping) and depth < 6:
        for key, value in content.items():
            if isinstance(value, Tensor):
                found[f"{prefix}{key}"] = value
            else:
                found |= _tensors(value, f"{prefix}{key}.", depth + 1)
    return found


def _find_layout(tensors: dict[str, Tensor], path: Path) -> tuple[str, str]:
    """Prefix and layout of the one PDN in the file, or of its `teacher` when it holds several networks."""
    found = []
    for layout, names in LAYOUTS.items():
        suffix = f"{names[0]}.weight"
        for key in tensors:
            prefix = key[: -len(suffix)]
            if not key.endswith(suffix) or not (prefix == "" or prefix.endswith(".")):
                continue
            wanted = {f"{prefix}{n}.{part}" for n in names for part in ("weight", "bias")}
            layer = re.compile(re.escape(prefix) + r"(\d+|conv\d+)\.(weight|bias)")
            present = {k for k in tensors if layer.fullmatch(k)}
            if wanted == present:
                found.append((prefix, layout))
    if len(found) > 1:
        found = [f for f in found if "teacher" in f[0].lower()] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelError(f"holds {len(found)} networks and none is named teacher", where=path)
    keys = ", ".join(list(tensors)[:4]) or "no tensor"
    raise ModelError(f"is no PDN in a known layout (holds {keys})", where=path, hint=_KNOWN_LAYOUTS)


@torch.no_grad()
def _fill(pdn: PDN, tensors: dict[str, Tensor], prefix: str, layout: str, path: Path) -> PDN:
    for ours, theirs in zip(CONVS, LAYOUTS[layout], strict=True):
        for part in ("weight", "bias"):
            key = f"{prefix}{theirs}.{part}"
            if key not in tensors:
                raise ModelError(f"lacks '{key}'", where=path, hint=_GET_WEIGHTS)
            _copy(tensors[key], getattr(getattr(pdn, ours), part), key, path)
    return pdn


def _copy(value: Tensor, target: Tensor, key: str, path: Path) -> None:
    if value.shape != target.shape:
        raise ModelError(
            f"'{key}' has shape {tuple(value.shape)}, this preset needs {tuple(target.shape)}",
            where=path,
            hint="use the preset whose widths and channels the teacher has",
        )
    if not value.is_floating_point() or not bool(value.isfinite().all()):
        raise ModelError(f"'{key}' holds values that are no finite numbers", where=path)
    target.copy_(value)


def _dct_bank(count: int) -> npt.NDArray[np.float64]:
    """Up to `count` unit filters (n, 48): 4x4 DCT-II of the grey image, low frequencies first, both signs.

    Both signs, because the ReLU behind them keeps one half of each response. Colour comes after grey.
    """
    k = np.arange(4)
    basis = np.cos(np.pi * (k[None] + 0.5) * k[:, None] / 4)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    order = sorted(((u, v) for u in k for v in k), key=lambda f: (f[0] + f[1], f))
    opponents = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    plain = [np.kron(c, np.outer(basis[u], basis[v]).ravel()) for c in opponents for u, v in order]
    return np.stack([sign * f for f in plain for sign in (1, -1)])[:count]


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> npt.NDArray[np.float64]:
    """(rows, columns) with orthonormal rows (or, when there are more rows than columns, columns)."""
    if rows == 0:
        return np.zeros((0, columns))
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diag(r))
    return q if rows > columns else q.T
