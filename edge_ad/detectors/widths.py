"""Networks whose layers are narrower than their preset says: a pruned detector's.

The state of a pruned network is its description: it is built as its preset has it, and then every layer takes the
width that its tensors have (`take_widths`). What a layer may be is the topology's affair: kinds, kernels, numbers of
axes and what a layer is joined to stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

PRUNED = "pruned"  # the key of a fit's figures under which a pruned detector says what was taken away

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def is_pruned(fit: Mapping[str, Any]) -> bool:
    """Whether the figures of a fit are those of a pruned detector."""
    return PRUNED in fit


def pruned_sentence(told: Mapping[str, Any]) -> str:
    """What pruning did, for reports. told: what a fit's figures have under `PRUNED`."""
    return (
        "Channels were removed by what the score loses without them, from "
        f"{told['macs_before'] / 1e6:.4g} to {told['macs_after'] / 1e6:.4g} MMAC and from "
        f"{told['parameters_before']:,} to {told['parameters_after']:,} parameters; the rest was distilled from the "
        f"unpruned network in {told['steps']} steps (relative error {told['loss']:.3g})."
    )


def take_widths(tensors: Mapping[str, Tensor], **modules: nn.Module | None) -> None:
    """Give the parameters and buffers of modules the shapes that `tensors` has for them, as `<module>.<name>`.

    Values are left undefined: the state is loaded afterwards. Raises ValueError for a tensor with another number of
    axes or another kernel than the topology has there, that does not fit its layer's others, or without any value where
    the module does not say (`may_be_empty`: names) that it can do without.
    """
    for prefix, network in modules.items():
        if network is None:
            continue
        for path, layer in network.named_modules():
            where = ".".join(part for part in (prefix, path) if part)
            changed = False
            for name, own in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
                given = tensors.get(f"{where}.{name}")
                if given is not None and given.shape != own.shape:
                    _check(layer, f"{where}.{name}", own, given)
                    _replace(layer, name, own, given)
                    changed = True
            if changed:
                describe(layer, where)


def _check(layer: nn.Module, name: str, own: Tensor, given: Tensor) -> None:
    kernel = 2 if isinstance(layer, _CONVOLUTIONS) and own.ndim > 2 else own.ndim
    empty = given.numel() == 0 and name.rpartition(".")[2] not in getattr(layer, "may_be_empty", ())
    if given.ndim != own.ndim or given.shape[kernel:] != own.shape[kernel:] or empty:
        raise ValueError(f"'{name}' has shape {tuple(given.shape)}, which no width of its layer gives")


def _replace(layer: nn.Module, name: str, own: Tensor, given: Tensor) -> None:
    value = torch.empty(given.shape, dtype=own.dtype)
    if isinstance(own, nn.Parameter):
        setattr(layer, name, nn.Parameter(value, requires_grad=own.requires_grad))
    else:
        layer._buffers[name] = value


def describe(layer: nn.Module, where: str) -> None:
    """Have a layer say how wide it is. Raises ValueError where its tensors contradict each other."""
    wide: int | None = None
    if isinstance(layer, _CONVOLUTIONS):
        if layer.groups != 1:
            raise ValueError(f"'{where}' is a grouped convolution, whose width is fixed")
        first, second = layer.weight.shape[:2]
        transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d)
        layer.in_channels, layer.out_channels = (first, second) if transposed else (second, first)
        wide = layer.out_channels
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
        wide = layer.out_features
    elif isinstance(layer, _BATCH_NORMS):
        layer.num_features = wide = len(layer.weight)
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(layer.weight.shape)
        wide = len(layer.weight)
    vectors = [t for t in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)) if t.ndim == 1]
    if wide is not None and any(len(t) != wide for t in vectors):
        raise ValueError(f"the tensors of '{where}' are of different widths")


@torch.no_grad()
def check_joined(network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Run a network once on zeros. Raises ValueError where its layers' widths do not fit each other."""
    try:
        network(torch.zeros(shape, dtype=dtype))
    except RuntimeError as error:
        raise ValueError(
            f"the layers' widths do not fit each other ({str(error).splitlines()[0]})"
        ) from error
