"""Numbers as a reader wants them."""

from __future__ import annotations

import math
from dataclasses import dataclass

BLANK = "\u00a0"
"""A blank at which no line breaks."""


@dataclass(frozen=True)
class Nouns:
    """What a report calls its inputs. input: one of them; part: what it shows; good, bad: when it is normal and when it
    is not; defect: what then shows; defects: several."""

    input: str
    part: str
    good: str
    bad: str
    defect: str
    defects: str


def nouns(noun: str) -> Nouns:
    """The words for inputs that are called `noun` (`image`, `scan`, `window` or `input`)."""
    if noun == "image":
        return Nouns("image", "part", "good", "defective", "defect", "defects")
    return Nouns(noun, noun, "normal", "anomalous", "anomaly", "anomalies")


def percent(rate: float) -> str:
    """0.0123 as `1.23 %`, kept on one line."""
    return f"{100 * rate:.3g}{BLANK}%"


def interval(bounds: tuple[float, float]) -> str:
    """(0.001, 0.04) as `0.1 % to 4 %`."""
    return f"{percent(bounds[0])} to {percent(bounds[1])}"


def signed(value: float) -> str:
    """Three decimals with a sign; what rounds to nothing has none."""
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text


def some(n: int, noun: str) -> str:
    """`1 test image`, `2 test images`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def article(noun: str) -> str:
    """`an image`, `a scan`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def milliseconds(microseconds: int) -> str:
    """3456 as `3.46 ms`."""
    return f"{microseconds / 1000:.3g}{BLANK}ms"


def size(n: int) -> str:
    """Bytes with a decimal prefix: 1234567 as `1.23 MB`."""
    return f"{_scaled(n)}B"


def count(n: int) -> str:
    """A large count with a decimal prefix: 15310000000 as `15.3 G`."""
    return _scaled(n).strip()


def score(value: float) -> str:
    """A score or threshold, five significant digits."""
    return f"{value:.5g}"


def _scaled(n: int) -> str:
    if n < 1000:
        return f"{n}{BLANK}"
    power = min(int(math.log10(n)) // 3, 4)
    value = n / 1000**power
    if value >= 999.5 and power < 4:
        value, power = value / 1000, power + 1
    return f"{value:.3g}{BLANK}{' kMGT'[power]}"
