"""TSPulse beside granite-tsfm, where that is installed: size by size, and the same outputs of the same weights.

    python tests/bench/peers.py

Both networks get the same random weights, ours through the file that `fit tspulse --weights` reads, and the same
masked windows. Prints Markdown; says so where granite-tsfm is missing.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import types
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edge_ad.detectors.tspulse.config import PRESETS, TsPulseConfig
from edge_ad.detectors.tspulse.masking import newest_mask
from edge_ad.detectors.tspulse.network import Core
from edge_ad.detectors.tspulse.scaling import Scaling
from edge_ad.detectors.tspulse.weights import load_published

MODELS = "tsfm_public.models.tspulse"


@dataclass(frozen=True)
class Comparison:
    """Parameters that scoring needs, ours and theirs, theirs of training alone, and the largest relative differences
    of the two reconstructions."""

    ours: int
    theirs: int
    training_only: int
    time: float
    spectrum: float


def classes() -> tuple[Any, Any] | None:
    """granite-tsfm's configuration and network, None where it is not installed.

    Only the model's own modules are imported: the package's toolkit needs packages for training that a comparison of
    networks does not.
    """
    found = importlib.util.find_spec("tsfm_public")
    if found is None or not found.submodule_search_locations:
        return None
    root = Path(found.submodule_search_locations[0])
    for name in ("tsfm_public", "tsfm_public.models", MODELS):
        shell = types.ModuleType(name)
        shell.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules.setdefault(name, shell)
    configuration = importlib.import_module(f"{MODELS}.configuration_tspulse")
    modeling = importlib.import_module(f"{MODELS}.modeling_tspulse")
    return configuration.TSPulseConfig, modeling.TSPulseForReconstruction


def theirs(config: TsPulseConfig, kinds: tuple[Any, Any]) -> nn.Module:
    """granite-tsfm's network of the same shape, masked as the caller says."""
    made = kinds[0](
        context_length=config.context,
        patch_length=config.patch,
        patch_stride=config.patch,
        mask_block_length=config.patch,
        d_model=config.width,
        decoder_d_model=config.width,
        expansion_factor=config.expansion,
        num_layers=config.layers,
        decoder_num_layers=config.decoder_layers,
        patch_register_tokens=config.registers,
        norm_mlp="LayerNorm" if config.norm == "layer" else "BatchNorm",
        gated_attention_activation=config.gate,
        head_gated_attention_activation=config.gate,
        mask_type="user",
        fuse_fft=True,
        minimum_scale=config.scale_floor,
    )
    network: nn.Module = kinds[1](made)
    return network.eval()


@torch.no_grad()
def compare(config: TsPulseConfig, kinds: tuple[Any, Any]) -> Comparison:
    """One preset against the peer's classes."""
    torch.manual_seed(0)
    peer = theirs(config, kinds)
    for tensor in [*peer.parameters(), *peer.buffers()]:
        if tensor.dtype == torch.float32:
            tensor.add_(0.1 * torch.rand_like(tensor))  # away from zeros and ones, in which errors could hide
    scaling, core = Scaling(config).eval(), Core(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file({k: v.contiguous() for k, v in peer.state_dict().items()}, path)
        unused = load_published(path, None, config, scaling, core)
    x = torch.randn(4, config.context).cumsum(1)
    observed = 1 - newest_mask(config).expand_as(x)
    found = peer(x[:, :, None], past_observed_mask=observed[:, :, None].bool())
    scale = scaling.statistics(x, observed)
    scaled = scaling.scaled(x, observed, scale)
    spectrum = scaling.spectrum(scaled)
    series, values = core.heads(core.tokens(scaled, spectrum.values))
    inverse = scaling.unscaled(scaling.series(values, spectrum), scale)
    ours = sum(p.numel() for module in (scaling, core) for p in module.parameters())
    spare = sum(p.numel() for name, p in peer.named_parameters() if name in unused)
    return Comparison(
        ours,
        sum(p.numel() for p in peer.parameters()) - spare,
        spare,
        difference(scaling.unscaled(series, scale), found.reconstruction_outputs[:, :, 0]),
        difference(inverse, found.reconstructed_ts_from_fft[:, :, 0]),
    )


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def main() -> None:
    kinds = classes()
    if kinds is None:
        print("granite-tsfm is not installed (pip install granite-tsfm): no comparison of TSPulse's shape.")
        return
    try:
        release = version("granite-tsfm")
    except PackageNotFoundError:
        release = "unknown version"
    print(
        f"Parameters and reconstructions beside granite-tsfm {release}, same weights, newest patch hidden:\n"
    )
    print("| preset | ours | theirs | theirs, training only | time differs by | spectrum differs by |")
    print("|" + " --- |" * 6)
    for name, config in PRESETS.items():
        c = compare(config, kinds)
        print(f"| {name} | {c.ours} | {c.theirs} | {c.training_only} | {c.time:.1g} | {c.spectrum:.1g} |")


if __name__ == "__main__":
    main()
