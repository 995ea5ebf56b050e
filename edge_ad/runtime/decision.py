"""From scores to events: a pure state machine, no clock, no input or output.

A frame is anomalous when its score is above the threshold. An event begins when `k` of the last `n` frames
are anomalous, and ends after `release` frames in a row at or below the release level.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from edge_ad.errors import EngineError, UsageError
from edge_ad.runtime.events import Kind


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UsageError(what)


@dataclass(frozen=True)
class DecisionConfig:
    """When events begin, are repeated, and end. All counts are frames.

    k, n: an event begins when k of the last n frames are anomalous.
    release: frames in a row at or below the release level that end an event. 0 makes every anomalous frame an
        event of its own, begun and ended at once: for folders and other streams of separate parts.
    hysteresis: in (0, 1]; the release level is threshold * hysteresis (for a negative threshold it lies as
        far below). 1 means that the level is the threshold.
    update_interval: an open event is repeated as an `update` when so many frames have passed since its last
        record. Frames, not seconds: a replay then gives the same events.
    rise: an `update` is also made at once when the peak exceeds the last reported one by more than this share
        of its height above the threshold, so a climbing score makes logarithmically many updates.
    """

    k: int = 1
    n: int = 1
    release: int = 1
    hysteresis: float = 1.0
    update_interval: int = 30
    rise: float = 0.1

    def __post_init__(self) -> None:
        _require(1 <= self.k <= self.n, f"k of n frames needs 1 <= k <= n, not {self.k} of {self.n}")
        _require(self.release >= 0, f"release must be 0 or more frames, not {self.release}")
        _require(self.release > 0 or self.n == 1, "release 0 (each frame its own event) needs k = n = 1")
        _require(0.0 < self.hysteresis <= 1.0, f"hysteresis must be in (0, 1], not {self.hysteresis}")
        _require(self.update_interval >= 1, f"update interval must be 1 or more, not {self.update_interval}")
        _require(self.rise >= 0.0 and math.isfinite(self.rise), f"rise must be 0 or more, not {self.rise}")


SEPARATE_PARTS = DecisionConfig(k=1, n=1, release=0)


@dataclass(frozen=True)
class Change:
    """One thing to report of event `number` (1, 2, …): its beginning, an update or its end."""

    kind: Kind
    number: int


class Decision:
    """The state machine of one stream. `step` it with every score in order, `close` it at the end."""

    def __init__(self, threshold: float, config: DecisionConfig | None = None):
        """threshold: a score strictly above it is anomalous. Raises UsageError when it is not finite."""
        _require(math.isfinite(threshold), f"the threshold must be a finite number, not {threshold}")
        self.threshold = threshold
        self.config = config or DecisionConfig()
        self._release_level = threshold - (1.0 - self.config.hysteresis) * abs(threshold)
        self._recent: deque[bool] = deque(maxlen=self.config.n)
        self._number = 0
        self._open = False
        self._peak = -math.inf
        self._reported_peak = -math.inf
        self._quiet = 0
        self._since_record = 0

    @property
    def open(self) -> bool:
        """Whether an event is open now."""
        return self._open

    def is_anomalous(self, score: float) -> bool:
        """Whether a frame with this score counts as anomalous."""
        return score > self.threshold

    def is_new_peak(self, score: float) -> bool:
        """Whether a frame with this score, given to `step` next, would be the highest of its event."""
        return self.is_anomalous(score) and (not self._open or score > self._peak)

    def step(self, score: float) -> tuple[Change, ...]:
        """Take the next score; returns what to report, in order. Raises EngineError when it is not finite."""
        if not math.isfinite(score):
            raise EngineError(f"a score that is not finite ({score}) cannot be judged")
        self._recent.append(self.is_anomalous(score))
        return tuple(self._continue(score) if self._open else self._begin(score))

    def close(self) -> tuple[Change, ...]:
        """The stream has stopped: an open event ends."""
        return (self._end(),) if self._open else ()

    def _begin(self, score: float) -> Iterator[Change]:
        if sum(self._recent) < self.config.k:
            return
        self._open = True
        self._number += 1
        self._peak = self._reported_peak = score
        self._quiet = self._since_record = 0
        yield Change("new", self._number)
        if self.config.release == 0:
            yield self._end()

    def _continue(self, score: float) -> Iterator[Change]:
        self._peak = max(self._peak, score)
        self._quiet = self._quiet + 1 if score <= self._release_level else 0
        self._since_record += 1
        if self._quiet >= self.config.release:
            yield self._end()
        elif self._since_record >= self.config.update_interval or self._has_risen():
            self._since_record = 0
            self._reported_peak = self._peak
            yield Change("update", self._number)

    def _has_risen(self) -> bool:
        height = self._reported_peak - self.threshold
        return self._peak - self._reported_peak > self.config.rise * height

    def _end(self) -> Change:
        self._open = False
        self._recent.clear()  # frames of an event that is over cannot begin the next one
        return Change("end", self._number)
