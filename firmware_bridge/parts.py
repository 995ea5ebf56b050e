"""What a firmware holds: all operators and the monitor, or only what one model needs."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from edge_ad.bundle.atomic import write_atomic
from edge_ad.errors import BoardError, FirmwareError

_RECORDS = Path(__file__).resolve().parent / "firmware" / "engine" / "records.h"
MONITOR = "the monitor, by which a board judges"
_STEPS, _MONITOR = 20, 52  # in an image's header: offset and number of steps; offset of the monitor
_STEP_BYTES = 16
_MOST_OPERATORS = 64  # bits of EDGE_BUILT


@dataclass(frozen=True)
class Parts:
    """operators: names, as in the engine's records. judges: whether it has the monitor, decision and events."""

    operators: frozenset[str]
    judges: bool = True

    @property
    def mask(self) -> int:
        """A bit for each operator, by its number: EDGE_BUILT of the firmware's Makefile."""
        return sum(1 << number for number, name in enumerate(operator_names()) if name in self.operators)

    def lacks(self, needed: Parts) -> list[str]:
        """What `needed` has and these have not: operators in the order of their numbers, the monitor last."""
        missing = [name for name in operator_names() if name in needed.operators - self.operators]
        return [*missing, MONITOR] if needed.judges and not self.judges else missing


@lru_cache(maxsize=1)
def operator_names() -> tuple[str, ...]:
    """All operators of this version's engine, in the order of their numbers."""
    text = _RECORDS.read_text()
    names = tuple(re.findall(r"X\((\w+)\) \\\n", text.split("#define EDGE_OPERATORS(X)", 1)[1]))
    assert 0 < len(names) <= _MOST_OPERATORS
    return names


def all_parts() -> Parts:
    """Those of the one firmware for all models."""
    return Parts(frozenset(operator_names()))


def parts_of_image(image: bytes) -> Parts:
    """What a model image needs; its header has been read before.

    Raises BoardError for a damaged image and for operators that this version does not know.
    """
    names = operator_names()
    steps, count = struct.unpack_from("<II", image, _STEPS)
    (monitor,) = struct.unpack_from("<I", image, _MONITOR)
    if steps + count * _STEP_BYTES > len(image):
        raise BoardError("the model image is damaged: its steps lie outside", hint="compile the bundle again")
    numbers = {struct.unpack_from("<H", image, steps + i * _STEP_BYTES)[0] for i in range(count)}
    if numbers and max(numbers) >= len(names):
        raise BoardError(
            f"the model image needs operator {max(numbers)}, which this version does not know",
            hint="update edge-ad, or compile the bundle again",
        )
    return Parts(frozenset(names[number] for number in numbers), monitor != 0)


def parts_of_bits(judges: int, bits: bytes) -> Parts:
    """As a board says them in HELLO; operators that this version does not know are left out."""
    built = int.from_bytes(bits, "little")
    return Parts(frozenset(n for i, n in enumerate(operator_names()) if built >> i & 1), bool(judges))


def keep_parts(parts: Parts, file: Path) -> None:
    """Write down what an emulated board's firmware holds; of the one firmware for all nothing is written."""
    if parts == all_parts():
        file.unlink(missing_ok=True)
    else:
        told = {"operators": [n for n in operator_names() if n in parts.operators], "judges": parts.judges}
        write_atomic(file, (json.dumps(told) + "\n").encode())


def kept_parts(file: Path) -> Parts | None:
    """What `keep_parts` wrote; None where it wrote nothing. Raises FirmwareError for anything else."""
    try:
        told = json.loads(file.read_bytes())
        parts = Parts(frozenset(told["operators"]), bool(told["judges"]))
        if not parts.operators <= frozenset(operator_names()):
            raise ValueError
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FirmwareError(
            "does not tell what the board's firmware holds", where=file,
            hint="put one on it: edge-ad flash --firmware full, or lean",
        ) from error  # fmt: skip
    return parts
