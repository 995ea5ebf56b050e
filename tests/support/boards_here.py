"""Which boards this machine can build and run."""

from __future__ import annotations

import shutil

import pytest


def require_board(address: str) -> str:
    """`address`, posix or qemu:MACHINE; skips the test where its tools are missing."""
    tools = ["cc"] if address == "posix" else ["arm-none-eabi-gcc", "qemu-system-arm"]
    if missing := [tool for tool in ["make", *tools] if shutil.which(tool) is None]:
        pytest.skip(f"{address} needs {missing[0]} (scripts/setup.sh installs it)")
    return address
