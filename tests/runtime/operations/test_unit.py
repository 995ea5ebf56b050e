"""The unit that systemd gets: it is taken as it is meant, and written whole or not at all."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.errors import DeployError, UsageError
from edge_ad.runtime.operations.unit import install_unit, quoted, unit_text


def unquoted(text: str) -> str:
    """What systemd makes of one quoted argument (systemd.service(5), systemd.syntax(7))."""
    assert text[0] == text[-1] == '"'
    made, place, text = "", 0, text[1:-1]
    escapes = {"\\\\": "\\", '\\"': '"', "\\n": "\n", "\\t": "\t", "\\r": "\r", "%%": "%", "$$": "$"}
    while place < len(text):
        pair = text[place : place + 2]
        if pair in escapes:
            made, place = made + escapes[pair], place + 2
        else:
            assert text[place] not in '\\"%$\n'
            made, place = made + text[place], place + 1
    return made


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00")))
def test_an_argument_means_itself(argument: str) -> None:
    assert unquoted(quoted(argument)) == argument
    assert "\n" not in quoted(argument)


def test_a_unit_is_taken_by_systemd_and_feeds_the_watchdog(tmp_path: Path) -> None:
    station = tmp_path / "line 3" / "100 %.toml"
    station.parent.mkdir()
    text = unit_text("edge-ad-line3", command=[sys.executable, "-m", "edge_ad"], station=station)
    path = install_unit(text, "edge-ad-line3", tmp_path)
    assert path.read_text() == text and path.name == "edge-ad-line3.service"
    assert "Type=notify" in text and "WatchdogSec=60" in text and "DynamicUser=yes" in text
    assert f'ExecStart="{sys.executable}" "-m" "edge_ad" "run" "{str(station).replace("%", "%%")}"' in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("wrong", ["Restart=sometimes", "NoSuchKey=1"])
def test_what_systemd_would_ignore_is_refused_and_nothing_is_written(tmp_path: Path, wrong: str) -> None:
    text = unit_text("x", command=[sys.executable], station=tmp_path / "s.toml")
    text = text.replace("Restart=on-failure", wrong)
    with pytest.raises(DeployError, match="systemd does not take the unit"):
        install_unit(text, "x", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_and_a_name_that_cannot_be_are_one_line(tmp_path: Path) -> None:
    text = unit_text("x", command=[sys.executable], station=tmp_path / "s.toml")
    with pytest.raises(DeployError, match="cannot be written; run it as root"):
        install_unit(text, "x", tmp_path / "no")
    for name in ("", "a/b", "a b"):
        with pytest.raises(UsageError, match="is no name for a unit"):
            install_unit(text, name, tmp_path)
    with pytest.raises(UsageError, match="control characters"):
        unit_text("x", command=["y"], station=Path("a\nb"))
