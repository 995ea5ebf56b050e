"""Where forms are measured: here, in processes of this machine, or on a Dask cluster; each a `concurrent.futures`
executor behind one way to open it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from edge_ad.errors import MissingDependencyError, SweepError

_CONNECT_S = 15


@dataclass(frozen=True)
class Workers:
    """How to open an executor. at_once: how many forms it is given at a time, None for all: when one of a pool's
    processes is killed the pool is lost, and all that it was given."""

    open: Callable[[], AbstractContextManager[Executor]]
    at_once: int | None = None


class Here(Executor):
    """Runs each call at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done. An exception of the call is in it; an interrupt is not held back."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def here() -> Workers:
    """This process, one form after the other."""
    return Workers(lambda: nullcontext(Here()), at_once=1)


def processes(jobs: int) -> Workers:
    """`jobs` processes of this machine, which end with this one, however it ends."""

    @contextmanager
    def opened() -> Iterator[Executor]:
        # Spawned, not forked: torch and OpenVINO have threads, which a fork would lose.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent)
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            pool.shutdown(wait=True)

    return Workers(opened, at_once=jobs)


def dask(scheduler: str) -> Workers:
    """The workers of a Dask cluster. scheduler: its address, e.g. tcp://10.0.0.5:8786.

    Models, data and the sweep's folder have to lie under the same paths on all of them. Opening raises
    MissingDependencyError without the extra, SweepError where no scheduler answers.
    """

    @contextmanager
    def opened() -> Iterator[Executor]:
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingDependencyError(
                "--scheduler needs Dask", hint="install it: pip install 'edge-ad[dask]'"
            ) from error
        try:
            client = Client(scheduler, timeout=_CONNECT_S)
        except (OSError, ValueError, TimeoutError) as error:
            raise SweepError(
                "no Dask scheduler answers",
                where=scheduler,
                hint="start one: dask scheduler; dask worker ADDRESS",
            ) from error
        with client:
            if not client.scheduler_info().get("workers"):
                raise SweepError(
                    "the cluster has no worker", where=scheduler, hint=f"dask worker {scheduler}"
                )
            executor = client.get_executor(pure=False)
            try:
                yield executor
            finally:
                executor.shutdown(wait=False)

    return Workers(opened)


def _end_with_parent() -> None:
    """In a process of a pool: end when the one that started it does. A pool's processes hold both ends of its queue and
    would otherwise wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
