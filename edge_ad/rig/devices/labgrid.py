"""Boards that labgrid hands out: of this machine, or of a shared farm through its coordinator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from edge_ad.errors import EdgeAdError, FirmwareError, MissingDependencyError, UsageError
from edge_ad.rig.config import Rig
from edge_ad.rig.devices.board import BoardDevice
from edge_ad.rig.tables import LabgridTable


def identity(table: LabgridTable, rig: Rig) -> str:
    """Environment and role. A place of a coordinator's is labgrid's to lock."""
    return f"labgrid:{rig.resolve(table.environment).resolve()}:{table.role}"


@contextlib.contextmanager
def opened(table: LabgridTable, rig: Rig) -> Iterator[BoardDevice]:
    """Have labgrid make the target ready, and open its port.

    Raises MissingDependencyError without labgrid, FirmwareError with what labgrid says, PortError, LinkError."""
    environment = _environment(table, rig)
    try:
        driver = _driver(environment, table)
        # The table says what the environment leaves open.
        told = table.model_copy(
            update={
                "target": table.target or driver.board.payload,
                "serial": table.serial or driver.board.serial,
            }
        )
        with driver.opened(rig, told) as device:
            yield device
    finally:
        environment.cleanup()


def _environment(table: LabgridTable, rig: Rig) -> Any:
    try:
        from labgrid import Environment
    except ImportError as error:
        raise MissingDependencyError(
            "boards of labgrid's need labgrid",
            hint="pip install 'edge-ad[labgrid]', in an environment of its own: it overwrites pyserial",
        ) from error
    path = rig.resolve(table.environment)
    if not path.is_file():
        raise UsageError("there is no such labgrid environment", where=path)
    try:
        return Environment(str(path))
    except Exception as error:  # whatever its parser, its imports or its drivers raise
        raise _failed(error, path) from error


def _driver(environment: Any, table: LabgridTable) -> Any:
    try:
        target = environment.get_target(table.role)
        if target is None:
            raise UsageError(
                f"the labgrid environment has no target '{table.role}'", where=f"device '{table.name}'"
            )
        driver = target.get_driver("EdgeBoardDriver", activate=False)
        target.await_resources([driver.port])
        target.activate(driver)
    except EdgeAdError:
        raise
    except Exception as error:  # labgrid's own kinds have no common root
        raise _failed(error, f"device '{table.name}'") from error
    return driver


def _failed(error: Exception, where: Any) -> FirmwareError:
    return FirmwareError(
        f"labgrid cannot make it ready ({type(error).__name__}: {error})", where=where,
        hint="docs/rigs.md has an environment",
    )  # fmt: skip
