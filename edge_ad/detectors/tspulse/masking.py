"""Which samples training hides (arXiv 2505.13033, section 3.1); what is drawn depends on the generator alone."""

from __future__ import annotations

import torch
from torch import Tensor

from edge_ad.detectors.tspulse.config import TsPulseConfig


def draw_masks(config: TsPulseConfig, rows: int, random: torch.Generator) -> Tensor:
    """Masks (rows, S), 1 where a sample is hidden.

    A share `newest_share` of the rows hides the newest patch only, as scoring does; the others follow
    `config.masking`: whole patches (`block`), a fixed number of samples of which `patch_share` lies in whole patches
    (`hybrid`), or a number drawn for each row between one and that (`variable-hybrid`).
    """
    newest = newest_mask(config).expand(rows, -1)
    if config.masking == "newest":
        return newest.clone()
    if config.masking == "block":
        others = _patches(config, torch.full((rows,), int(config.patches * config.mask_ratio)), random)
    else:
        others = _hybrid(config, rows, random)
    chosen = torch.rand(rows, 1, generator=random) < config.newest_share
    return torch.where(chosen, newest, others)


def newest_mask(config: TsPulseConfig) -> Tensor:
    """(1, S), 1 in the newest patch."""
    mask = torch.zeros(1, config.context)
    mask[:, -config.patch :] = 1
    return mask


def _hybrid(config: TsPulseConfig, rows: int, random: torch.Generator) -> Tensor:
    ratio = torch.full((rows,), config.mask_ratio)
    if config.masking == "variable-hybrid":
        ratio = ratio * torch.rand(rows, generator=random)
    total = (ratio * config.context).long().clamp_min(1)
    whole = _patches(config, (config.patch_share * total / config.patch).long(), random)
    return torch.maximum(whole, _points(whole, total - whole.sum(1).long(), random))


def _patches(config: TsPulseConfig, counts: Tensor, random: torch.Generator) -> Tensor:
    """Hide counts[i] whole patches of row i."""
    rank = torch.rand(len(counts), config.patches, generator=random).argsort(1).argsort(1)
    return (rank < counts[:, None]).float().repeat_interleave(config.patch, dim=1)


def _points(hidden: Tensor, counts: Tensor, random: torch.Generator) -> Tensor:
    """Hide counts[i] single samples of row i, none of which is hidden already."""
    draws = torch.rand(hidden.shape, generator=random) + hidden
    return (draws.argsort(1).argsort(1) < counts[:, None]).float()
