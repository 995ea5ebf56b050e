"""From scores to events: a pure state machine, no clock, no input or output.

A frame is anomalous when its score is above the threshold, else normal. A rejection band (lower, upper] around
the threshold puts a third verdict between them: above `upper` a frame is anomalous, inside the band uncertain.

An event begins when `k` of the last `n` frames are not normal, and ends after `release` frames in a row at or
below the release level. It is anomalous from when k of the last n frames are, however high a single one of fewer
was, as it would not have begun without the band; until then it is uncertain. It never becomes uncertain again.

An event that has not lasted `min_frames` when it ends is not told at all. After an end no other begins for `cooldown`
frames, which do not count towards a later one either.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from edge_ad.bundle.manifest import Rejection
from edge_ad.errors import EngineError, UsageError
from edge_ad.runtime.events import EventVerdict, Kind, Verdict


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UsageError(what)


@dataclass(frozen=True)
class DecisionConfig:
    """When events begin, are repeated, and end. All counts are frames.

    k, n: an event begins when k of the last n frames are not normal, and is anomalous from when k of the last n are.
    release: frames in a row at or below the release level that end an event. 0 makes every frame that is not normal
        an event of its own, begun and ended at once: for folders and other streams of separate parts.
    hysteresis: in (0, 1]; the release level is the level above which a frame is not normal (the threshold, or
        the lower end of the band) times this (for a negative level it lies as far below). 1: that level itself.
    update_interval: an open event is repeated as an `update` when so many frames have passed since its last
        record. Frames, not seconds: a replay then gives the same events.
    rise: an `update` is also made at once when the peak exceeds the last reported one by more than this share
        of its height above the level of a normal frame, so a climbing score makes logarithmically many updates.
    min_frames: an event is told once it has lasted so many, counted from the one at which k of n was met.
    cooldown: frames after the end of an event that was told, in which no other begins.
    """

    k: int = 1
    n: int = 1
    release: int = 1
    hysteresis: float = 1.0
    update_interval: int = 30
    rise: float = 0.1
    min_frames: int = 1
    cooldown: int = 0

    def __post_init__(self) -> None:
        _require(1 <= self.k <= self.n, f"k of n frames needs 1 <= k <= n, not {self.k} of {self.n}")
        _require(self.release >= 0, f"release must be 0 or more frames, not {self.release}")
        _require(self.release > 0 or self.n == 1, "release 0 (each frame its own event) needs k = n = 1")
        _require(0.0 < self.hysteresis <= 1.0, f"hysteresis must be in (0, 1], not {self.hysteresis}")
        _require(self.update_interval >= 1, f"update interval must be 1 or more, not {self.update_interval}")
        _require(self.min_frames >= 1, f"min_frames must be 1 or more, not {self.min_frames}")
        _require(self.cooldown >= 0, f"cooldown must be 0 or more frames, not {self.cooldown}")
        _require(
            self.release > 0 or (self.min_frames == 1 and self.cooldown == 0),
            "release 0 (each frame its own event) needs min_frames 1 and cooldown 0",
        )
        _require(self.rise >= 0.0 and math.isfinite(self.rise), f"rise must be 0 or more, not {self.rise}")


SEPARATE_PARTS = DecisionConfig(k=1, n=1, release=0)


@dataclass(frozen=True)
class Change:
    """One thing to report of event `number` (1, 2, …): its beginning, an update or its end; and what it now is."""

    kind: Kind
    number: int
    verdict: EventVerdict = "anomalous"


class Decision:
    """The state machine of one stream. `step` it with every score in order, `close` it at the end.

    short: events that were not told because they did not last. suppressed: frames in a cool-down that would have begun
    an event.
    """

    def __init__(
        self, threshold: float, config: DecisionConfig | None = None, rejection: Rejection | None = None
    ):
        """threshold: a score strictly above it is anomalous. rejection: the band of scores that are uncertain.

        Raises UsageError for a threshold that is not finite, or that lies outside of the band.
        """
        self.config = config or DecisionConfig()
        self.short = self.suppressed = 0
        self._own = threshold, rejection
        self._recent: deque[Verdict] = deque(maxlen=self.config.n)
        self._number = 0
        self._event: EventVerdict | None = None
        self._told = False  # whether the open event has been
        self._lasted = 0  # frames, of the open event
        self._peak = self._reported_peak = 0.0
        self._quiet = 0
        self._since_record = 0
        self._cooling = 0  # frames of the cool-down that are left
        self._judge_by(threshold, rejection)

    @property
    def open(self) -> bool:
        """Whether an event is open now that has been told."""
        return self._told

    def set_threshold(self, value: float) -> None:
        """Judge by another threshold from the next score on; an open event stays open.

        A rejection band lies around the threshold that it was made for: another one is without a band, and with the
        first one it comes back. Raises UsageError for a threshold that is not finite.
        """
        threshold, rejection = self._own
        self._judge_by(value, rejection if value == threshold else None)

    def verdict(self, score: float) -> Verdict:
        """What a frame with this score is."""
        if score > self._upper:
            return "anomalous"
        return "uncertain" if score > self._lower else "normal"

    def level(self, verdict: EventVerdict) -> float:
        """The score that shows up as part of the anomaly in a frame of this verdict: of `uncertain`, the band's lower
        end, since nothing need lie above the threshold."""
        return self._lower if verdict == "uncertain" else self.threshold

    @property
    def release_level(self) -> float:
        """A frame at or below it is quiet: it neither begins an event nor keeps one open."""
        return self._release_level

    def is_new_peak(self, score: float) -> bool:
        """Whether a frame with this score, given to `step` next, would be the highest of an event."""
        return score > self._lower and (self._event is None or score > self._peak)

    def step(self, score: float) -> tuple[Change, ...]:
        """Take the next score; returns what to report, in order. Raises EngineError when it is not finite."""
        if not math.isfinite(score):
            raise EngineError(f"a score that is not finite ({score}) cannot be judged")
        verdict = self.verdict(score)
        self._recent.append(verdict)
        if self._event is not None:
            return tuple(self._continue(score, self._event))
        if self._cooling:
            self._cool()
            return ()
        if verdict == "normal":  # adds nothing that could begin one
            return ()
        return tuple(self._begin(score))

    def gap(self) -> None:
        """Samples are missing before the next one: earlier ones no longer count for k of n. What is open stays so."""
        self._recent.clear()

    def close(self) -> tuple[Change, ...]:
        """The stream has stopped: an open event ends."""
        return () if self._event is None else tuple(self._end(self._event))

    def snapshot(self) -> dict[str, Any]:
        """All that `restore` needs to go on from here, as plain values."""
        return {
            "rules": self._rules(), "recent": tuple(self._recent), "number": self._number, "event": self._event,
            "told": self._told, "lasted": self._lasted, "peak": self._peak, "reported_peak": self._reported_peak,
            "quiet": self._quiet, "since_record": self._since_record, "cooling": self._cooling,
        }  # fmt: skip

    def restore(self, snapshot: Mapping[str, Any]) -> bool:
        """Go on from a snapshot; False, and nothing is changed, where that was of other rules."""
        if tuple(snapshot["rules"]) != self._rules():
            return False
        self._recent = deque(snapshot["recent"], maxlen=self.config.n)
        self._number, self._event, self._told = snapshot["number"], snapshot["event"], snapshot["told"]
        self._lasted, self._peak = snapshot["lasted"], snapshot["peak"]
        self._reported_peak, self._quiet = snapshot["reported_peak"], snapshot["quiet"]
        self._since_record, self._cooling = snapshot["since_record"], snapshot["cooling"]
        return True

    def _judge_by(self, threshold: float, rejection: Rejection | None) -> None:
        _require(math.isfinite(threshold), f"the threshold must be a finite number, not {threshold}")
        lower = threshold if rejection is None else rejection.lower
        upper = threshold if rejection is None else rejection.upper
        _require(
            lower <= threshold <= upper,
            f"the threshold {threshold:g} is not in its rejection band, {lower:g} to {upper:g}",
        )
        self.threshold, self.rejection = threshold, rejection
        self._lower, self._upper = lower, upper
        self._release_level = lower - (1.0 - self.config.hysteresis) * abs(lower)
        self._known_rules = (*astuple(self.config), threshold, lower, upper)

    def _rules(self) -> tuple[float, ...]:
        return self._known_rules

    def _judge(self) -> EventVerdict | None:
        """What the last n frames make of an event; None when too few of them are not normal."""
        n_anomalous = self._recent.count("anomalous")
        if n_anomalous >= self.config.k:
            return "anomalous"
        return "uncertain" if n_anomalous + self._recent.count("uncertain") >= self.config.k else None

    def _cool(self) -> None:
        self._cooling -= 1
        self.suppressed += self._judge() is not None
        if self._cooling == 0:
            self._recent.clear()

    def _begin(self, score: float) -> Iterator[Change]:
        verdict = self._judge()
        if verdict is None:
            return
        self._event = verdict
        self._peak = score
        self._quiet, self._lasted = 0, 1
        if self.config.min_frames == 1:
            yield self._tell(verdict)
        if self.config.release == 0:
            yield from self._end(verdict)

    def _continue(self, score: float, verdict: EventVerdict) -> Iterator[Change]:
        self._peak = max(self._peak, score)
        self._quiet = self._quiet + 1 if score <= self._release_level else 0
        self._lasted += 1
        self._since_record += 1
        hardened = verdict == "uncertain" and self._judge() == "anomalous"
        if hardened:
            self._event = verdict = "anomalous"
        if self._quiet >= self.config.release:
            yield from self._end(verdict)
        elif not self._told:
            if self._lasted >= self.config.min_frames:
                yield self._tell(verdict)
        elif hardened or self._since_record >= self.config.update_interval or self._has_risen():
            self._since_record = 0
            self._reported_peak = self._peak
            yield Change("update", self._number, verdict)

    def _tell(self, verdict: EventVerdict) -> Change:
        self._told = True
        self._number += 1
        self._reported_peak = self._peak
        self._since_record = 0
        return Change("new", self._number, verdict)

    def _has_risen(self) -> bool:
        height = self._reported_peak - self._lower
        return self._peak - self._reported_peak > self.config.rise * height

    def _end(self, verdict: EventVerdict) -> Iterator[Change]:
        told, self._told, self._event = self._told, False, None
        self._recent.clear()  # frames of an event that is over cannot begin the next one
        if not told:
            self.short += 1
            return
        self._cooling = self.config.cooldown
        yield Change("end", self._number, verdict)
