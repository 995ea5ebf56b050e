"""Running a rig: its matrix of devices, bundles and checks, devices side by side, the cells of one in order."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from edge_ad.errors import EdgeAdError, MissingDependencyError, ParityError, QualityError, UsageError
from edge_ad.rig.checks import check_called
from edge_ad.rig.checks.base import Context, NotCheckedError
from edge_ad.rig.config import Rig
from edge_ad.rig.devices import open_device
from edge_ad.rig.devices.base import NotLiveError, OpenDevice
from edge_ad.rig.locks import lock_devices
from edge_ad.rig.outcome import Outcome
from edge_ad.rig.tables import BundleTable, CheckTable, DeviceTable

Done = Callable[[Outcome], None]


@dataclass(frozen=True)
class Cell:
    """One check of one bundle on one device. settings: the check's table. function: in place of the check's own."""

    rig: Rig
    device: DeviceTable
    bundle: BundleTable
    check: str
    settings: CheckTable
    function: Callable[[Context], Outcome] | None = None


def cells(
    rig: Rig, *, devices: Sequence[str] = (), bundles: Sequence[str] = (), checks: Sequence[str] = ()
) -> list[Cell]:
    """The matrix, device by device, bundle by bundle, or what is named of it. Raises UsageError for unknown names."""
    _known("device", devices, [d.name for d in rig.devices])
    _known("bundle", bundles, [b.name for b in rig.bundles])
    _known("check", checks, list(rig.checks.named))
    return [
        Cell(rig, device, bundle, name, settings)
        for device in rig.devices
        if not devices or device.name in devices
        for bundle in rig.bundles
        if (not bundles or bundle.name in bundles) and _listed(device.name, bundle.devices)
        for name, settings in rig.checks.named.items()
        if (not checks or name in checks)
        and _listed(device.name, settings.devices)
        and _listed(bundle.name, settings.bundles)
    ]


def run_check(cell: Cell, opened: OpenDevice) -> Outcome:
    """One cell on its open device. What goes wrong is in the outcome."""
    begun = time.monotonic()
    context = Context(cell.rig, opened, cell.bundle, cell.check, cell.settings)
    try:
        outcome = (cell.function or check_called(cell.check))(context)
    except NotCheckedError as reason:
        outcome = _told(cell, "skipped", None, str(reason))
    except NotLiveError as error:
        stale = cell.check == "live"
        outcome = (
            _told(cell, "failed", "quality", str(error))
            if stale
            else _told(cell, "skipped", None, error.what)
        )
    except ParityError as error:
        told = cell.check in ("live", "parity")
        outcome = (
            _told(cell, "failed", "parity", str(error)) if told else _told(cell, "skipped", None, error.what)
        )
    except QualityError as error:
        outcome = _told(cell, "failed", "quality", str(error))
    except EdgeAdError as error:
        outcome = _told(cell, "error", "error", str(error))
    return replace(outcome, properties=_properties(cell, opened), seconds=time.monotonic() - begun)


def run_cells(matrix: Sequence[Cell], done: Done = lambda outcome: None) -> list[Outcome]:
    """All cells, in their order, devices side by side. done: called once for each, from any thread. Devices have to be
    locked."""
    devices: dict[str, list[Cell]] = {}
    for cell in matrix:
        devices.setdefault(cell.device.name, []).append(cell)
    guard, stop = threading.Lock(), threading.Event()

    def tell(outcome: Outcome) -> None:
        with guard:
            done(outcome)

    with ThreadPoolExecutor(max(1, len(devices))) as pool:
        waiting = [pool.submit(_one_device, mine, tell, stop) for mine in devices.values()]
        try:
            return [outcome for each in waiting for outcome in each.result()]
        except BaseException:  # who interrupts waits for the checks that have begun, and no others
            stop.set()
            raise


def run_rig(
    rig: Rig, matrix: Sequence[Cell] | None = None, *, wait_s: float = 0.0, done: Done = lambda outcome: None,
    waiting: Callable[[str], None] = lambda told: None,
) -> list[Outcome]:  # fmt: skip
    """Lock the devices of the matrix, run it, let go of them. Raises LockedError."""
    matrix = cells(rig) if matrix is None else matrix
    used = {cell.device.name: cell.device for cell in matrix}
    with lock_devices(rig, wait_s=wait_s, devices=used.values(), waiting=waiting):
        return run_cells(matrix, done)


def _one_device(mine: Sequence[Cell], done: Done, stop: threading.Event) -> list[Outcome]:
    outcomes = []
    with _opened(mine[0]) as opened:
        for cell in mine:
            if stop.is_set():
                break
            outcome = unreached(cell, opened) if isinstance(opened, EdgeAdError) else run_check(cell, opened)
            done(outcome)
            outcomes.append(outcome)
    return outcomes


@contextlib.contextmanager
def _opened(cell: Cell) -> Iterator[OpenDevice | EdgeAdError]:
    """The device, or why it cannot be reached."""
    with contextlib.ExitStack() as held:
        try:
            found: OpenDevice | EdgeAdError = held.enter_context(open_device(cell.device, cell.rig))
        except EdgeAdError as error:
            found = error
        yield found


def unreached(cell: Cell, error: EdgeAdError) -> Outcome:
    """The outcome of a cell whose device cannot be reached."""
    if cell.device.optional and isinstance(error, MissingDependencyError):
        return _told(cell, "skipped", None, str(error))
    return _told(cell, "error", "error", str(error))


def _told(cell: Cell, status: object, kind: object, message: str) -> Outcome:
    return Outcome(cell.check, cell.device.name, cell.bundle.name, status, kind, message)  # type: ignore[arg-type]


def _properties(cell: Cell, opened: OpenDevice) -> dict[str, str]:
    found = dict(opened.properties())
    with contextlib.suppress(EdgeAdError):
        found["bundle_digest"] = opened.bundle(cell.bundle).digest
    return found


def _listed(name: str, names: Iterable[str] | None) -> bool:
    return names is None or name in names


def _known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"the rig has no {what} '{name}'", hint=f"it has: {', '.join(known)}")
