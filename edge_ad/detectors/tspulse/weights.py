"""Beginning from published weights: a safetensors file in granite-tsfm's key layout (models/tspulse, Apache-2.0)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from edge_ad.detectors.tspulse.config import TsPulseConfig
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scaling
from edge_ad.errors import ModelError

_OUTER = {
    "scaling.token": "backbone.time_masker.mask_token",
    "scaling.gain": "backbone.scaler.affine_weight",
    "scaling.offset": "backbone.scaler.affine_bias",
    "core.registers": "backbone.add_tokens.patch_tokens",
    "core.time_embedding.weight": "backbone.time_encoding.patcher.weight",
    "core.time_embedding.bias": "backbone.time_encoding.patcher.bias",
    "core.spectrum_embedding.weight": "backbone.fft_encoding.patcher.weight",
    "core.spectrum_embedding.bias": "backbone.fft_encoding.patcher.bias",
    "core.base_norm.weight": "backbone.base_norm.weight",
    "core.base_norm.bias": "backbone.base_norm.bias",
    "core.time_head.weight": "decoder_with_head.time_head.base_reconstruction_block.weight",
    "core.time_head.bias": "decoder_with_head.time_head.base_reconstruction_block.bias",
    "core.spectrum_head.weight": "decoder_with_head.fft_head.base_reconstruction_block.weight",
    "core.spectrum_head.bias": "decoder_with_head.fft_head.base_reconstruction_block.bias",
}
_MIXER = {"up": "mlp.fc1", "down": "mlp.fc2", "gate.linear": "gating_block.attn_layer"}


def published_names(config: TsPulseConfig) -> dict[str, str]:
    """The published name of each tensor that `scaling` and `core` of this shape have, by ours."""
    names = dict(_OUTER)
    norm = "norm.norm" if config.norm == "layer" else "norm.norm.batchnorm"
    statistics = ("running_mean", "running_var", "num_batches_tracked") if config.norm == "batch" else ()
    for layer in range(config.layers + config.decoder_layers):
        block = (
            f"backbone.encoder_block.mixers.{layer}"
            if layer < config.layers
            else f"decoder_with_head.decoder.decoder_block.mixers.{layer - config.layers}"
        )
        for index, kind in enumerate(("patch_mixer", "feature_mixer")):
            ours, theirs = f"core.mixers.{2 * layer + index}", f"{block}.{kind}"
            for part, published in _MIXER.items():
                for leaf in ("weight", "bias"):
                    names[f"{ours}.{part}.{leaf}"] = f"{theirs}.{published}.{leaf}"
            for leaf in ("weight", "bias", *statistics):
                names[f"{ours}.norm.{leaf}"] = f"{theirs}.{norm}.{leaf}"
    return names


def load_published(
    path: Path, sha256: str | None, config: TsPulseConfig, scaling: Scaling, core: Core
) -> list[str]:
    """Give `scaling` and `core` the weights of a file; returns the names of its tensors that nothing here has.

    sha256: what the file's digest must be, None to take any. Raises ModelError for another digest, an unreadable
    file, and missing tensors or ones of another shape.
    """
    hint = "the preset 'full' has the published shape"
    try:
        content = path.read_bytes()
        found = load(content)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"is no safetensors file that can be read ({error})", where=path) from error
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256:
        raise ModelError(
            f"has sha256 {digest}, not {sha256}",
            where=path,
            hint="fetch the file again, or correct --weights-sha256",
        )
    names = published_names(config)
    for prefix, module in (("scaling.", scaling), ("core.", core)):
        state: dict[str, Tensor] = {}
        for key, own in module.state_dict().items():
            theirs = names[prefix + key]
            if theirs not in found:
                raise ModelError(f"has no tensor '{theirs}'", where=path, hint=hint)
            if found[theirs].numel() != own.numel() or found[theirs].squeeze().shape != own.squeeze().shape:
                raise ModelError(
                    f"'{theirs}' has shape {tuple(found[theirs].shape)}, not {tuple(own.shape)}",
                    where=path,
                    hint=hint,
                )
            state[key] = found[theirs].reshape(own.shape).to(own.dtype)
        module.load_state_dict(state)
    return sorted(set(found) - set(names.values()))
