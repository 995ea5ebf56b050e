"""The command line as a user meets it: exit code, what was printed, and the one line of an expected error."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a user sees of an expected error."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Run = Callable[..., Done]


def run_command(*args: object, timeout: float = 240, **options: object) -> Done:
    """In a process of its own."""
    command = [sys.executable, "-m", "edge_ad", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)  # type: ignore[call-overload]
    return Done(done.returncode, done.stdout, done.stderr)


def run_here(*words: object) -> Done:
    """In this process, where its libraries are loaded already."""
    from edge_ad.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
