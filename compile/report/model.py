"""The compile report as data: what `edge-ad compile --json` prints, documented in docs/report.md.

Everything but `bundle.digest` and `measurement` follows from the inputs, so two compiles of the same inputs
give the same report; those two are filled in afterwards and stay out of the copy inside the bundle.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from edge_ad.bundle.manifest import Budget, Drift, Finite, Sha256, Spec, Thresholds
from edge_ad.compile.sensitivity.report import PrecisionPlan
from edge_ad.metrics.evaluation import TestFigures

SCHEMA = "edge-ad/report/1"

Count = Annotated[int, Field(ge=0)]
Microseconds = Annotated[int, Field(gt=0)]


class BundleInfo(Spec):
    """Which bundle this report is about."""

    name: str = Field(description="the bundle's name")
    digest: Sha256 | None = Field(
        default=None, description="the bundle's digest; null inside the bundle, which cannot hold its own"
    )


class TeacherInfo(Spec):
    """The network that the detector was taught by, where it has one."""

    name: str = Field(description="which teacher")
    source: str = Field(description="where its weights come from")
    sha256: Sha256 | None = Field(default=None, description="digest of its weights file")


class DetectorReport(Spec):
    """The detector as it was fitted."""

    name: str = Field(description="detector, e.g. `efficientad`")
    preset: str = Field(description="its size, e.g. `small`")
    version: int = Field(description="version of the model folder")
    input_shape: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        description="shape of the network's input, batch first"
    )
    teacher: TeacherInfo | None = Field(default=None, description="its teacher")


class DataReport(Spec):
    """How many inputs each step saw. All but the test inputs are normal; no input is in two splits."""

    noun: str = Field(default="image", description="what one input is: `image`, `scan`, `window` or `input`")
    fit: Count = Field(description="inputs that the network learned from")
    calibration: Count = Field(description="inputs that set the head's scales and the INT8 ranges")
    threshold: Count = Field(description="held-back inputs that set the threshold, and did nothing else")
    new: Count = Field(default=0, description="of `threshold`, inputs that came after the fit")
    test_good: Count = Field(default=0, description="labelled normal test inputs, for this report only")
    test_anomalous: Count = Field(
        default=0, description="labelled anomalous test inputs, for this report only"
    )
    test_kinds: dict[str, Count] = Field(default={}, description="anomalous test inputs of each kind")


class PayloadFile(Spec):
    """A file of the payload."""

    name: str = Field(description="name inside the bundle")
    size_bytes: Count = Field(description="its size")
    sha256: Sha256 = Field(description="its digest")


class ExportParity(Spec):
    """The exported float network against the fitted one, before anything was quantized."""

    n: Annotated[int, Field(gt=0)] = Field(description="images compared")
    worst: Finite = Field(description="largest difference of any output, relative to the largest output")
    allowed: Finite = Field(description="what is allowed; more stops the compile")


class Decision(Spec):
    """Something that the compiler decided, and why."""

    stage: str = Field(description="stage of the compile, e.g. `quantize`")
    text: str = Field(description="what was decided and why, a sentence")


class PayloadReport(Spec):
    """One compiled form of the detector."""

    target: str = Field(description="what it was compiled for")
    engine: str = Field(description="inference engine on the device")
    engine_version: str = Field(description="version of the engine that verified it")
    provider: str = Field(description="execution provider that really ran")
    precision: Literal["fp32", "fp16", "int8"] = Field(description="number format of the network")
    isa: str = Field(description="instruction set of the CPU that verified it")
    threads: Annotated[int, Field(gt=0)] = Field(description="threads of the engine that verified it")
    files: list[PayloadFile] = Field(description="its files in the bundle")
    thresholds: Thresholds = Field(description="float and compiled threshold; the compiled one is in use")
    drift: Drift = Field(description="what compiling did to the scores of held-back good images")
    test: TestFigures | None = Field(
        default=None, description="figures on labelled test images; null where there are none"
    )
    parity: ExportParity | None = Field(default=None, description="export against the fitted network")
    budget: Budget = Field(description="what it costs on the target")
    stand_in: bool = Field(
        default=False,
        description="whether another machine than the target's verified it, so that speed says nothing",
    )
    precision_plan: PrecisionPlan | None = Field(
        default=None,
        description="search for the layers to keep in higher precision; null where none was asked for",
    )
    decisions: list[Decision] = Field(default=[], description="what was decided and why")
    warnings: list[str] = Field(default=[], description="what the user should know")


class Measurement(Spec):
    """Latency of one payload, float and compiled side by side on the machine that compiled it."""

    target: str = Field(description="payload that was timed")
    float_us: Microseconds = Field(description="median latency of the float network, microseconds")
    compiled_us: Microseconds = Field(description="median latency of the compiled network, microseconds")
    ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        description="median of float / compiled over pairs of runs; above 1 means that compiling paid"
    )
    runs: Annotated[int, Field(gt=0)] = Field(description="pairs of runs")
    threads: Annotated[int, Field(gt=0)] = Field(description="threads of the engine")
    isa: str = Field(description="instruction set of the CPU")
    int8_us: Microseconds | None = Field(
        default=None,
        description="median latency with every layer quantized, microseconds; null where no layer was kept",
    )
    price: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None,
        description="median of compiled / fully quantized over pairs of runs: what the kept layers cost; else null",
    )


class Report(Spec):
    """The whole compile report."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["edge-ad/report/1"] = Field(
        default="edge-ad/report/1", alias="schema", description="version of this document"
    )
    bundle: BundleInfo = Field(description="which bundle this is about")
    detector: DetectorReport = Field(description="the detector as it was fitted")
    data: DataReport = Field(description="how many images each step saw")
    payloads: Annotated[list[PayloadReport], Field(min_length=1)] = Field(description="the compiled forms")
    tools: dict[str, str] = Field(default={}, description="versions of the tools that took part")
    measurement: list[Measurement] | None = Field(
        default=None, description="latency, one entry a payload; null inside the bundle, since timings vary"
    )

    def timing(self, target: str) -> Measurement | None:
        """The measurement of one payload, None where there is none."""
        return next((m for m in self.measurement or [] if m.target == target), None)


def report_json(report: Report) -> str:
    """The report as JSON, two blanks an indent, keys in the order of docs/report.md."""
    return report.model_dump_json(by_alias=True, indent=2)
