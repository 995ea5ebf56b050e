"""What the pipeline asks of a target. `edge_ad.targets` implements it, one file each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edge_ad.bundle.manifest import Budget
from edge_ad.compile.capture import OPSET, Captured
from edge_ad.compile.cost import Cost
from edge_ad.compile.integer.image import Image
from edge_ad.compile.integer.lower import KernelSet
from edge_ad.runtime.engines.base import Tensor

if TYPE_CHECKING:
    from edge_ad.compile.integer.detectors.form import BoardForm

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Calibration:
    """Normal inputs for quantization: `batches` starts anew at each call and holds one batch at a time."""

    batches: Callable[[], Iterator[Tensor]]
    count: int


@dataclass(frozen=True)
class Lowered:
    """A network in a target's own form. files: contents by name; model: the one that the engine opens; parts: those
    of the further networks that the score head calls, by name. options: the engine's, beside the target's. engine: what
    opens it on the compiling machine, the target's own unless it says another. board: for boards, what it is made of.
    kept: the layers that stayed in higher precision because that was asked.
    """

    precision: Precision
    files: dict[str, bytes]
    model: str
    cost: Cost
    decisions: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    engine: str | None = None
    board: BoardForm | None = None
    kept: tuple[str, ...] = ()


class Lower(Protocol):
    """Lowering of a captured network. keep: names of layers, or of modules around them, that stay in higher precision
    in an int8 form (`edge_ad.compile.layers`). Raises UsageError for one that is not there, TargetError for one that
    the target cannot keep."""

    def __call__(
        self, captured: Captured, precision: Precision, calibration: Calibration | None, keep: tuple[str, ...] = ()
    ) -> Lowered: ...  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A kind of device.

    lower: (captured, precision, calibration or None for fp32, layers to keep) -> Lowered. budget: what that costs here,
    and whether it fits. golden_rtol, golden_basis: tolerance of golden vectors relative to the largest value, by
    precision, and where it comes from; golden: where that is measured on the payload itself, from its files and the
    golden inputs. options: the engine's, written into the payload. precisions: the first one is the default; also:
    those that a bundle holds beside it, each as a payload of its own. opset: of the ONNX that `lower` is given.
    architectures: as of `Payload`.
    """

    name: str
    title: str
    engine: str
    precisions: tuple[Precision, ...]
    scheme: str
    lower: Lower
    budget: Callable[[Lowered], Budget]
    golden_rtol: dict[Precision, float]
    golden_basis: dict[Precision, str]
    options: dict[str, Any] = field(default_factory=dict)
    opset: int = OPSET
    also: tuple[Precision, ...] = ()
    architectures: tuple[str, ...] = ()
    golden: Callable[[Lowered, list[Tensor]], tuple[float, str]] | None = None
    limits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """What an image costs on a target. over: one clause for each limit that it breaks on every board; notes: of
    boards that it fits and does not fit."""

    budget: Budget
    over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageTarget(Target):
    """A target that takes model images. kernels: the set that weights are packed for. fit: of an image and its number
    of weights and biases. stripes: whether early activations may be made a few rows at a time (see
    `edge_ad.compile.integer.striping`)."""

    kernels: KernelSet
    fit: Callable[[Image, int], Fit]
    stripes: bool = True
