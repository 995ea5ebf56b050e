"""The search in processes that are killed over it: in a pool of this machine, and on a Dask cluster of two workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sweep_forms

from edge_ad import targets
from edge_ad.compile.sweep import executors
from edge_ad.compile.sweep.executors import Workers
from edge_ad.compile.sweep.form import Failed, Form, Measured, Outcome
from edge_ad.compile.sweep.journal import JOURNAL, journal
from edge_ad.compile.sweep.search import Keys, Work, plan, search, with_speedups
from edge_ad.compile.sweep.setting import Setting
from edge_ad.errors import MissingDependencyError, SweepError, UsageError

MODEL = "/models/parts"
SHARES = (0.0, 0.25, 0.5, 0.75)
SUPPORT = Path(__file__).parents[2] / "support"


def forms(shares: tuple[float, ...] = SHARES) -> list[Form]:
    return [Form(model=MODEL, target="openvino-cpu", precision="int8", prune=share) for share in shares]


def run(
    folder: Path, workers: Workers, work: Work, shares: tuple[float, ...] = SHARES,
    told: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:  # fmt: skip
    setting = Setting(Path(MODEL), folder, folder, str)  # type: ignore[arg-type]  # no target is asked for
    with journal(folder) as kept:
        return search(forms(shares), setting, Keys("basis", {MODEL: "model"}), kept, workers, told, work)


def ran(folder: Path) -> list[str]:
    """What was measured, in order; more often than once after a loss."""
    return [line.split()[1] for line in (folder / "ran").read_text().splitlines()]


@pytest.fixture(autouse=True)
def _support_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), *filter(None, sys.path)]))


def test_the_next_run_measures_only_what_the_journal_lacks(tmp_path: Path) -> None:
    first = run(tmp_path, executors.here(), sweep_forms.work, (0.0, 0.5))
    told: list[Outcome] = []
    both = run(tmp_path, executors.here(), sweep_forms.work, told=told.append)
    assert ran(tmp_path) == ["0.0", "0.5", "0.25", "0.75"]
    assert [o.form.prune for o in both] == list(SHARES) and both[0] == first[0]
    assert sorted(o.form.prune for o in told) == list(SHARES)  # a progress bar sees all of them


def test_another_model_or_other_data_is_measured_anew() -> None:
    form = forms()[0]
    keys = {
        Keys(basis, {MODEL: model})(form)
        for basis in ("data 1", "data 2")
        for model in ("model 1", "model 2")
    }
    assert len(keys) == 4
    assert len({Keys("basis", {MODEL: "model"})(f) for f in forms()}) == len(SHARES)


def test_a_killed_process_costs_nothing_but_its_time(tmp_path: Path) -> None:
    found = run(tmp_path, executors.processes(1), sweep_forms.work_that_dies_once)
    assert [o.form.prune for o in found] == list(SHARES)
    assert all(isinstance(o, Measured) for o in found)
    assert len((tmp_path / JOURNAL).read_text().splitlines()) == len(SHARES)
    # Those that waited went on in a new pool, and the one that it happened over came last, by itself.
    assert ran(tmp_path) == ["0.0", "0.25", "0.75", "0.5"]


def test_a_form_that_kills_its_process_is_told_and_tried_again_next_time(tmp_path: Path) -> None:
    (only,) = run(tmp_path, executors.processes(1), sweep_forms.work_that_always_dies, (0.5,))
    assert isinstance(only, Failed) and "may need more memory" in only.error
    (again,) = run(tmp_path, executors.here(), sweep_forms.work, (0.5,))
    assert isinstance(again, Measured)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[int]]]:
    """Address of a Dask cluster on this machine, and the ids of its two workers' processes."""
    distributed = pytest.importorskip("distributed")
    import dask

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])
    quiet = {"distributed.worker.daemon": False, "logging.distributed": "error"}
    try:
        with (
            dask.config.set(quiet),
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
                local_directory=str(tmp_path_factory.mktemp("dask")),
            ) as cluster,
            distributed.Client(cluster) as client,
        ):  # fmt: skip
            yield cluster.scheduler_address, list(client.run(os.getpid).values())
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def test_a_dask_cluster_measures_all_though_a_worker_is_killed(
    tmp_path: Path, scheduler: tuple[str, list[int]]
) -> None:
    address, workers = scheduler
    shares = tuple(i / 20 for i in range(12))
    killed: list[int] = []

    def kill_one(outcome: Outcome) -> None:
        """The worker that measured the first form, while it measures another one."""
        if not killed:
            killed.append(int((tmp_path / "ran").read_text().split()[0]))
            os.kill(killed[0], signal.SIGKILL)

    found = run(tmp_path, executors.dask(address), sweep_forms.work, shares, kill_one)
    assert killed[0] in workers
    assert [o.form.prune for o in found] == list(shares)
    assert all(isinstance(o, Measured) for o in found)
    assert len((tmp_path / JOURNAL).read_text().splitlines()) == len(shares)
    here = {os.getpid()}
    assert not here & {int(line.split()[0]) for line in (tmp_path / "ran").read_text().splitlines()}


def test_no_scheduler_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "_CONNECT_S", 1)
    with pytest.raises(SweepError, match="no Dask scheduler answers"):
        run(tmp_path, executors.dask("tcp://127.0.0.1:9"), sweep_forms.work)


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"edge-ad\[dask\]"):
        run(tmp_path, executors.dask("tcp://127.0.0.1:9"), sweep_forms.work)


@pytest.mark.slow
def test_processes_of_a_pool_end_with_the_one_that_was_killed(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import sweep_forms\n"
        "from edge_ad.compile.sweep import executors\n"
        "sys.path.insert(0, sys.argv[2]); import test_search\n"
        "if __name__ == '__main__':\n"
        "    shares = tuple(i / 100 for i in range(99))\n"
        "    test_search.run(Path(sys.argv[1]), executors.processes(1), sweep_forms.work, shares)\n"
    )
    (tmp_path / "sweep.py").write_text(program)
    log = tmp_path / "ran"
    sweep = subprocess.Popen([sys.executable, tmp_path / "sweep.py", tmp_path, Path(__file__).parent])
    _wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 2)
    sweep.kill()
    sweep.wait(timeout=60)
    worker = int(log.read_text().split()[0])
    _wait_for(lambda: not _alive(worker))
    journalled = len((tmp_path / JOURNAL).read_text().splitlines())
    assert journalled >= 1
    with journal(tmp_path) as kept:  # nobody holds it any more
        assert len(kept.outcomes) in (journalled, journalled - 1)  # the last line may have been cut off


def _wait_for(done: Callable[[], bool], seconds: float = 90) -> None:
    patience = threading.Event()
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that"
        patience.wait(0.05)


def _alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_the_plan_holds_every_form_once_and_the_baseline_first() -> None:
    models = [Path("/m/small"), Path("/m/micro")]
    cpu, board = targets.get("openvino-cpu"), targets.get("posix")
    planned = plan(models, [cpu, board], (0.5,), ("int8",))
    assert [(f.name, f.target, f.prune) for f in planned] == [
        ("small", "openvino-cpu", 0.0), ("small", "openvino-cpu", 0.5), ("micro", "openvino-cpu", 0.5),
        ("small", "posix", 0.0), ("small", "posix", 0.5), ("micro", "posix", 0.5),
    ]  # fmt: skip
    every = plan(models[:1], [cpu], (0.0,), ())
    assert [f.precision for f in every] == list(cpu.precisions)
    with pytest.raises(UsageError, match="a share to prune"):
        plan(models, [cpu], (1.0,), ())
    with pytest.raises(UsageError, match="'posix' has none of fp16"):
        plan(models, [board], (0.0,), ("fp16",))


def test_boards_are_as_fast_as_their_instructions_are_fewer() -> None:
    plain = Form(model=MODEL, target="cortex-m4", precision="int8")
    half = plain.model_copy(update={"prune": 0.5})
    outcomes = [
        sweep_forms.found("a", form=plain, latency_us=None, instructions=900),
        sweep_forms.found("b", form=half, latency_us=None, instructions=300),
        sweep_forms.found("c", form=half, latency_us=None, instructions=None),
    ]
    assert [getattr(o, "speedup") for o in with_speedups(outcomes)] == [1.0, 3.0, None]  # noqa: B009
