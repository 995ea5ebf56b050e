"""Programming a real board through pyocd: what is missing is named, and the right file goes to the right chip."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from edge_ad.errors import FirmwareError, MissingDependencyError
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.programming import PyocdProgrammer

BOARD = replace(find("posix"), name="devkit", chip="nrf52840")


class Session:
    """As much of pyocd's session as is used."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.target = SimpleNamespace(reset=lambda: self.calls.append(("reset",)))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.calls.append(("closed",))


@pytest.fixture
def pyocd(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for pyocd with one probe, whose `session` may be taken away and whose `error` is raised."""
    state = SimpleNamespace(session=Session(), error=None, asked=None)
    exceptions, helpers, programmer = (ModuleType(n) for n in ("exceptions", "helpers", "file_programmer"))
    exceptions.Error = type("Error", (RuntimeError,), {})

    def choose(**options: object) -> Session | None:
        state.asked = options
        return state.session

    class FileProgrammer:
        def __init__(self, session: Session, progress: object):
            self.session = session

        def program(self, path: str, file_format: str) -> None:
            if state.error:
                raise exceptions.Error(state.error)
            self.session.calls.append(("program", path, file_format))

    helpers.ConnectHelper = SimpleNamespace(session_with_chosen_probe=choose)
    programmer.FileProgrammer = FileProgrammer
    modules = {
        "pyocd": ModuleType("pyocd"),
        "pyocd.core": ModuleType("core"),
        "pyocd.flash": ModuleType("flash"),
        "pyocd.core.exceptions": exceptions,
        "pyocd.core.helpers": helpers,
        "pyocd.flash.file_programmer": programmer,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return state


def test_the_firmware_is_written_and_started(pyocd: SimpleNamespace) -> None:
    PyocdProgrammer("probe-1").program(BOARD, Path("fw.elf"), lambda share: None)
    assert pyocd.asked["options"]["target_override"] == "nrf52840" and pyocd.asked["unique_id"] == "probe-1"
    assert pyocd.session.calls == [("program", "fw.elf", "elf"), ("reset",), ("closed",)]


def test_no_probe_and_a_write_that_fails_are_one_line(pyocd: SimpleNamespace) -> None:
    pyocd.error = "flash is locked"
    with pytest.raises(FirmwareError, match=r"devkit: the firmware cannot be written \(flash is locked\)"):
        PyocdProgrammer().program(BOARD, Path("fw.elf"), lambda share: None)
    pyocd.session = None
    with pytest.raises(FirmwareError, match="devkit: no debug probe is connected"):
        PyocdProgrammer().program(BOARD, Path("fw.elf"), lambda share: None)


def test_without_pyocd_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyocd.core.exceptions", None)
    with pytest.raises(MissingDependencyError, match=r"edge-ad\[boards\]"):
        PyocdProgrammer().program(BOARD, Path("fw.elf"), lambda share: None)


def test_an_emulated_board_is_not_programmed() -> None:
    with pytest.raises(FirmwareError, match="'posix' is no board to program"):
        PyocdProgrammer().program(find("posix"), Path("fw.elf"), lambda share: None)
