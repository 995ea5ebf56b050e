"""Time stamps for rows that say their number and no time."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from edge_ad.errors import SourceError
from edge_ad.runtime.series.windows import RATE_TOLERANCE

BLOCK_S = 5.0
CORRECTION_S = 20.0  # how long a stamp that is off takes to come near
LOST_S = 10.0  # further off than that, one of the two clocks was set


class RowClock:
    """Counts at the declared rate from when the first rows came, and follows the device's own clock, which is never
    quite that fast: over months it would drift away by minutes.

    Rows come late now and then and never early, so the least delay of each few seconds says how far the stamps are off;
    they are brought near in steps far below a row's period.
    """

    def __init__(self, rate_hz: float, *, where: str, paced: bool = True):
        """paced: rows come as they are measured; else just count, however fast they come."""
        self._rate_hz = rate_hz
        self._where = where
        self._paced = paced
        self._next: float | None = None  # stamp of the next row
        self._slew = 0.0
        self._rows = 0
        self._block_ends = 0.0  # by the monotonic clock
        self._least: tuple[float, int, float] | None = None  # delay, rows so far, monotonic time
        self._last_least: tuple[float, int, float] | None = None

    def stamps(self, missing: int, n: int, arrival: float) -> npt.NDArray[np.float64]:
        """Of `n` rows that came at `arrival`, behind as many missing ones; (n,) seconds since 1970.

        Raises SourceError for rows at another rate, and after one of the clocks was set.
        """
        period = (1 + self._slew) / self._rate_hz
        if self._next is None:
            self._next = arrival - (missing + n - 1) * period
            self._block_ends = time.monotonic() + BLOCK_S
        stamps = self._next + np.arange(missing, missing + n, dtype=np.float64) * period
        self._next += (missing + n) * period
        self._rows += missing + n
        if self._paced and n:
            self._follow(arrival - float(stamps[-1]), time.monotonic())
        return stamps

    def _follow(self, delay: float, now: float) -> None:
        if self._least is None or delay < self._least[0]:
            self._least = (delay, self._rows, now)
        if now < self._block_ends:
            return
        least, self._least, self._block_ends = self._least, None, now + BLOCK_S
        if self._last_least is None:
            self._last_least = least
        elif least[2] - self._last_least[2] >= BLOCK_S:
            measured = (least[1] - self._last_least[1]) / (least[2] - self._last_least[2])
            if abs(measured - self._rate_hz) > RATE_TOLERANCE * self._rate_hz:
                raise SourceError(
                    f"sends {measured:.4g} rows a second, the detector was fitted at {self._rate_hz:.4g}",
                    where=self._where, hint="set the device's rate, or fit a detector for this one",
                )  # fmt: skip
            self._last_least = least
        if abs(least[0]) > LOST_S:
            raise SourceError(
                f"its rows and the clock of this machine are {least[0]:.3g} s apart", where=self._where,
                hint="one of the two was set; time stamps begin anew when it is opened again",
            )  # fmt: skip
        self._slew = float(np.clip(least[0] / CORRECTION_S, -RATE_TOLERANCE, RATE_TOLERANCE))
