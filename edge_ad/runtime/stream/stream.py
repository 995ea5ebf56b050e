"""The threads of one stream: acquiring, preparing and judging overlap, each a frame behind the one before."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_ad.errors import DataError, EdgeAdError
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scorer import Infer, Prepared, Scored
from edge_ad.runtime.sources.base import Source
from edge_ad.runtime.stream.handoff import Handoff
from edge_ad.runtime.stream.judge import Judge, Result
from edge_ad.runtime.stream.summary import StreamSummary

log = logging.getLogger(__name__)

_JOIN_S = 5.0  # a read that hangs in a driver must not hang the program


def _keep_gap(dropped: Sample, sample: Sample) -> Sample:
    """A gap before a sample that is dropped is one before the next."""
    return replace(sample, gap=True) if dropped.gap and not sample.gap else sample


@dataclass(frozen=True)
class _Refused:
    sample: Sample
    error: DataError


class Stream:
    """One source, judged to its end."""

    def __init__(
        self, name: str, source: Source, infer: Infer, judge: Judge, *,
        on_result: Callable[[Result], None] | None = None, stop: threading.Event | None = None,
    ):  # fmt: skip
        """on_result: called with every judged frame, in the thread that runs the stream. stop: ends the stream before
        the next frame; `stop()` also wakes it."""
        self.name = name
        self.source = source
        self.judge = judge
        self.ended = False  # whether the source came to its end
        self._infer = infer
        self._on_result = on_result
        self._stop = stop or threading.Event()
        self._running = threading.Event()  # cleared while paused
        self._running.set()
        self._todo: list[Callable[[], None]] = []
        if source.live:
            self._acquired: Handoff[Sample] = Handoff(
                getattr(source, "burst", 1), newest_wins=True, inherit=_keep_gap
            )
            self._prepared: Handoff[Prepared | _Refused] = Handoff(1)
        else:
            self._acquired, self._prepared = Handoff(), Handoff()

    @property
    def dropped(self) -> int:
        """Samples of a live source that a newer one replaced before they were judged."""
        return self.source.dropped + self._acquired.dropped

    @property
    def idle(self) -> bool:
        """Whether it waits for a source that may well be silent (a watched folder, a pipe): nothing stands still."""
        return self.paused or (not self.source.live and self._acquired.starved and self._prepared.starved)

    @property
    def paused(self) -> bool:
        """Whether nothing is judged for now."""
        return not self._running.is_set()

    def pause(self) -> None:
        """Judge nothing until `resume`: live samples are dropped meanwhile, replays wait."""
        self._running.clear()

    def resume(self) -> None:
        """Go on."""
        self._running.set()

    def soon(self, action: Callable[[], None]) -> None:
        """Have something done by the thread that judges, before the next frame."""
        self._todo.append(action)

    def stop(self) -> None:
        """End the stream, from any thread."""
        self._stop.set()
        self._running.set()
        self.source.close()
        self._prepared.close()

    def run(self) -> StreamSummary:
        """Judge the source's samples until it ends or `stop`; then close it and end an open event.

        An input that the network refuses with DataError is logged and counted. Any other EdgeAdError ends the stream
        in good order and stands in the summary's `error`.
        """
        begun = time.monotonic()
        threads = [
            threading.Thread(target=stage, name=f"{stage.__name__.strip('_')} {self.name}", daemon=True)
            for stage in (self._acquire, self._prepare)
        ]
        for thread in threads:
            thread.start()
        error = None
        try:
            self._judge_all()
            if not self._stop.is_set():
                self.ended = True
        except EdgeAdError as cause:
            error = cause
        finally:
            self.source.close()
            self._acquired.close()
            self._prepared.close()
            for thread in threads:
                thread.join(_JOIN_S)
            self.judge.end_open_event()
        return self.judge.summary(
            dropped=self.dropped,
            unreadable=self.source.unreadable,
            elapsed_s=time.monotonic() - begun,
            error=error,
        )

    def _acquire(self) -> None:
        error: BaseException | None = None
        try:
            for sample in self.source:
                if self._stop.is_set() or not self._acquired.put(sample, sample.data.nbytes):
                    break
        except BaseException as cause:  # raised where the samples are judged
            error = cause
        self._acquired.end(error)

    def _prepare(self) -> None:
        error: BaseException | None = None
        try:
            while (sample := self._acquired.get()) is not None:
                item: Prepared | _Refused
                try:
                    item = self._infer.prepare(sample)
                except DataError as refusal:
                    item = _Refused(sample, refusal)
                n_bytes = item.batch.nbytes if isinstance(item, Prepared) else 0
                if not self._prepared.put(item, sample.data.nbytes + n_bytes):
                    break
        except BaseException as cause:
            error = cause
        self._prepared.end(error)

    def _judge_all(self) -> None:
        while not self._stop.is_set() and (item := self._prepared.get()) is not None:
            if self.paused:
                if self.source.live:
                    continue
                self._running.wait()
                if self._stop.is_set():
                    return
            while self._todo:
                self._todo.pop(0)()
            if isinstance(item, _Refused):
                self._refuse(item.sample, item.error)
                continue
            try:
                scored = self._infer.score(item)
            except DataError as refusal:
                self._refuse(item.sample, refusal)
                continue
            result = self.judge.judge(item.sample, scored)
            if self._on_result is not None:
                self._on_result(result)

    def _refuse(self, sample: Sample, error: DataError) -> None:
        self.judge.counts.refused += 1
        if (
            self.judge.counts.refused == 1 or not self.source.live
        ):  # a camera would say the same of every frame
            log.warning("%s: skipped: %s", sample.name, error)


@dataclass(frozen=True)
class OneStage:
    """A plain function from sample to score, as the two stages."""

    function: Callable[[Sample], Scored]

    def prepare(self, sample: Sample) -> Prepared:
        """Nothing."""
        return Prepared(sample, sample.data, 0)

    def score(self, prepared: Prepared) -> Scored:
        """All of it."""
        return self.function(prepared.sample)
