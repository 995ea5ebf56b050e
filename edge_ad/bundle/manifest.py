"""What a bundle says of itself: the schema of `manifest.json`, read and written as pydantic models.

The manifest can be read without loading any network: thresholds, inputs, budgets and digests are all here.
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Final, Literal, NoReturn

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from edge_ad.bundle.names import check_names, shown
from edge_ad.errors import SchemaError, UsageError

SCHEMA: Final = "edge-ad/bundle/1"
MANIFEST_NAME = "manifest.json"
SIGNATURES_NAME = "signatures.json"  # beside the manifest and not listed in it

# Free text that a terminal may be shown: no control characters.
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", max_length=10_000)]
Label = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0.0, le=1.0)]


class Spec(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Sparse(Spec):
    """A model that writes the keys in `later` only where they say something: bundles without them keep their bytes, and
    runtimes from before there were such keys read them."""

    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = write(self)
        return {k: v for k, v in data.items() if k not in self.later or v}


class PreprocessSpec(Spec):
    """The preprocessing function by name and version, with its parameters (`edge_ad.runtime.preprocess`)."""

    name: Label
    version: int
    params: dict[str, Any] = {}


class WindowSpec(Spec):
    """How a stream is cut into windows: `length` rows each, a new one every `hop` rows, at `rate_hz` rows a second.

    rate_hz: None where the rows have no time (feature vectors). channels: their names, in order.
    """

    length: Annotated[int, Field(gt=0)]
    hop: Annotated[int, Field(gt=0)]
    rate_hz: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    channels: Annotated[list[Label], Field(min_length=1)]


class InputSpec(_Sparse):
    """What the network takes. `shape` is static and holds the batch dimension, e.g. (1, 3, 256, 256).

    modality: `image` is acquired as (H, W, 3) uint8; `scan` as the points (N, 4) of a LiDAR, float32 x, y, z in metres
    and intensity; `series` as a window (length, channels) float32, see `window`; `vector` and `tensor` as arrays of
    the shape less its batch dimension, (n,) and anything else.
    """

    later: ClassVar[tuple[str, ...]] = ("window",)

    modality: Literal["image", "scan", "series", "vector", "tensor"]
    name: Label = "input"
    shape: tuple[Annotated[int, Field(gt=0)], ...]
    dtype: Literal["uint8", "int8", "float32"]
    preprocess: PreprocessSpec
    window: WindowSpec | None = None

    @property
    def noun(self) -> str:
        """What one input is called."""
        return {"series": "window", "vector": "input", "tensor": "input"}.get(self.modality, self.modality)


class HeadSpec(Spec):
    """The score head by name, with its parameters (`edge_ad.runtime.heads`)."""

    name: Label
    params: dict[str, Any]


class FileEntry(Spec):
    """A file of the archive: its digest and its size in bytes."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Threshold(Spec):
    """A score above `value` is an anomaly.

    value: the `rank`-th smallest of `n` scores of held-back normal inputs, so the chance that a new normal
    input exceeds it is (n + 1 - rank) / (n + 1) = `expected_rate` on average over calibrations; `interval` is
    its central 95 % interval (Beta distribution of an order statistic).
    """

    value: Finite
    method: Literal["order-statistic"] = "order-statistic"
    requested_rate: Rate
    expected_rate: Rate
    interval: tuple[Rate, Rate]
    n: Annotated[int, Field(gt=0)]
    rank: Annotated[int, Field(gt=0)]


class Rejection(Spec):
    """A score above `lower` and not above `upper` is `uncertain`: neither normal nor an anomaly.

    Outside of this band a verdict would stay the same with probability `stability` or more, had the threshold been
    calibrated on `n` other normal inputs (ExCeeD).
    """

    lower: Finite = Field(description="a score at or below this is normal")
    upper: Finite = Field(description="a score strictly above this is an anomaly")
    stability: float = Field(
        gt=0.5, lt=1.0, description="least probability that a verdict outside the band holds"
    )
    expected_rate: Rate = Field(description="share of normal inputs to expect in the band")
    n: int = Field(gt=0, description="held-back normal inputs that it rests on")
    method: Literal["exceed"] = Field(default="exceed", description="how the band was chosen")


class ScoreQuantiles(Spec):
    """Scores of `n` held-back normal inputs, as quantiles at evenly spaced probabilities from 0 to 1."""

    n: int = Field(gt=0, description="held-back normal inputs")
    values: Annotated[list[Finite], Field(min_length=2, max_length=1001)] = Field(
        description="their scores' quantiles, from the lowest to the highest"
    )

    @model_validator(mode="after")
    def _sorted(self) -> ScoreQuantiles:
        if any(b < a for a, b in pairwise(self.values)):
            raise ValueError("quantiles have to rise")
        return self


class PayloadThresholds(_Sparse):
    """`compiled` is the one in use; `float_` is what the uncompiled network would have used, None where there is
    none: a network that came quantized. rejection: the band around `compiled` that is judged `uncertain`, where one
    was asked for. reference: what a stream's scores are compared with, to tell drift. allowed: thresholds, from and to,
    that a command may set on the device."""

    later: ClassVar[tuple[str, ...]] = ("rejection", "reference", "allowed")

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    float_: Threshold | None = Field(alias="float")
    compiled: Threshold
    rejection: Rejection | None = Field(default=None, description="the uncertain band, if one was asked for")
    reference: ScoreQuantiles | None = Field(
        default=None, description="scores of normal inputs, to tell drift by"
    )
    allowed: tuple[Finite, Finite] | None = Field(
        default=None, description="thresholds, from and to, that a command may set on the device"
    )

    @model_validator(mode="after")
    def _fit_each_other(self) -> PayloadThresholds:
        band, allowed, value = self.rejection, self.allowed, self.compiled.value
        if band is not None and not band.lower <= value <= band.upper:
            raise ValueError("the rejection band does not hold the compiled threshold")
        if allowed is not None and not allowed[0] <= value <= allowed[1]:
            raise ValueError("the allowed thresholds do not hold the compiled one")
        return self


class Thresholds(PayloadThresholds):
    """`compiled` is the one in use; `float_` is what the uncompiled network would have used."""

    float_: Threshold = Field(alias="float")


class Drift(Spec):
    """What compilation did to the scores of `n` held-back normal inputs, float against compiled.

    mean_shift and spread (standard deviation of the shift) are in units of the float scores' standard
    deviation. flips_kept: share of inputs whose verdict at the *float* threshold changes when the compiled
    scores meet that same threshold. false_alarms_*: rate on these same inputs; the threshold was chosen on
    them too, so it describes, it does not prove.
    """

    n: int
    rank_correlation: Finite
    mean_shift: Finite
    spread: Finite
    flips_kept: Rate
    flips_recalibrated: Rate
    false_alarms_kept: Rate
    false_alarms_recalibrated: Rate


class Budget(Spec):
    """What a payload costs on its target, and whether it fits; `limits` holds the target's, where it has any.

    parts: what flash and memory are made of, in bytes, where that is known.
    """

    flash_bytes: int
    ram_bytes: int
    macs: int
    parameters: int
    limits: dict[str, int] = {}
    fits: bool = True
    parts: dict[Label, int] = {}


class Golden(Spec):
    """Golden vectors: an .npz in the archive with `input`, `score` and one array an output.

    Each array holds `count` vectors, (count, ...). An output or score `y` agrees with its reference `r` when
    |y - r| <= atol + rtol * max|r|, the maximum over the output of that vector, or over the scores of all
    vectors; both zero means to the bit. `basis` says where the tolerance comes from.
    """

    file: str
    count: Annotated[int, Field(gt=0)]
    atol: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    rtol: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    basis: Text


class Payload(_Sparse):
    """One compiled form of the detector.

    parts: model files of further networks that the score head calls, by name. architectures: machines that it is for,
    as `platform.machine()` names them; empty: any.
    thresholds: None where no normal data was given; who runs it has to name one. drift: None where no float form
    of the network was there to compare with. input: what it takes where that is not the bundle's input, because it
    holds some of the preprocessing itself.
    """

    later: ClassVar[tuple[str, ...]] = ("parts", "architectures", "input")

    target: Label
    engine: Label
    precision: Literal["fp32", "fp16", "int8"]
    model: str
    files: list[str]
    outputs: list[Label]
    parts: dict[Label, str] = {}
    architectures: list[Label] = []
    options: dict[str, Any] = {}
    head: HeadSpec
    thresholds: PayloadThresholds | None
    drift: Drift | None
    budget: Budget
    golden: Golden
    built_on: dict[Label, Text] = {}
    decisions: list[Text] = []
    input: InputSpec | None = None

    def threshold(self, chosen: float | None = None) -> float:
        """`chosen`, or the compiled form's own threshold. Raises UsageError where there is neither."""
        if chosen is not None:
            return chosen
        if self.thresholds is None:
            raise UsageError(
                f"the payload for '{self.target}' has no threshold: it was compiled without normal data",
                hint="give --threshold, or compile with --data normals.npy --max-false-alarms 0.01",
            )
        return self.thresholds.compiled.value


class DetectorInfo(Spec):
    """Which detector this is, as it was fitted."""

    name: Label
    preset: Label
    version: int
    config: dict[str, Any] = {}
    teacher: dict[str, Any] | None = None
    fit: dict[str, Any] = {}


class Manifest(Spec):
    """The whole of `manifest.json`. Its canonical form's sha256 is the bundle's digest."""

    # "constants": a NaN among free parameters stays one and is refused, where the default makes it a null.
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, ser_json_inf_nan="constants"
    )

    schema_: Literal["edge-ad/bundle/1"] = Field(default=SCHEMA, alias="schema")
    name: Label
    detector: DetectorInfo
    input: InputSpec
    payloads: Annotated[list[Payload], Field(min_length=1)]
    files: dict[str, FileEntry]
    report: str | None = None
    tools: dict[Label, Text] = {}

    def input_of(self, payload: Payload) -> InputSpec:
        """What a payload takes."""
        return self.input if payload.input is None else payload.input

    def payload(self, target: str | None = None) -> Payload:
        """The payload for `target`, or the only one when `target` is None. Raises SchemaError."""
        names = [p.target for p in self.payloads]
        if target is None and len(names) == 1:
            return self.payloads[0]
        for payload in self.payloads:
            if payload.target == target:
                return payload
        asked = "no target was named" if target is None else f"no payload for target '{target}'"
        raise SchemaError(asked, where=self.name, hint=f"this bundle holds: {', '.join(names)}")


def canonical(manifest: Manifest, *, where: str | None = None) -> bytes:
    """The manifest's canonical bytes: sorted keys, no blanks, ASCII with \\u escapes. An archive holds just these.

    Raises SchemaError for free parameters that JSON cannot hold (a NaN, an object, hundreds of nested lists).
    """
    try:
        return _canonical_json(manifest.model_dump(mode="json", by_alias=True))
    except (ValueError, TypeError, RecursionError) as error:
        raise SchemaError(f"manifest cannot be written as JSON ({shown(error)})", where=where) from error


def is_canonical(raw: bytes) -> bool:
    """Whether these are the one form of their JSON data: no blanks, sorted keys, none of them twice.

    Asked of the bytes and not of a Manifest, so that keys that a later version adds do not undo older bundles.
    """
    try:
        return _canonical_json(json.loads(raw)) == raw
    except (ValueError, RecursionError):
        return False


def digest(manifest: Manifest) -> str:
    """The digest of a bundle of this manifest: sha256 of its canonical bytes, which hold every file's digest."""
    return hashlib.sha256(canonical(manifest)).hexdigest()


def parse(raw: bytes, *, where: str | None = None) -> Manifest:
    """Read and check `manifest.json`.

    Raises SchemaError naming the key that is wrong, TraversalError for a file name that no bundle may hold.
    """
    try:
        data = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"manifest.json is no JSON ({shown(error)})", where=where) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise SchemaError(
            f"unknown bundle schema {shown(schema)}",
            where=where,
            hint=f"this version reads {SCHEMA}; compile the bundle again or use the version that made it",
        )
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SchemaError(f"manifest key {shown(key)}: {shown(first['msg'])}", where=where) from error
    check_names([MANIFEST_NAME, SIGNATURES_NAME, *manifest.files], where=where)
    _check_references(manifest, where)
    canonical(manifest, where=where)  # what passes here can also be printed and written again
    return manifest


def _canonical_json(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _check_references(manifest: Manifest, where: str | None) -> None:
    targets = [p.target for p in manifest.payloads]
    if len(set(targets)) != len(targets):
        raise SchemaError("two payloads for one target", where=where)
    for payload in manifest.payloads:
        for name in [payload.model, payload.golden.file, *payload.files]:
            if name not in manifest.files:
                raise SchemaError(
                    f"payload {payload.target!r} names {shown(name)}, which the bundle lacks", where=where
                )
        for model in (payload.model, *payload.parts.values()):
            if model not in payload.files:
                raise SchemaError(
                    f"payload {payload.target!r} does not list its model {shown(model)}", where=where
                )
    if manifest.report is not None and manifest.report not in manifest.files:
        raise SchemaError(f"the report {shown(manifest.report)} is missing", where=where)
