"""What pytest does with a rig: its checks are items, its devices and bundles fixtures, locked for the whole session."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edge_ad.bundle.atomic import write_atomic
from edge_ad.errors import EdgeAdError, MissingDependencyError
from edge_ad.rig.config import Rig, load_rig
from edge_ad.rig.devices import open_device
from edge_ad.rig.devices.base import OpenDevice
from edge_ad.rig.locks import lock_devices
from edge_ad.rig.outcome import Outcome
from edge_ad.rig.run import Cell, cells, run_check
from edge_ad.rig.tables import BundleTable, DeviceTable
from edge_ad.runtime.deployment import LiveBundle

NAME = "edge-ad-rig-session"
_SPREAD = ("loadscope", "loadfile", "worksteal", "each")  # ways of xdist's that may part a device's cells


class RigSession:
    """A plugin object: one rig, and the devices that this process has opened."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.on_worker = hasattr(config, "workerinput")
        with _usage_errors():
            self.rig: Rig = load_rig(config.getoption("rig"))
        self._held = contextlib.ExitStack()
        self._opened: dict[str, OpenDevice | EdgeAdError] = {}
        self._outcomes: list[Outcome] = []
        path = str(self.rig.path.absolute())
        if path not in config.args:
            config.args.append(path)
        dist = getattr(config.option, "dist", "no")
        if dist in _SPREAD:
            raise pytest.UsageError(
                f"--rig: --dist {dist} may use a device from two workers at once; leave it out, or take loadgroup"
            )

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """All that one device is used for goes to one of xdist's workers, which has it open."""
        from xdist.scheduler import LoadScopeScheduling

        names = [device.name for device in self.rig.devices]

        class ByDevice(LoadScopeScheduling):  # type: ignore[misc]
            def _split_scope(self, nodeid: str) -> str:
                return device_of(nodeid, names) or nodeid

        return ByDevice(config, log)

    def device(self, table: DeviceTable) -> OpenDevice:
        """Open until the session ends. Raises EdgeAdError, each time, for one that cannot be reached."""
        if table.name not in self._opened:
            try:
                self._opened[table.name] = self._held.enter_context(open_device(table, self.rig))
            except EdgeAdError as error:
                self._opened[table.name] = error
        found = self._opened[table.name]
        if isinstance(found, EdgeAdError):
            if table.optional and isinstance(found, MissingDependencyError):
                pytest.skip(str(found))
            raise found
        return found

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Lock the devices, in the process that others are started by. Raises pytest.UsageError when one is held."""
        if self.on_worker or session.config.option.collectonly:
            return
        with _usage_errors():
            self._held.enter_context(
                lock_devices(self.rig, wait_s=self.config.getoption("rig_wait"), waiting=self._say)
            )

    def _say(self, told: str) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(told)

    def pytest_sessionfinish(self) -> None:
        """Close the devices and let go of them."""
        self._held.close()
        page: Path | None = self.config.getoption("rig_html")
        if page is not None and not self.on_worker and self._outcomes:
            from edge_ad.rig.results.html import html_page

            write_atomic(page, html_page(self.rig, self._outcomes).encode())

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """The rig file's checks."""
        if file_path == self.rig.path.absolute():
            found: RigFile = RigFile.from_parent(parent, path=file_path, session_of=self)
            return found
        return None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Tests that ask for `device`, or for `device` and `bundle`, run for each of them that the rig file pairs."""
        if not _ours(metafunc, "device"):
            return
        if _ours(metafunc, "bundle"):
            pairs = {(c.device.name, c.bundle.name): (c.device, c.bundle) for c in cells(self.rig)}
            params = [pytest.param(*pair, id=":".join(names)) for names, pair in pairs.items()]
            metafunc.parametrize(("device", "bundle"), params, indirect=True, scope="session")
        else:
            singles = [pytest.param(device, id=f"{device.name}:") for device in self.rig.devices]
            metafunc.parametrize("device", singles, indirect=True, scope="session")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather outcomes, from workers too, for the page."""
        told: dict[str, Any] | None = getattr(report, "rig_outcome", None)
        if told is not None and report.when == "call":
            self._outcomes.append(Outcome(**told))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        """A report carries the outcome to the process that writes the page."""
        result = yield
        if isinstance(item, RigItem) and item.outcome is not None:
            result.get_result().rig_outcome = asdict(item.outcome)  # type: ignore[attr-defined]


@pytest.fixture(scope="session", name="rig")
def rig_fixture(request: pytest.FixtureRequest) -> Rig:
    """The rig file."""
    return _session_of(request.config).rig


@pytest.fixture(scope="session", name="device")
def device_fixture(request: pytest.FixtureRequest) -> OpenDevice:
    """A device of the rig, open."""
    return _session_of(request.config).device(request.param)


@pytest.fixture(scope="session", name="bundle")
def bundle_fixture(request: pytest.FixtureRequest, device: OpenDevice) -> LiveBundle:
    """A bundle of the rig, live on the device."""
    table: BundleTable = request.param
    device.ready(table)
    return device.bundle(table)


def _session_of(config: pytest.Config) -> RigSession:
    found = config.pluginmanager.get_plugin(NAME)
    assert isinstance(found, RigSession)
    return found


class RigFile(pytest.File):
    """The rig file as pytest collects it."""

    def __init__(self, *, session_of: RigSession, **rest: Any):
        super().__init__(**rest)
        self._session_of = session_of

    def collect(self) -> Iterable[pytest.Item]:
        """One item for each check of each bundle on each device."""
        for cell in cells(self._session_of.rig):
            yield RigItem.from_parent(
                self,
                name=f"{cell.device.name}:{cell.bundle.name}:{cell.check}",
                cell=cell,
                session_of=self._session_of,
            )


class RigItem(pytest.Item):
    """One check of one bundle on one device."""

    def __init__(self, *, cell: Cell, session_of: RigSession, **rest: Any):
        super().__init__(**rest)
        self._cell = cell
        self._session_of = session_of
        self.outcome: Outcome | None = None
        self.add_marker(pytest.mark.rig_check)

    def runtest(self) -> None:
        """Raises CheckFailed, or skips."""
        outcome = self.outcome = run_check(self._cell, self._session_of.device(self._cell.device))
        self.user_properties.extend(outcome.properties.items())
        self.user_properties.extend(
            (name, value) for name, value in outcome.figures.items() if isinstance(value, (str, int, float))
        )
        if outcome.status == "skipped":
            pytest.skip(outcome.message)
        if outcome.status != "passed":
            raise CheckFailed(outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """One line for what a user can expect, the traceback for what nobody did."""
        if isinstance(excinfo.value, CheckFailed):
            return f"{excinfo.value.outcome.kind}: {excinfo.value.outcome.message}"
        if isinstance(excinfo.value, EdgeAdError):
            return f"error: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """For the terminal."""
        return self.path, None, f"rig: {self.name}"


class CheckFailed(Exception):  # noqa: N818 (read by people, in pytest's summary)
    """A check that did not hold."""

    def __init__(self, outcome: Outcome):
        super().__init__(outcome.message)
        self.outcome = outcome


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except EdgeAdError as error:
        raise pytest.UsageError(f"--rig: {error}") from error


def device_of(nodeid: str, names: Iterable[str]) -> str | None:
    """Whose cell or test this is: `rig.toml::m4:pump:live`, `test_x.py::test_y[m4:pump]`, `…[m4:]`."""
    for name in names:
        if re.search(rf"(?:::|[\[-]){re.escape(name)}:(?!:)", nodeid):
            return name
    return None


def _ours(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether a test's fixture of that name is the rig's: many projects have their own `device`."""
    defined = metafunc.definition._fixtureinfo.name2fixturedefs.get(name)
    return defined is not None and getattr(defined[-1].func, "__module__", "") == __name__
