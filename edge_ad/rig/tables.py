"""The tables of a rig file, as pydantic models."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from edge_ad.bundle.manifest import Finite, Label, Rate
from edge_ad.errors import EdgeAdError
from edge_ad.firmware_bridge.ports import DEFAULT_BAUD

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Growth = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=3600)]


class Table(BaseModel):
    """Frozen, and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _words(value: Any) -> Any:
    return shlex.split(value) if isinstance(value, str) else value


# A list of words, or one text that is split as a shell would.
Command = Annotated[list[str], BeforeValidator(_words), Field(min_length=1)]


class RelayTable(Table):
    """A power switch on a serial line: what to send for off and on, as text or as a list of bytes.

    pause_s: between off and on, until capacitors are empty.
    """

    port: str
    baud: Annotated[int, Field(gt=0)] = 9600
    off: bytes
    on: bytes
    pause_s: Seconds = 1.0

    @field_validator("off", "on", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        if isinstance(value, list):
            if not all(isinstance(item, int) and 0 <= item <= 255 for item in value):
                raise ValueError("bytes are whole numbers from 0 to 255")
            value = bytes(value)
        value = value.encode() if isinstance(value, str) else value
        if value == b"":
            raise ValueError("there is nothing to send")
        return value


class PowerTable(Table):
    """How power is cut and given: two commands of the user's, or a relay."""

    off: Command | None = None
    on: Command | None = None
    relay: RelayTable | None = None
    pause_s: Seconds = 1.0

    @model_validator(mode="after")
    def _one_way(self) -> PowerTable:
        commands = [self.off, self.on]
        if (self.relay is None) == (None in commands) or (self.relay is not None and any(commands)):
            raise ValueError("give the commands 'off' and 'on', or a 'relay'")
        return self


class DeviceTable(Table):
    """What all devices have.

    target: whose payload it runs, where that is not plain. flash: whether bundles may be put on it; without, it is
    expected to hold the one that it is checked against. optional: where its tools are not installed its checks are
    skipped and not an error. serial: the board's serial number, for the results, where it is not the USB port's.
    """

    name: Name
    target: Label | None = None
    flash: bool = True
    optional: bool = False
    serial: Label | None = None


class QemuTable(DeviceTable):
    """A board of QEMU. state: folder of its flash. firmware: an ELF file in place of this version's."""

    kind: Literal["qemu"]
    machine: Label
    state: Path | None = None
    firmware: Path | None = None


class PosixTable(DeviceTable):
    """The firmware as a process of this machine."""

    kind: Literal["posix"]
    state: Path | None = None
    firmware: Path | None = None


class SerialTable(DeviceTable):
    """A board on a serial port or pyserial URL.

    program: a board's name, whose firmware is then written through its debug probe before the first check, or a
    command of the user's. reset: a command; without, the board is asked to restart. probe: id of the debug probe.
    """

    kind: Literal["serial"]
    port: str
    baud: Annotated[int, Field(gt=0)] = DEFAULT_BAUD
    program: Name | None = None
    probe: Label | None = None
    program_command: Command | None = None
    reset: Command | None = None
    power: PowerTable | None = None

    @model_validator(mode="after")
    def _one_programmer(self) -> SerialTable:
        if self.program is not None and self.program_command is not None:
            raise ValueError("give 'program' or 'program_command'")
        return self


class MlperfTable(DeviceTable):
    """A board, of anybody's, that speaks MLPerf Tiny's text dialect. It holds what it holds: nothing is flashed.

    silence_s: most seconds between two lines of an answer. reset: a command that is run before it is spoken to.
    """

    kind: Literal["mlperf"]
    port: str
    baud: Annotated[int, Field(gt=0)] = DEFAULT_BAUD
    flash: Literal[False] = False
    silence_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    reset: Command | None = None


class LabgridTable(DeviceTable):
    """A board of labgrid's, with an EdgeBoardDriver (edge_ad.rig.labgrid).

    environment: labgrid's file. role: which of its targets.
    """

    kind: Literal["labgrid"]
    environment: Path
    role: Label = "main"


class SshTable(DeviceTable):
    """A Linux device with edge-ad, as `flash --to` has it. reset: a command of the user's, run here."""

    kind: Literal["ssh"]
    address: str
    remote_command: str = "edge-ad"
    reset: Command | None = None
    power: PowerTable | None = None

    @field_validator("address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        from edge_ad.runtime.deployment.remote.address import parse_address

        try:
            parse_address(value)
        except EdgeAdError as error:
            raise ValueError(str(error)) from error
        return value


class BundleTable(Table):
    """A bundle. flash: whether it is put on devices, or expected there. data: recorded inputs, as `infer --input` takes
    them. devices: on which, by default all."""

    name: Name
    path: Path
    flash: bool = True
    data: Path | None = None
    devices: list[Name] | None = None


class CheckTable(Table):
    """What all checks have: for which devices and bundles, by default all."""

    devices: list[Name] | None = None
    bundles: list[Name] | None = None


class LiveCheck(CheckTable):
    """The live model is that of the bundle, whole."""


class ParityCheck(CheckTable):
    """Outputs are the host's.

    inputs: for boards, beside the bundle's golden vectors, random ones over the whole range of the input, of this seed.
    """

    inputs: Annotated[int, Field(ge=0, le=100_000)] = 8
    seed: int = 0


class BudgetCheck(CheckTable):
    """No figure grew by more than is allowed since the baseline was written; a latency is not looked at unless that is
    named. ram: static memory and the arena, both exact. stack: used at most, which varies with when interrupts come."""

    baseline: Path = Path("baseline.json")
    instructions: Growth = 0.0
    flash: Growth = 0.0
    ram: Growth = 0.0
    stack: Growth = 0.25
    latency: Growth | None = None


class ScoresCheck(CheckTable):
    """Scores of the bundle's recorded data are the host's in rank and size, and alarms are no more than allowed.

    reference: the payload that this machine scores with, by its target; by default the first that it can run.
    least_correlation: of ranks. most_shift: of the mean, in standard deviations of the host's scores. most_alarms:
    share of inputs above the threshold; None: any. threshold: in place of the bundle's. inputs: at most so many.
    """

    reference: Label | None = None

    least_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.99
    most_shift: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05
    most_alarms: Rate | None = None
    threshold: Finite | None = None
    inputs: Annotated[int, Field(gt=0)] = 1000


class LinkCheck(CheckTable):
    """Answers stay right, and each inference is carried out once, over a line with faults.

    drop, flip: chance that a byte is lost, and that a bit of it is another. delay: chance that a block comes late, by
    delay_s.
    """

    inferences: Annotated[int, Field(gt=0)] = 20
    drop: Rate = 0.0005
    flip: Rate = 0.0005
    delay: Rate = 0.01
    delay_s: Seconds = 0.05
    seed: int = 0


class PowerCheck(CheckTable):
    """Power cuts during a flash leave the old bundle or the new one live, whole.

    cuts: at so many random places; at: or at these shares of the upload, where 1 is the commit. over: the bundle that
    is live before; by default another one of the rig, else the same.
    """

    cuts: Annotated[int, Field(ge=0, le=1000)] = 3
    at: list[Annotated[float, Field(ge=0, le=1)]] | None = None
    seed: int = 0


class EnduranceCheck(CheckTable):
    """So many inferences, each right and counted, with memory and error counters where they were."""

    inferences: Annotated[int, Field(gt=0)] = 10_000
    inputs: Annotated[int, Field(gt=0)] = 16
    seed: int = 0


class AccuracyCheck(CheckTable):
    """Of boards that speak MLPerf Tiny's text: what they print is what the bundle's image computes.

    inputs: beside the bundle's golden vectors, random ones of this seed, where it has a payload for target posix. form:
    how inputs are loaded, as the network's integers or as float32. tolerance: of printed numbers; None: less than
    half a step of the output's integers, so that these are equal.
    """

    inputs: Annotated[int, Field(ge=0, le=100_000)] = 8
    seed: int = 0
    form: Literal["integers", "float32"] = "integers"
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class PerformanceCheck(CheckTable):
    """Of boards that speak MLPerf Tiny's text: an inference takes no longer than most_us, where that is given.

    windows: measurements, of which the median counts. seconds: how long each lasts at least.
    """

    windows: Annotated[int, Field(gt=0, le=1000)] = 5
    seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    most_us: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
