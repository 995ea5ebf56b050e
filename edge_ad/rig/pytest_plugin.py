"""pytest's plugin: `pytest --rig rig.toml` runs the checks of a rig file, and tests that ask for its devices.

Without --rig nothing is imported and nothing is there: no fixture, no item. What is there with it lies in
`edge_ad.rig.pytest_session`.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """--rig and what goes with it."""
    group = parser.getgroup("edge-ad rigs")
    group.addoption(
        "--rig", type=Path, metavar="RIG.toml", help="run the checks of this rig file (docs/rigs.md)"
    )
    group.addoption(
        "--rig-wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait so long for devices that another rig holds",
    )
    group.addoption(
        "--rig-html", type=Path, metavar="FILE", help="write a page with plots of the rig's checks there"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Have the rest there, if there is a rig. Raises pytest.UsageError for a rig file that is none."""
    config.addinivalue_line("markers", "rig_check: a check of the file that --rig names")
    if config.getoption("rig") is None:
        return
    from edge_ad.rig import pytest_session

    config.pluginmanager.register(pytest_session.RigSession(config), pytest_session.NAME)
    config.pluginmanager.register(pytest_session)  # its fixtures
