"""The two trainings of FADeR: the U-Net on good parts, then the MLP of the frozen U-Net on hard cases.

How the second derives its signals is our reading of arXiv 2407.04597 ("attenuation signals from reconstruction
errors"), whose text we could not get; docs/fader.md tells what is published and what is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ad.data.defects import defective
from edge_ad.detectors.fader.config import FaderConfig
from edge_ad.detectors.fader.forms import PlainNetwork
from edge_ad.detectors.fader.masks import Mask, hide
from edge_ad.detectors.fader.network import Attenuation, UNet
from edge_ad.detectors.fader.similarity import reconstruction_losses
from edge_ad.detectors.loop import Loop, Losses, fingerprint

N_HARD = 400  # images with synthetic defects that the second training draws from
HARD_QUANTILE = 0.99  # of good parts' errors: from here on a cell should be dropped altogether
_CHUNK = 8


@dataclass
class InpaintingTraining:
    """The U-Net learns to restore good parts. images: (N, 3, S, S) uint8. mask: fitted."""

    config: FaderConfig
    images: Tensor
    mask: Mask
    bfloat16: bool

    def __post_init__(self) -> None:
        config = self.config
        torch.manual_seed(config.seed)
        self.unet = UNet(config.widths).to(memory_format=torch.channels_last)
        self.loop = Loop(
            modules={"unet": self.unet},
            optimizer=torch.optim.Adam(self.unet.parameters(), lr=config.learning_rate),
            identity=["fader", "inpainting", config.model_dump_json(), fingerprint(self.images)],
            steps=config.steps,
            learning_rate=config.learning_rate,
            decay_at=config.decay_at,
            random=torch.Generator().manual_seed(config.seed),
        )

    def losses(self) -> Losses:
        """Draw a batch, hide cells of it, restore it."""
        random, config = self.loop.random, self.config
        chosen = torch.randint(len(self.images), (config.batch,), generator=random)
        x = self.images[chosen].float() / 255
        mask = training_mask(self.mask(x), config, random)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            y = self.unet(hide(x, mask, config.mosaic_px).contiguous(memory_format=torch.channels_last))
        return reconstruction_losses(x, y.float())


def training_mask(own: Tensor, config: FaderConfig, random: torch.Generator) -> Tensor:
    """Cells to hide in training: those of the mask, joined by random ones. (N, 1, g, g)

    On good parts "template" and "saliency" hide next to nothing, and what has never been hidden is never learned. With
    two passes every second image hides all, as the first pass does, and the others a random share, as the second.
    """
    if config.mask == "mosaic":
        return own
    share = torch.rand(len(own), 1, 1, 1, generator=random)
    drawn = (torch.rand(own.shape, generator=random) < share).float()
    if config.mask == "two-pass":
        whole = torch.rand(len(own), 1, 1, 1, generator=random) < 0.5
        return torch.where(whole, own, drawn)
    return torch.maximum(own, drawn)


@dataclass
class AttenuationTraining:
    """The gates learn which cells the frozen U-Net would not restore to what a good part shows.

    network: with fitted mask and U-Net; its gates are what is trained. images: (N, 3, S, S) uint8.
    """

    network: PlainNetwork
    images: Tensor
    bfloat16: bool

    def __post_init__(self) -> None:
        config = self.network.config
        self.config = config
        self.network.eval().requires_grad_(False)
        gates = self.network.inpainter.gates.requires_grad_(True)
        self.clean, self.damaged = hard_cases(self.images, config.seed)
        self.kept, self.lost = self._error_limits()
        if config.attenuation == "prototype":
            self._set_prototypes()
        weights = torch.cat([p.detach().flatten() for p in self.network.inpainter.unet.state_dict().values()])
        self.loop = Loop(
            modules={"gates": gates},
            optimizer=torch.optim.Adam(gates.parameters(), lr=config.attenuation_rate),
            identity=[
                "fader",
                "attenuation",
                config.model_dump_json(),
                fingerprint(self.images),
                fingerprint(weights),
            ],
            steps=config.attenuation_steps,
            learning_rate=config.attenuation_rate,
            decay_at=config.decay_at,
            random=torch.Generator().manual_seed(config.seed + 1),
        )

    def losses(self) -> Losses:
        """BCE of the factors against their targets on the harder half of the cells, and the reconstruction's loss.

        Half of the batch is damaged and half is not, and in all the mask has holes: it is what the gates are for that
        a mask does not cover a defect.
        """
        random, config, unet = self.loop.random, self.config, self.network.inpainter.unet
        chosen = torch.randint(len(self.clean), (config.batch,), generator=random)
        clean = self.clean[chosen].float() / 255
        shown = clean.clone()
        half = config.batch // 2
        shown[:half] = self.damaged[chosen[:half]].float() / 255
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            mask = self.network.hidden(shown).float()
            share = config.hole_share * torch.rand(len(mask), 1, 1, 1, generator=random)
            mask = mask * (torch.rand(mask.shape, generator=random) >= share)
            skips, bottom = unet.encode(hide(shown, mask, config.mosaic_px))
            plain = unet.decode(skips, bottom).float()
        skips = [skip.float() for skip in skips]
        target = attenuation_target(
            self._cells(plain, clean), self._cells(shown, clean), self.kept, self.lost
        )
        bce, gated = [], list(skips)
        for level, gate in self.network.inpainter.gates.items():
            assert isinstance(gate, Attenuation)
            logits = gate.logits(skips[int(level)])
            gated[int(level)] = gate.apply_factors(skips[int(level)], torch.sigmoid(logits))
            bce.append(hardest_bce(logits, target))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            y = unet.decode(gated, bottom)
        return {"bce": torch.stack(bce).mean(), **reconstruction_losses(clean, y.float())}

    def _cells(self, a: Tensor, b: Tensor) -> Tensor:
        """Mean squared difference of each cell, (N, 1, g, g)."""
        return F.avg_pool2d((a - b).square().mean(1, keepdim=True), self.config.cell_px)

    @torch.no_grad()
    def _error_limits(self) -> tuple[float, float]:
        """Quantiles of the cells' errors on good parts: up to the first a cell is restored, from the second lost."""
        open_ = self.network.without_attenuation()
        errors = []
        for chunk in self.images[:N_HARD].split(_CHUNK):
            x = chunk.float() / 255
            errors.append(self._cells(open_.reconstruct(x), x).numpy().ravel())
        kept, lost = np.quantile(np.concatenate(errors), (self.config.kept_quantile, HARD_QUANTILE))
        return float(kept), max(float(lost), 1e-12)

    @torch.no_grad()
    def _set_prototypes(self) -> None:
        """The mean skip features of good parts, one value a channel."""
        sums: dict[str, Tensor] = {}
        for chunk in self.images[:N_HARD].split(_CHUNK):
            x = chunk.float() / 255
            skips, _ = self.network.inpainter.unet.encode(
                hide(x, self.network.hidden(x), self.config.mosaic_px)
            )
            for level in self.network.inpainter.gates:
                sums[level] = sums.get(level, torch.zeros(1)) + skips[int(level)].mean((2, 3)).sum(0)
        for level, gate in self.network.inpainter.gates.items():
            gate.get_buffer("prototype").copy_(sums[level] / len(self.images[:N_HARD]))


def hard_cases(images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """N_HARD of `images` (N, 3, S, S) uint8, drawn again and again where they are fewer, and copies with defects.

    Half as many defects in the small images of a microcontroller as in others: there is less room.
    """
    rng = np.random.default_rng(seed)
    chosen = np.concatenate([rng.permutation(len(images)) for _ in range(-(-N_HARD // len(images)))])[:N_HARD]
    clean = images[torch.from_numpy(chosen)]
    rows = np.ascontiguousarray(clean.permute(0, 2, 3, 1).numpy())
    damaged, _ = defective(rows, seed, per_image=1 if images.shape[-1] < 128 else 2)
    return clean, torch.from_numpy(damaged).permute(0, 3, 1, 2).contiguous()


def attenuation_target(error: Tensor, change: Tensor, kept: float, lost: float) -> Tensor:
    """What each cell's factor should be, from the error of its reconstruction against the clean image.

    1 where the U-Net restores the cell as well as a good part's (error up to `kept`), or where there is nothing to
    restore (`change`, the difference of shown and clean image, is 0); else 1 - error / lost, at least 0.
    """
    soft = (1 - error / lost).clamp(0, 1)
    return torch.where((error <= kept) | (change == 0), torch.ones_like(soft), soft)


def hardest_bce(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy over the half of the cells whose factor is farthest from its target."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten()
    far = (torch.sigmoid(logits.detach()) - target).abs().flatten()
    return loss[far.topk(max(1, far.numel() // 2), sorted=False).indices].mean()


def trained_module(module: nn.Module) -> nn.Module:
    """Ready to be used and saved: evaluation mode, plain memory layout."""
    return module.to(memory_format=torch.contiguous_format).eval()
