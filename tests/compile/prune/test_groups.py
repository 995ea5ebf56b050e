"""What goes together when a channel goes, by oracles that know nothing of the grouping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy

import numpy as np
import prunable
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edge_ad.compile.prune.anatomies import anatomy_of
from edge_ad.compile.prune.anatomy import Anatomy
from edge_ad.compile.prune.choose import choose, step_of
from edge_ad.compile.prune.groups import Channels
from edge_ad.compile.prune.importance import importances
from edge_ad.compile.scores import batches
from edge_ad.data.altered import altered
from edge_ad.detectors.tspulse.network import Core


@pytest.fixture(params=prunable.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def _anatomy(kind: str) -> tuple[Anatomy, torch.Tensor, torch.Tensor]:
    detector = prunable.make(kind)
    usual = list(batches(prunable.normals(detector, 4).fit, detector.input))
    copies = [altered(detector.input, batch, i) for i, batch in enumerate(usual)]
    normal, changed = (torch.from_numpy(np.concatenate(found)) for found in (usual, copies))
    return anatomy_of(detector, normal, changed, normal), normal, changed


def _batch_norm_behind(network: nn.Module, name: str) -> nn.Module | None:
    """As each network's layout has it: `norm` beside `conv`, or the next layer of a sequence."""
    parent, _, leaf = name.rpartition(".")
    other = "norm" if leaf == "conv" else str(int(leaf) + 1) if leaf.isdigit() else None
    found = getattr(network.get_submodule(parent), other, None) if other else None
    return found if isinstance(found, nn.BatchNorm1d | nn.BatchNorm2d) else None


@torch.no_grad()
def _silence(network: nn.Module, kept: dict[str, torch.Tensor]) -> None:
    """Have the channels that were pruned give zero, in a network of the full width."""
    for name, stay in kept.items():
        layer = network.get_submodule(name)
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        gone = torch.ones(layer.weight.shape[axis], dtype=torch.bool)
        gone[stay] = False
        layer.weight.movedim(axis, 0)[gone] = 0
        for one in (layer, _batch_norm_behind(network, name)):
            if one is not None and one.bias is not None:
                one.bias[gone] = 0
        if (norm := _batch_norm_behind(network, name)) is not None:
            norm.weight[gone] = 0
        if (level := name.removeprefix("inpainter.unet.encoder.").split(".")[0]) and name.endswith(".1.conv"):
            gates = getattr(getattr(network, "inpainter", None), "gates", {})
            if "encoder" in name and level in gates:
                gates[level].prototype[gone] = 0


def test_a_pruned_network_gives_what_the_whole_one_gives_with_those_channels_silenced(kind: str) -> None:
    anatomy, normal, _ = _anatomy(kind)
    whole = deepcopy(anatomy.network)
    channels = Channels(anatomy, normal[:1])
    rng = np.random.default_rng(5)
    roots = [group.root for group in channels.groups() if group.joined is None]
    assert roots
    for root in roots:
        group = next(g for g in channels.groups() if g.root == root)
        channels.prune(group, rng.permutation(group.width)[: group.width // 2].tolist())
    _silence(whole, channels.kept)
    with torch.no_grad():
        made, expected = anatomy.network(normal), whole(normal)
    assert sum(p.numel() for p in anatomy.network.parameters()) < 0.75 * sum(
        p.numel() for p in whole.parameters()
    )
    for got, wanted, source in zip(made, expected, anatomy.sources, strict=True):
        wanted = wanted if source is None else wanted[:, channels.kept[source]]
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_multiply_accumulates_are_those_that_torch_counts(kind: str) -> None:
    anatomy, normal, _ = _anatomy(kind)
    channels = Channels(anatomy, normal[:1])
    for place in (0, -1, 0):  # the last of TSPulse's groups are given by hand
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            made = anatomy.network(normal[:1])
            if kind == "starnet":  # whose decoder runs for each of a pair of draws
                anatomy.network.made.decoder(made[1])
        # TSPulse's Fourier transforms and FADeR's mask are no layers whose width could change.
        fixed = 2 * 2 * 256 * 257 if kind == "tspulse" else 0
        assert 2 * channels.macs() == counter.get_total_flops() - fixed
        group = channels.groups()[place]
        channels.prune(group, list(range(group.width)) if group.root == "registers" else [0])


def test_importance_is_what_a_score_loses_when_a_channel_fades(kind: str) -> None:
    anatomy, normal, changed = _anatomy(kind)
    channels = Channels(anatomy, normal[:1])
    groups = channels.groups()
    found = importances(anatomy, groups, [(normal[:1], changed[:1])])
    most = [float(values.max()) for values in found]
    for index in np.argsort(most)[-4:]:
        group = groups[index]
        channel = int(found[index].argmax())
        slopes = [_slope(anatomy, channels, group, channel, x) for x in (normal[:1], changed[:1])]
        expected = slopes[0] ** 2 + (slopes[1] - slopes[0]) ** 2
        assert float(found[index][channel]) == pytest.approx(expected, rel=0.05, abs=0.02 * max(most))


@torch.no_grad()
def _slope(anatomy: Anatomy, channels: Channels, group, channel: int, x: torch.Tensor) -> float:
    """The central difference of the score when all that read a channel (or, read by none, make it) take it by 1 ± h."""
    if group.joined is not None:
        with _faded(anatomy.network.core, group.root, channel) as gate:
            return _difference(
                lambda factor: gate.fill_(factor), lambda: anatomy.score(anatomy.network(x), x)
            )
    tensors = []
    for member in group.consumers or group.producers:
        layer = channels.layers[member.name]
        axis = 0 if member.outputs != isinstance(layer, nn.ConvTranspose2d) else 1
        tensors.append((layer.weight.movedim(axis, 0), member.channels[channel]))
        if member.outputs and layer.bias is not None:
            tensors.append((layer.bias, member.channels[channel]))
    before = [tensor[places].clone() for tensor, places in tensors]

    def scale(factor: float) -> None:
        for (tensor, places), value in zip(tensors, before, strict=True):
            tensor[places] = value * factor

    return _difference(scale, lambda: anatomy.score(anatomy.network(x), x))


def _difference(scale, score, h: float = 2e-2) -> float:
    scores = []
    for factor in (1 + h, 1 - h, 1.0):
        scale(factor)
        scores.append(float(score().double()))
    return (scores[0] - scores[1]) / (2 * h)


@contextmanager
def _faded(core: Core, root: str, channel: int) -> Iterator[torch.Tensor]:
    """A gate on a feature behind each norm and before the heads, or on a register before the mixers over tokens."""
    gate, place = torch.ones(()), channel if root == "features" else 2 * core.patches + channel

    def scaled(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[..., :place], x[..., place : place + 1] * gate, x[..., place + 1 :]], -1)

    if root == "features":
        hooks = [m.norm.register_forward_hook(lambda _, __, made: scaled(made)) for m in core.mixers]
        readers = [core.time_head, core.spectrum_head]
    else:
        hooks, readers = [], [m.up for m in core.mixers if m.over_tokens]
    hooks += [layer.register_forward_pre_hook(lambda _, given: (scaled(given[0]),)) for layer in readers]
    try:
        yield gate
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("root", ["features", "registers"])
def test_a_core_without_some_features_or_registers_computes_the_others_as_before(root: str) -> None:
    """The oracle is the whole core with their readers silenced, its first norm's values given to the pruned one."""
    anatomy, normal, _ = _anatomy("tspulse")
    whole = deepcopy(anatomy.network)
    channels = Channels(anatomy, normal[:1])
    group = next(g for g in channels.groups() if g.root == root)
    gone = list(range(group.width)) if root == "registers" else [0, 5, 6, group.width - 1]
    channels.prune(group, gone)
    core, normed = anatomy.network.core, []
    tokens = slice(2 * core.patches) if root == "registers" else slice(None)
    features = torch.ones(whole.core.time_embedding.out_features, dtype=torch.bool)
    features[gone if root == "features" else []] = False

    def part(_: nn.Module, __: object, made: torch.Tensor) -> torch.Tensor:
        rows = normed.pop().reshape(len(made), -1, len(features))
        kept = rows[:, tokens][..., features].flatten(1)
        assert kept.shape == made.shape
        return kept

    whole.core.base_norm.register_forward_hook(lambda _, __, made: normed.append(made))
    core.base_norm.register_forward_hook(part)
    with ExitStack() as gates, torch.no_grad():
        for channel in gone:
            gates.enter_context(_faded(whole.core, root, channel)).zero_()
        wanted = whole(normal)
        for got, expected in zip(anatomy.network(normal), wanted, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_the_least_important_channels_go_in_multiples_and_no_further_than_asked() -> None:
    anatomy, normal, changed = _anatomy("efficientad")
    channels = Channels(anatomy, normal[:1])
    groups = channels.groups()
    widths = {g.root: g.width for g in groups}
    found = importances(anatomy, groups, list(zip(normal.split(1), changed.split(1), strict=True)))
    before = channels.macs()
    made = choose(channels, groups, found, widths, 0.5 * before, 4)
    assert 0.35 * before < made.macs <= 0.5 * before
    for index, gone in made.channels.items():
        left = groups[index].width - len(gone)
        assert left % step_of(groups[index].width, 4) == 0 and left >= groups[index].width / 8
        stay = sorted(set(range(groups[index].width)) - set(gone))
        assert found[index][gone].max() <= found[index][stay].min()
    for index in sorted(made.channels, reverse=True):
        root = groups[index].root
        channels.prune(next(g for g in channels.groups() if g.root == root), made.channels[index])
    assert channels.macs() == made.macs


def test_what_a_large_chunk_made_needless_comes_back() -> None:
    anatomy, normal, _ = _anatomy("tspulse")
    channels = Channels(anatomy, normal[:1])
    groups = channels.groups()
    widths = {g.root: g.width for g in groups}
    last = [torch.full((g.width,), 1e6 if g.joined is not None else 1.0) for g in groups]
    hidden = [g for g in groups if g.joined is None]
    least = choose(channels, hidden, last[: len(hidden)], widths, 0.0, 4)
    made = choose(channels, groups, last, widths, least.macs - 1, 4)
    assert 0.95 * least.macs < made.macs < least.macs
    assert any(len(made.channels.get(i, [])) < len(gone) for i, gone in least.channels.items())
    for index in sorted(made.channels, reverse=True):
        root = groups[index].root
        channels.prune(next(g for g in channels.groups() if g.root == root), made.channels[index])
        left = groups[index].width - len(made.channels[index])
        assert root == "registers" or left % step_of(groups[index].width, 4) == 0
    assert channels.macs() == made.macs


@pytest.mark.parametrize(("width", "multiple", "step"), [(256, 16, 16), (32, 16, 8), (8, 16, 2), (3, 4, 1)])
def test_narrow_layers_keep_steps_to_choose_from(width: int, multiple: int, step: int) -> None:
    assert step_of(width, multiple) == step
    assert step_of(width, multiple, least=multiple) == multiple


@pytest.mark.parametrize("left", [4, 8, 12, 20])
def test_a_channel_that_is_several_values_elsewhere_is_one_however_many_are_left(left: int) -> None:
    anatomy, normal, _ = _anatomy("starnet")
    channels = Channels(anatomy, normal[:1])
    before = {g.root: g.width for g in channels.groups()}
    linear = "made.decoder.body.0"
    group = next(g for g in channels.groups() if any(m.name == linear and m.outputs for m in g.members))
    channels.prune(group, list(range(group.width - left)))
    assert {g.root: g.width for g in channels.groups()} == {**before, group.root: left}
