"""Which instructions this CPU multiplies 8-bit integers with: what INT8 is worth here."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

_LEVELS = (
    ("amx_int8", "AMX-INT8"),
    ("avx512_vnni", "AVX512-VNNI"),
    ("avx_vnni", "AVX-VNNI"),
    ("avx512bw", "AVX512 (no VNNI)"),
    ("avx2", "AVX2 (no VNNI)"),
    ("i8mm", "NEON I8MM"),
    ("asimddp", "NEON dot product"),
    ("asimd", "NEON"),
)


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    """Feature flags of the first CPU as the kernel lists them; empty where it lists none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def cpu_isa() -> str:
    """The best 8-bit integer instructions of this CPU, e.g. "x86_64 AVX512-VNNI"."""
    found = next((name for flag, name in _LEVELS if flag in cpu_flags()), "baseline")
    return f"{platform.machine()} {found}"
