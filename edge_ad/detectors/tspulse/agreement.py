"""Whether the layers of a TSPulse core whose widths were read from a file agree with each other."""

from __future__ import annotations

from torch import nn

from edge_ad.detectors.tspulse.network import Core, Mixer


def check_agreement(core: Core) -> None:
    """Raises ValueError that names the first layer of another width than its neighbours'.

    Running the network would not do: a layer of width 1 broadcasts over all features or tokens.
    """
    width, registers = core.time_embedding.out_features, len(core.registers)
    tokens = 2 * core.patches + registers
    expected = {
        "time_embedding": (core.patch, width),
        "spectrum_embedding": (core.patch, width),
        "time_head": (width, core.patch),
        "spectrum_head": (width, core.patch),
    }
    for index, mixer in enumerate(core.mixers):
        assert isinstance(mixer, Mixer)
        hidden = mixer.up.out_features
        given = tokens if mixer.over_tokens else width
        made = given if mixer.kept is None else len(range(*mixer.kept.indices(tokens)))
        expected[f"mixers.{index}.up"] = (given, hidden)
        expected[f"mixers.{index}.down"] = (hidden, made)
        expected[f"mixers.{index}.gate.linear"] = (hidden if mixer.from_hidden else made, made)
        norm = width if isinstance(mixer.norm, nn.Identity) else len(mixer.norm.weight)
        if norm != width:
            raise ValueError(f"'mixers.{index}.norm' is {norm} wide, not {width}")
    for name, shape in expected.items():
        layer = core.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        if (layer.in_features, layer.out_features) != shape:
            found = f"from {layer.in_features} to {layer.out_features} values"
            raise ValueError(f"'{name}' leads {found}, not from {shape[0]} to {shape[1]}")
    if core.registers.shape[1] != width:
        raise ValueError(f"'registers' are {core.registers.shape[1]} wide, not {width}")
    if core.base_norm.weight.numel() != tokens * width:
        raise ValueError(f"'base_norm' is {core.base_norm.weight.numel()} wide, not {tokens * width}")
