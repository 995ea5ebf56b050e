"""From a fitted TSPulse to its network in integers: ranges from calibration windows, units, multipliers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_ad.bundle.manifest import HeadSpec
from edge_ad.compile.integer.detectors.tspulse.network import (
    ErrorScales,
    Int16Array,
    Int32Array,
    Inverse,
    Linear,
    Mixer,
    Network,
    Scaling,
    TokenNorm,
    Window,
)
from edge_ad.compile.integer.requantize import quantize_multiplier
from edge_ad.detectors.tspulse import network as floats
from edge_ad.detectors.tspulse.config import TsPulseConfig
from edge_ad.detectors.tspulse.scaling import Scaling as FloatScaling
from edge_ad.detectors.tspulse.stages import Front
from edge_ad.errors import TargetError
from edge_ad.runtime.integer.error_streams import RATIO_BITS
from edge_ad.runtime.integer.functions import curve_table, saturate
from edge_ad.runtime.integer.residual import NORM_BITS, packed_scale
from edge_ad.runtime.integer.rfft import LOG2_SIZES
from edge_ad.runtime.integer.windows import ERROR_BITS, INPUT_BITS, Z_BITS

GELU_BITS, SIGMOID_BITS = 6, 7  # of the curves' places: 1025 and 513 values
_HEADROOM = 2  # how far beyond its calibrated range an activation may go
_MOST = (1 << 15) - 1
_MOST_BITS = 16  # fractional bits of a spectrum's values, as the inverse transform takes them
_LEAST_GAIN = 2.0**-18  # of what is scaled by less, every result is 0
_INNER = ("norm", "up", "gelu", "down", "gate")  # activations of a mixer; of one unit in all, to share tables
_LARGEST_SERIES = 256.0  # of what the inverse transform gives, in units of the window's spread
Floats = npt.NDArray[np.float64]


def integer_network(
    config: TsPulseConfig,
    scaling: FloatScaling,
    core: floats.Core,
    windows: Iterable[npt.NDArray[np.float32]],
) -> Network:
    """The network for boards. windows: standardised calibration windows (1, C, S), all of one shape, at least one.

    Raises TargetError for a configuration that boards have no operators for.
    """
    _check(config)
    seen, channels = _ranges(scaling, core, windows)
    gain, offset = scaling.gain.item(), scaling.offset.item()
    if not math.isfinite(offset / gain if gain else math.inf):
        raise TargetError(
            f"windows are scaled by a gain of {gain:g}, which nothing undoes", hint="fit it again"
        )
    n = config.context - config.patch
    token = (_floats(scaling.token) * gain + offset).tolist()
    # No value of a window is further than sqrt(n) of its own standard deviations from its mean.
    reach = max(math.sqrt(n) * abs(gain) + abs(offset), *map(abs, token))
    given = _unit(reach, headroom=1)
    embedded, stream = _unit(seen["embedded"]), _unit(seen["stream"])
    time, values = _unit(seen["time_head"]), max(_unit(seen["spectrum_head"]), 2.0**-_MOST_BITS)
    bits = -round(math.log2(values))
    back = Scaling(0, 0, round(-offset / gain * 2**Z_BITS))
    extra = max(0, math.ceil(math.log2(_LARGEST_SERIES * config.context / given)) + bits - 31)
    return Network(
        channels=channels,
        context=config.context,
        patch=config.patch,
        width=core.time_embedding.out_features,
        window=Window(
            _int16(np.array(token) / given),
            round(config.scale_floor * n * n * 4**INPUT_BITS),
            _scaling(gain * 2.0**-Z_BITS / given, round(offset / given)),
        ),
        spectrum_floor=round(config.scale_floor / given * 2**16),
        time_embedding=_linear(core.time_embedding, given, embedded),
        spectrum_embedding=_linear(core.spectrum_embedding, 2.0**-15, embedded),
        norm=_token_norm(core, embedded, stream),
        mixers=_mixers(core, {name: _unit(seen[name]) for name in _INNER}, stream),
        time_head=_linear(core.time_head, stream, time),
        spectrum_head=_linear(core.spectrum_head, stream, values),
        inverse=Inverse(
            bits, extra, _scaling(2.0 ** (extra - bits + Z_BITS) * given / config.context / gain, back.offset)
        ),
        time=_scaling(time * 2**Z_BITS / gain, back.offset),
    )


def _check(config: TsPulseConfig) -> None:
    hint = "the presets tiny and micro have what boards run"
    if config.norm != "batch" or config.gate != "sigmoid":
        raise TargetError(
            f"boards have batch norm and sigmoid gates, not {config.norm} norm and {config.gate} gates",
            hint=hint,
        )
    sizes = [1 << k for k in LOG2_SIZES]
    if config.context not in sizes:
        raise TargetError(
            f"boards transform windows of {', '.join(map(str, sizes))} rows, not {config.context}", hint=hint
        )


def _ranges(
    scaling: FloatScaling, core: floats.Core, windows: Iterable[npt.NDArray[np.float32]]
) -> tuple[dict[str, float], int]:
    """The largest absolute value of each activation over the windows, by name, and the number of channels."""
    registers = core.registers.detach().abs()
    seen: dict[str, float] = {"embedded": float(registers.max()) if len(registers) else 0.0}

    def watch(module: nn.Module, *names: str, then: Callable[[Tensor], Tensor] | None = None) -> Any:
        def note(_: nn.Module, __: Any, output: Tensor) -> None:
            value = float((output if then is None else then(output)).abs().max())
            for name in names:
                seen[name] = max(seen.get(name, 0.0), value if math.isfinite(value) else math.inf)

        return module.register_forward_hook(note)

    hooks = [watch(core.time_embedding, "embedded"), watch(core.spectrum_embedding, "embedded"),
             watch(core.base_norm, "stream"), watch(core.time_head, "time_head"),
             watch(core.spectrum_head, "spectrum_head")]  # fmt: skip
    for mixer in core.mixers:
        assert isinstance(mixer, floats.Mixer)
        if not isinstance(mixer.norm, nn.Identity):
            hooks.append(watch(mixer.norm, "norm"))
        hooks += [watch(mixer, "stream"), watch(mixer.up, "up"), watch(mixer.up, "gelu", then=functional.gelu),
                  watch(mixer.down, "down"), watch(mixer.gate.linear, "gate")]  # fmt: skip
    front, channels = Front(scaling).eval(), 0
    try:
        with torch.no_grad():
            for window in windows:
                channels = window.shape[1]
                core.eval()(*front(torch.from_numpy(np.asarray(window, np.float32)))[:2])
    finally:
        for hook in hooks:
            hook.remove()
    if not channels or not all(map(math.isfinite, seen.values())):
        raise TargetError(
            "there are no calibration windows, or the network's activations on them are not finite"
        )
    return seen, channels


def _unit(largest: float, headroom: float = _HEADROOM) -> float:
    """The power of two in which `headroom` times this value still fits 16 bits."""
    return 2.0 ** math.ceil(math.log2(headroom * max(largest, 2.0**-14) / _MOST))


def _scaling(real: float, offset: int = 0) -> Scaling:
    multiplier, shift = quantize_multiplier(abs(real))
    return Scaling(int(math.copysign(multiplier, real)), shift, offset)


def _linear(layer: nn.Linear, unit: float, out_unit: float) -> Linear:
    """Weights symmetric in 8 bits, one scale a unit; biases of 30 bits at most."""
    weights, bias = _floats(layer.weight), _floats(layer.bias)
    scales = np.maximum(np.abs(weights).max(1) / 127, np.abs(bias) / (unit * 2.0**30))
    scales[scales == 0] = 1.0
    packed = [packed_scale(*quantize_multiplier(float(unit * s / out_unit))) for s in scales]
    return Linear(
        np.rint(weights / scales[:, None]).astype(np.int8),
        np.stack([np.rint(bias / (unit * scales)), np.array(packed)]).astype(np.int32),
    )


def _mixers(core: floats.Core, units: dict[str, float], stream: float) -> tuple[Mixer, ...]:
    tokens = 2 * core.patches + len(core.registers)
    found, part = [], (0, tokens)  # of the tokens, that which is still needed
    for mixer in core.mixers:
        assert isinstance(mixer, floats.Mixer)
        read = part
        if mixer.kept is not None:
            part = mixer.kept.start, mixer.kept.stop - mixer.kept.start
        found.append(_mixer(mixer, read, part, units, stream))
    return tuple(found)


def _mixer(
    mixer: floats.Mixer, read: tuple[int, int], made: tuple[int, int], units: dict[str, float], stream: float
) -> Mixer:
    norm = mixer.norm
    features, given = None, stream
    if not isinstance(norm, nn.Identity):
        assert (
            isinstance(norm, floats.TokenBatchNorm)
            and norm.running_var is not None
            and norm.running_mean is not None
        )
        gain = _floats(norm.weight) / np.sqrt(_floats(norm.running_var) + norm.eps)
        bias = _floats(norm.bias) - _floats(norm.running_mean) * gain
        given = units["norm"]
        features = _features(gain * stream / given, bias / given)
    return Mixer(
        over_tokens=mixer.over_tokens,
        from_hidden=mixer.from_hidden,
        read=read,
        made=made,
        features=features,
        up=_linear(mixer.up, given, units["up"]),
        gelu=_int16(curve_table(_gelu, units["up"], units["gelu"], GELU_BITS)),
        down=_linear(mixer.down, units["gelu"], units["down"]),
        gate=_linear(mixer.gate.linear, units["gelu" if mixer.from_hidden else "down"], units["gate"]),
        sigmoid=_int16(curve_table(_sigmoid, units["gate"], 2.0**-15, SIGMOID_BITS)),
        add=_scaling(units["down"] * 2.0**-15 / stream),
    )


def _features(gains: Floats, biases: Floats) -> Int32Array:
    scalings = [_scaling(float(g) if abs(g) >= _LEAST_GAIN else 0.0) for g in gains]
    offsets = np.clip(np.rint(biases), -(2**24), 2**24)
    return np.array(
        [[s.multiplier for s in scalings], [s.shift for s in scalings], offsets], np.int64
    ).astype(np.int32)


def _token_norm(core: floats.Core, embedded: float, stream: float) -> TokenNorm:
    norm = core.base_norm
    gains, n = _floats(norm.weight), norm.weight.numel()
    largest = float(np.abs(gains).max())
    shift = min(46, max(1, math.floor(math.log2(_MOST * stream * 2**NORM_BITS / max(largest, 2.0**-20)))))
    return TokenNorm(
        registers=_int16(_floats(core.registers).ravel() / embedded),
        gains=_int16(gains / stream * 2.0 ** (shift - NORM_BITS)),
        biases=_int16(_floats(norm.bias) / stream),
        floor=max(1, round(norm.eps * n * n / embedded**2)),
        shift=shift,
    )


def error_scales(head: HeadSpec) -> ErrorScales:
    """The scales of a head `error-streams`, for errors in units of 2^-16."""
    scales = np.array(head.params["scale"], np.float64)
    pairs = np.array(
        [quantize_multiplier(2.0 ** (RATIO_BITS - ERROR_BITS) / s) for s in scales.flat], np.int32
    )
    multipliers, shifts = pairs.T.reshape(2, *scales.shape)
    return ErrorScales(multipliers, shifts, min(int(head.params["top"]), scales.shape[1]))


def score_unit(scales: ErrorScales) -> float:
    """What 1 of the integer score is: from the sum of binary logarithms to the mean of natural ones."""
    return math.log(2) / 2**16 / (scales.multipliers.shape[0] * scales.top)


def _gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _floats(values: Tensor) -> Floats:
    return values.detach().double().numpy()


def _int16(values: npt.ArrayLike) -> Int16Array:
    return saturate(np.rint(np.asarray(values, np.float64)).astype(np.int64)).astype(np.int16)
