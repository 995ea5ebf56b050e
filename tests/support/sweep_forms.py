"""Forms and figures of made-up detectors, and work that stands in for measuring one, in whatever process."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from edge_ad.compile.sweep.form import Form, Measured, Outcome, Ranking, ScoreDrift
from edge_ad.compile.sweep.setting import Setting
from edge_ad.metrics.ranking import Auroc


def area(value: float) -> Auroc:
    return Auroc(value=value, interval=(0.0, 1.0), n_normal=20, n_anomalous=40)


def found(
    key: str, *, latency_us: int | None = 1000, drop: float = 0.0, rank: float = 1.0, flash: int = 1000,
    ram: int = 1000, instructions: int | None = None, speedup: float | None = None, over: tuple[str, ...] = (),
    form: Form | None = None,
) -> Measured:  # fmt: skip
    """A form and its figures; what is not said is alike in all."""
    return Measured(
        key=key,
        form=form or Form(model="/models/parts", target="openvino-cpu", precision="int8"),
        latency_us=latency_us,
        reference_us=None if latency_us is None else 2000,
        instructions=instructions,
        speedup=speedup,
        flash_bytes=flash,
        ram_bytes=ram,
        macs=10,
        parameters=10,
        over=list(over),
        altered=Ranking(reference=area(0.9), form=area(0.9 - drop), change=None),
        drift=ScoreDrift(n=20, rank_correlation=rank, mean_shift=0.0, spread=0.0),
        seconds=1.0,
    )


def work(key: str, form: Form, setting: Setting) -> Outcome:
    """Leaves in `setting.work`/ran which process measured what; gives figures that depend on the form alone."""
    with (setting.work / "ran").open("a") as log:
        log.write(f"{os.getpid()} {form.prune}\n")
    time.sleep(0.2)
    return found(key, form=form, latency_us=round(1000 * (1 - form.prune)))


def work_that_dies_once(key: str, form: Form, setting: Setting) -> Outcome:
    """As `work`, but the first process that measures the form pruned by a half is killed over it."""
    if form.prune == 0.5 and _first(setting.work / "died"):
        os.kill(os.getpid(), signal.SIGKILL)
    return work(key, form, setting)


def work_that_always_dies(key: str, form: Form, setting: Setting) -> Outcome:
    """As `work`, but the form pruned by a half kills every process that measures it."""
    if form.prune == 0.5:
        os.kill(os.getpid(), signal.SIGKILL)
    return work(key, form, setting)


def _first(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
