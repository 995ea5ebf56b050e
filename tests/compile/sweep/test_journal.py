"""The journal: what it holds survives a kill, a line that was cut off is dropped, other damage is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_forms import found

from edge_ad.compile.sweep.form import Failed, Form
from edge_ad.compile.sweep.journal import JOURNAL, journal
from edge_ad.errors import SweepError


def written(folder: Path, *keys: str) -> Path:
    with journal(folder) as kept:
        for key in keys:
            kept.add(found(key, latency_us=len(keys)))
    return folder / JOURNAL


def test_outcomes_of_both_kinds_come_back_as_they_were(tmp_path: Path) -> None:
    failed = Failed(
        key="b", form=Form(model="m", target="posix", precision="int8", prune=0.5), error="no", seconds=1
    )
    with journal(tmp_path / "new" / "sweep") as kept:
        kept.add(found("a", over=("too large",), drop=0.125))
        kept.add(failed)
    with journal(tmp_path / "new" / "sweep") as again:
        assert again.outcomes == {"a": found("a", over=("too large",), drop=0.125), "b": failed}


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(1, 400))
def test_a_last_line_that_was_cut_off_is_dropped_and_the_journal_goes_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = written(folder, "a", "b")
    whole = path.read_bytes()
    second = len(whole.splitlines(keepends=True)[1])
    path.write_bytes(whole[: -min(cut, second)])
    with journal(folder) as kept:
        assert list(kept.outcomes) == ["a"]
        kept.add(found("b", latency_us=2))
    assert path.read_bytes() == whole


def test_a_last_line_of_something_else_is_dropped(tmp_path: Path) -> None:
    path = written(tmp_path, "a")
    with path.open("ab") as file:
        file.write(b"\x00\x00\x00\n")
    with journal(tmp_path) as kept:
        assert list(kept.outcomes) == ["a"]
    assert path.read_bytes().count(b"\n") == 1


def test_damage_before_the_end_names_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a", "b", "c")
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:30] + b"\n" + third)
    with pytest.raises(SweepError, match="line 2 of the journal is damaged"), journal(tmp_path):
        pass
    assert path.read_bytes().count(b"\n") == 3  # nothing was thrown away


def test_a_second_sweep_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (
        journal(tmp_path),
        pytest.raises(SweepError, match="another sweep is at work"),
        journal(tmp_path),
    ):
        pass
    with journal(tmp_path):
        pass


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match=r"cannot be written"), journal(tmp_path / "file"):
        pass


def test_what_was_added_is_there_after_kill_9(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from sweep_forms import found; from edge_ad.compile.sweep.journal import journal\n"
        "with journal(Path(sys.argv[1])) as kept:\n"
        "    kept.add(found('a')); kept.add(found('b')); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    support = Path(__file__).parents[2] / "support"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(support), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program, tmp_path], env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL
    with journal(tmp_path) as kept:
        assert list(kept.outcomes) == ["a", "b"]
