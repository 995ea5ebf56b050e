"""What every device of a rig can do, and what it remembers of the bundles that it was asked about."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from edge_ad.bundle.manifest import Payload
from edge_ad.bundle.names import shown
from edge_ad.errors import BundleError, EdgeAdError, FirmwareError, ParityError, QualityError
from edge_ad.rig.config import Rig
from edge_ad.rig.tables import BundleTable, DeviceTable
from edge_ad.runtime.deployment import LiveBundle, load
from edge_ad.runtime.engines.base import Tensor
from edge_ad.runtime.golden import GoldenResult

COMMAND_S = 300.0
Device = TypeVar("Device", bound="OpenDevice")


class NotCheckedError(Exception):
    """A check that does not apply here, and why."""


class NotLiveError(QualityError):
    """A device that holds another model than the bundle's, and may not be given it."""


class OpenDevice(ABC):
    """A device that was reached; a context manager that lets go of it."""

    def __init__(self, table: DeviceTable, rig: Rig):
        self.table = table
        self.rig = rig
        self._held = contextlib.ExitStack()
        self._bundles: dict[str, LiveBundle] = {}
        self._refused: dict[str, EdgeAdError] = {}

    def __enter__(self: Device) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def bundle(self, table: BundleTable) -> LiveBundle:
        """A bundle of the rig, extracted for as long as the device is open. Raises BundleError."""
        if table.name not in self._bundles:
            path = self.rig.resolve(table.path)
            try:
                self._bundles[table.name] = self._held.enter_context(load(path))
            except FileNotFoundError as error:
                raise BundleError("there is no such bundle", where=path) from error
        return self._bundles[table.name]

    def may_flash(self, table: BundleTable) -> bool:
        """Whether the rig file lets this bundle be put on this device."""
        return self.table.flash and table.flash

    def ready(self, table: BundleTable) -> None:
        """Have the bundle live, if it may be put there. One that the device refused once is not tried again.

        Raises NotLiveError for a device that holds another and may not be given it, ParityError and others as its
        flash does."""
        bundle = self.bundle(table)
        told = self.differs(bundle)
        if told is None:
            return
        if not self.may_flash(table):
            raise NotLiveError(
                told, where=f"device '{self.table.name}'", hint="flash the bundle, or set flash = true"
            )
        if table.name in self._refused:
            raise self._refused[table.name]
        try:
            self.flash(bundle)
        except (ParityError, BundleError) as error:
            self._refused[table.name] = error
            raise
        if (told := self.differs(bundle)) is not None:
            raise QualityError(f"{told}, though it was just put there", where=f"device '{self.table.name}'")

    @abstractmethod
    def differs(self, bundle: LiveBundle) -> str | None:
        """In a clause, what is live where that is not the bundle; None where it is, whole."""

    @abstractmethod
    def flash(self, bundle: LiveBundle) -> None:
        """Put a bundle there and make it live, once it has proved itself. Raises ParityError when it does not."""

    @abstractmethod
    def prove(self, bundle: LiveBundle) -> GoldenResult:
        """Run the live bundle's golden vectors there. Raises EngineError and others; a difference is in the result."""

    @abstractmethod
    def scores(self, bundle: LiveBundle, inputs: Tensor) -> Tensor:
        """Scores (N,) of network inputs (N, …) by the live bundle."""

    @abstractmethod
    def payload(self, bundle: LiveBundle) -> Payload:
        """The bundle's payload for this device. Raises SchemaError where it has none."""

    @abstractmethod
    def costs(self, bundle: LiveBundle) -> dict[str, float]:
        """What the live bundle costs there, by name with its unit: flash_bytes, ram_bytes, stack_bytes,
        instructions, latency_us, as far as the device can tell."""

    @abstractmethod
    def properties(self) -> dict[str, str]:
        """Of the device: board, firmware build, serial number, …"""


def run_command(words: Sequence[str], what: str, *, timeout_s: float = COMMAND_S) -> None:
    """A command of the user's. Raises FirmwareError with its last line when it fails."""
    try:
        with tempfile.TemporaryFile() as output:  # no pipe, which what it leaves running would keep open
            done = subprocess.run(
                list(words), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=timeout_s,
                check=False,
            )  # fmt: skip
            output.seek(0)
            told = output.read().decode(errors="replace")
    except FileNotFoundError as error:
        raise FirmwareError(f"there is no command '{shown(words[0])}'", where=what) from error
    except OSError as error:
        raise FirmwareError(f"'{shown(words[0])}' cannot be run ({error.strerror})", where=what) from error
    except subprocess.TimeoutExpired as error:
        raise FirmwareError(f"'{shown(words[0])}' takes longer than {timeout_s:g} s", where=what) from error
    if done.returncode:
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        last = f" ({shown(lines[-1])})" if lines else ""
        raise FirmwareError(f"'{shown(words[0])}' ended with status {done.returncode}{last}", where=what)
