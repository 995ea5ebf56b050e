"""Every payload of a bundle side by side on this machine: how fast, how large, and whether it agrees with the host.

Each payload has a process of its own, so that its memory and its loading are its own, and all take turns of a fraction
of a second, so that a machine whose speed drifts favours none of them.
"""

from __future__ import annotations

import multiprocessing
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle.manifest import Payload
from edge_ad.errors import EdgeAdError, EngineError
from edge_ad.runtime.deployment import LiveBundle
from edge_ad.runtime.engines import open_engine
from edge_ad.runtime.engines.base import EngineInfo
from edge_ad.runtime.golden import GoldenResult, check_golden, golden_inputs
from edge_ad.runtime.heads import INPUT, evaluate

TURN_S = 0.1
WARM_UP = 3
LEAST_RUNS = 20


@dataclass(frozen=True)
class Measured:
    """One payload on this machine. Times in milliseconds, from a network's input to its score.

    network_ms: median of the network alone, without the head. throughput: inputs a second, one after the other.
    load_ms: until the engine was ready, the import of its package among it; first_ms: the first inference.
    memory_mb: growth of the process' resident memory up to its peak, the package among it. ratio: how many times as
    fast as the first payload, median over the turns.
    """

    target: str
    precision: str
    engine: EngineInfo
    median_ms: float
    p99_ms: float
    network_ms: float
    throughput: float
    runs: int
    load_ms: float
    first_ms: float
    memory_mb: float
    ratio: float
    golden: GoldenResult


@dataclass(frozen=True)
class Skipped:
    """A payload that this machine cannot run, and why."""

    target: str
    precision: str
    reason: str


def bench(
    live: LiveBundle, *, targets: Sequence[str] = (), threads: int | None = None, seconds: float = 3.0,
    tick: Callable[[float], None] = lambda spent: None,
) -> list[Measured | Skipped]:  # fmt: skip
    """Measure the payloads of an extracted bundle, or those called `targets`, on the inputs of their golden vectors.

    threads: CPU threads of every engine, None for its default. seconds: of inference, for each payload. tick: is told
    the seconds spent so far. Raises SchemaError for an unknown target; a payload that cannot be run is skipped.
    """
    chosen = [live.manifest.payload(name) for name in targets] or live.manifest.payloads
    workers: dict[str, _Worker | Skipped] = {}
    try:
        for payload in chosen:
            workers[payload.target] = _start(payload, live.folder, threads, anyway=bool(targets))
        running = [worker for worker in workers.values() if isinstance(worker, _Worker)]
        _take_turns(running, seconds, tick)
        first = running[0].turns if running else []
        return [
            worker if isinstance(worker, Skipped) else worker.result(payload, first)
            for payload, worker in zip(chosen, workers.values(), strict=True)
        ]
    finally:
        for worker in workers.values():
            if isinstance(worker, _Worker):
                worker.close()


def _start(payload: Payload, folder: Path, threads: int | None, *, anyway: bool) -> _Worker | Skipped:
    """anyway: also for a machine of another kind, as far as its engine is here."""
    machine = platform.machine()
    if payload.engine == "board":
        reason = f"runs on a board: edge-ad verify --target {payload.target} --board or --port"
        return Skipped(payload.target, payload.precision, reason)
    if payload.architectures and machine not in payload.architectures and not anyway:
        kinds = ", ".join(payload.architectures)
        reason = f"is for {kinds}, this is {machine}; --target {payload.target} runs it all the same"
        return Skipped(payload.target, payload.precision, reason)
    try:
        return _Worker(payload, folder, threads)
    except EdgeAdError as error:
        return Skipped(payload.target, payload.precision, str(error))


def _take_turns(workers: Sequence[_Worker], seconds: float, tick: Callable[[float], None]) -> None:
    """Until each has had its time and LEAST_RUNS inferences."""
    spent = 0.0
    while any(worker.spent_s < seconds or worker.runs < LEAST_RUNS for worker in workers):
        for worker in workers:
            spent += worker.turn()
            tick(spent)


class _Worker:
    """A process that has one payload open."""

    def __init__(self, payload: Payload, folder: Path, threads: int | None):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._target = payload.target
        self._process = context.Process(target=_work, args=(theirs, payload, folder, threads), daemon=True)
        self._process.start()
        theirs.close()
        self.turns: list[float] = []  # mean milliseconds an input, by turn
        self._times: list[tuple[float, float]] = []
        self.spent_s = 0.0
        try:
            self._loaded = self._receive()
        except BaseException:
            self.close()
            raise

    @property
    def runs(self) -> int:
        """Inferences so far."""
        return len(self._times)

    def turn(self) -> float:
        """Have it work for TURN_S. Returns the seconds that it took."""
        self._pipe.send(TURN_S)
        times = self._receive()
        spent = float(sum(whole for _, whole in times))
        self.turns.append(1000 * spent / len(times))
        self._times.extend(times)
        self.spent_s += spent
        return spent

    def result(self, payload: Payload, first: Sequence[float]) -> Measured:
        """What it came to. first: the turns of the payload that it is compared with."""
        self._pipe.send(None)
        memory_mb = self._receive()
        times = 1000 * np.array(self._times)
        n = min(len(first), len(self.turns))
        return Measured(
            target=payload.target,
            precision=payload.precision,
            median_ms=float(np.median(times[:, 1])),
            p99_ms=float(np.percentile(times[:, 1], 99)),
            network_ms=float(np.median(times[:, 0])),
            throughput=self.runs / self.spent_s,
            runs=self.runs,
            memory_mb=memory_mb,
            ratio=float(np.median(np.array(first[:n]) / np.array(self.turns[:n]))),
            **self._loaded,
        )

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join(5)
            raise EngineError(
                f"the process that ran '{self._target}' ended with status {self._process.exitcode}"
            ) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _work(pipe: Connection, payload: Payload, folder: Path, threads: int | None) -> None:
    """The process: answers with what it loaded, then each number of seconds with times, None with its memory."""
    try:
        before = _memory_mb("VmRSS")
        begun = time.perf_counter()
        with _opened(payload, folder, threads) as engine:
            loaded = time.perf_counter()
            inputs = golden_inputs(payload, folder)
            engine.infer(inputs[0])
            first = time.perf_counter()
            golden = check_golden(payload, folder, engine)
            turns = _turns(engine, payload, inputs)
            for _ in range(WARM_UP):
                next(turns)
            pipe.send(
                {
                    "load_ms": 1000 * (loaded - begun), "first_ms": 1000 * (first - loaded),
                    "golden": golden, "engine": engine.describe(),
                }
            )  # fmt: skip
            while (seconds := pipe.recv()) is not None:
                end = time.perf_counter() + seconds
                times = [next(turns)]
                while time.perf_counter() < end:
                    times.append(next(turns))
                pipe.send(times)
            pipe.send(_memory_mb("VmHWM") - before)
    except EOFError:  # the one who measures has gone
        return
    except EdgeAdError as error:
        pipe.send(error)


@contextmanager
def _opened(payload: Payload, folder: Path, threads: int | None) -> Iterator[Any]:
    overrides: dict[str, Any] = {} if threads is None else {"threads": threads}
    engine = open_engine(payload, folder, **overrides)
    try:
        yield engine
    finally:
        engine.close()


def _turns(
    engine: Any, payload: Payload, inputs: Sequence[np.ndarray[Any, Any]]
) -> Iterator[tuple[float, float]]:
    """Seconds of the network, and of network and score, one input after the other for ever."""
    while True:
        for batch in inputs:
            begun = time.perf_counter()
            outputs = engine.infer(batch)
            half = time.perf_counter()
            evaluate(payload.head, {INPUT: batch, **outputs}, engine.parts)
            yield half - begun, time.perf_counter() - begun


def _memory_mb(key: str) -> float:
    """VmRSS, the resident memory now, or VmHWM, its peak (proc(5)), in megabytes; getrusage would also count the peak
    of the process that started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
    return kib * 1024 / 1e6
