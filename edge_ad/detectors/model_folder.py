"""The model folder that every fit writes: `model.json` and `weights.safetensors`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from edge_ad.bundle.atomic import write_atomic
from edge_ad.errors import ModelError

MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
MODEL_SCHEMA = "edge-ad/model/1"
UNFINISHED = ".unfinished"
_AGAIN = "fit or import it again with this version"

# What reading a damaged model folder may raise; `damaged` makes one ModelError of them.
LOAD_ERRORS = (KeyError, TypeError, ValidationError, SafetensorError, OSError, RuntimeError, ValueError)


def read_description(folder: Path) -> dict[str, Any]:
    """`model.json` of a model folder. Raises ModelError, also for a fit that has not finished."""
    hint = "make one with: edge-ad fit efficientad --data PARTS --out MODEL"
    try:
        described = json.loads((folder / MODEL_FILE).read_bytes())
    except FileNotFoundError as error:
        if (folder / UNFINISHED).exists():
            raise ModelError("the fit has not finished", where=folder, hint="run the fit again") from error
        raise ModelError("is no model folder (no model.json)", where=folder, hint=hint) from error
    except (OSError, ValueError) as error:
        raise ModelError("model.json cannot be read", where=folder, hint=hint) from error
    schema = described.get("schema") if isinstance(described, dict) else None
    if schema != MODEL_SCHEMA:
        raise ModelError(
            f"was made by another version of edge-ad (schema {str(schema)[:40]!r}, this one reads {MODEL_SCHEMA})",
            where=folder,
            hint=_AGAIN,
        )
    found: dict[str, Any] = described
    return found


def check_version(described: Mapping[str, Any], name: str, version: int, folder: Path) -> None:
    """Raises ModelError unless `described` is of this version of the detector `name`."""
    if described.get("version") != version:
        found = described.get("version")
        raise ModelError(
            f"was made by another version of {name} ({found}, not {version})", where=folder, hint=_AGAIN
        )


def damaged(error: Exception, folder: Path) -> ModelError:
    """The error for a folder whose parts do not fit together."""
    cause = (str(error).splitlines() or [type(error).__name__])[0]
    return ModelError(f"the model cannot be loaded ({cause})", where=folder, hint=_AGAIN)


def write_model(
    folder: Path, name: str, version: int, config: BaseModel, splits: BaseModel, fit: Mapping[str, Any],
    tensors: Mapping[str, Tensor], files: Mapping[str, bytes] | None = None, **more: Any,
) -> None:  # fmt: skip
    """Write the model folder; `model.json` comes last, so that a folder that has it is whole.

    fit: what the fit did, plain values. tensors: weights by name (`module_tensors`), may be none. files: further
    files by name. more: further plain values.
    """
    described = {
        "schema": MODEL_SCHEMA,
        "detector": name,
        "version": version,
        "config": config.model_dump(mode="json"),
        "fit": dict(fit),
        "splits": splits.model_dump(mode="json"),
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (MODEL_FILE, WEIGHTS_FILE):  # an older model must not be taken for this one half-way
        (folder / stale).unlink(missing_ok=True)
    if tensors:
        write_atomic(folder / WEIGHTS_FILE, save({k: v.contiguous() for k, v in tensors.items()}))
    for file, content in (files or {}).items():
        write_atomic(folder / file, content)
    write_atomic(folder / MODEL_FILE, (json.dumps(described, indent=1, sort_keys=True) + "\n").encode())


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The weights of a model folder by name. Raises one of LOAD_ERRORS."""
    return load_file(folder / WEIGHTS_FILE)


def module_tensors(**modules: nn.Module | None) -> dict[str, Tensor]:
    """The state of modules as `<module>.<name>`; None is left out."""
    return {
        f"{part}.{k}": v for part, module in modules.items() if module is not None
        for k, v in module.state_dict().items()
    }  # fmt: skip


def load_modules(tensors: Mapping[str, Tensor], **modules: nn.Module | None) -> None:
    """Give modules the state that `module_tensors` took, and set them to evaluate. Raises one of LOAD_ERRORS."""
    for part, module in modules.items():
        if module is not None:
            cut = len(part) + 1
            module.load_state_dict({k[cut:]: v for k, v in tensors.items() if k.startswith(f"{part}.")})
            module.eval()


def begin_fit(out: Path, *, restart: bool) -> Path:
    """The folder for the unfinished fit inside the model folder `out`, made when missing.

    restart: forget an unfinished fit that lies there. Raises ModelError when `out` holds a fitted model and no
    unfinished fit, unless `restart`.
    """
    unfinished = out / UNFINISHED
    if restart:
        shutil.rmtree(unfinished, ignore_errors=True)
    elif (out / MODEL_FILE).exists() and not unfinished.is_dir():
        raise ModelError(
            "holds a fitted model already", where=out, hint="choose another --out, or --restart to replace it"
        )
    unfinished.mkdir(parents=True, exist_ok=True)
    return unfinished


def end_fit(out: Path) -> None:
    """The fit is whole: nothing remains of it but the model."""
    shutil.rmtree(out / UNFINISHED)


def model_digest(folder: Path) -> str:
    """sha256 of a fitted model: of its description and its weights. Raises ModelError when they cannot be read."""
    digest = hashlib.sha256()
    try:
        for path in (folder / MODEL_FILE, folder / WEIGHTS_FILE):
            digest.update(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", where=folder) from error
    return digest.hexdigest()
