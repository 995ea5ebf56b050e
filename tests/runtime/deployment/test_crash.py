"""A flash or a rollback that dies, is interrupted or meets a failing disk, at each step that it takes.

Each runs in a child process in which the k-th call on the file system, for every k, is where it ends. After that
`current` must name a whole release, the pair of live and previous must be the old or the new one, and doing the
same again must succeed and leave nothing else behind.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_ad.bundle.archive import open_bundle
from edge_ad.errors import DigestError, EdgeAdError
from edge_ad.runtime.deployment import deploy, folder, live, rollback
from edge_ad.runtime.deployment.release import check_release

Pair = tuple[tuple[str, str] | None, tuple[str, str] | None]

# Audit events of the calls by which a flash changes something, and of those that may fail as well.
CHANGES = {"os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"}
READS = {"fcntl.flock", "os.listdir", "os.scandir"}
DONE, KILLED, INTERRUPTED, REFUSED, WRONG = range(10, 15)


@dataclass(frozen=True)
class Bundles:
    """Paths and digests; `both` has payloads for two targets."""

    paths: dict[str, Path]
    digests: dict[str, str]

    def choice(self, name: str, target: str = "board") -> tuple[str, str]:
        return self.digests[name], target


@pytest.fixture(scope="module")
def bundles(make_bundle: Callable[..., Path]) -> Bundles:
    both = ("board", "gateway")
    paths = {
        "a": make_bundle("a", 1.0),
        "b": make_bundle("b", 2.0, both),
        "c": make_bundle("c", 3.0),
        "large": make_bundle("large", 4.0, ballast_bytes=20_000_000),
    }
    digests = {}
    for name, path in paths.items():
        with open_bundle(path) as opened:
            digests[name] = opened.digest
    return Bundles(paths, digests)


@dataclass
class Scene:
    """A folder before something is done to it, what is done, and the pairs before (None: refused) and after."""

    name: str
    start: Path
    act: Callable[[Path], object]
    old: Pair | None
    new: Pair


SCENES = [
    "first",
    "second",
    "third",
    "previous again",
    "other target",
    "repair",
    "repair in two steps",
    "rollback",
]
ENOUGH = ["first", "third", "other target", "repair in two steps", "rollback"]  # to have met every line


@pytest.fixture
def scene(
    request: pytest.FixtureRequest,
    bundles: Bundles,
    open_fake: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    # What a process leaves behind is the same without waiting for the disk.
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: None)
    start = tmp_path / "start"

    def flash(name: str, target: str | None = None) -> Callable[[Path], object]:
        return lambda root: deploy(bundles.paths[name], root, target=target, open_engine=open_fake)

    a, b, c = bundles.choice("a"), bundles.choice("b"), bundles.choice("c")
    if request.param == "first":
        flash("a")(tmp_path / "else")  # whatever is imported at the first use is, and so is no step
        start.mkdir()
        return Scene(request.param, start, flash("a"), (None, None), (a, None))
    flash("a")(start)
    if request.param == "second":
        return Scene(request.param, start, flash("c"), (a, None), (c, a))
    flash("b", "board")(start)
    if request.param == "third":
        return Scene(request.param, start, flash("c"), (b, a), (c, b))
    if request.param == "previous again":
        return Scene(request.param, start, flash("a"), (b, a), (a, b))
    if request.param == "other target":
        return Scene(request.param, start, flash("b", "gateway"), (b, a), (bundles.choice("b", "gateway"), b))
    if request.param == "rollback":
        return Scene(request.param, start, lambda root: rollback(root, open_engine=open_fake), (b, a), (a, b))
    if request.param == "repair in two steps":
        monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    (start / "releases" / bundles.digests["b"] / "payload/board/model.json").write_bytes(b"{}")
    return Scene(request.param, start, flash("b", "board"), None, (b, a))


def pair_of(root: Path) -> Pair:
    """What is live, as `run` finds it, and what its record says that a rollback makes live."""
    if not (root / "current").is_symlink():
        return (None, None)
    found = live(root)
    previous = json.loads((root / "releases" / f"{found.digest}.json").read_bytes())["previous"]
    if previous is None:
        return ((found.digest, str(found.target)), None)
    check_release(root / "releases" / previous["digest"], previous["digest"])
    return ((found.digest, str(found.target)), (previous["digest"], previous["target"]))


def run(act: Callable[[Path], object], root: Path, mode: str, at: int) -> tuple[int, int]:
    """How `act` ends in a child process whose step `at` (from 0) is killed, interrupted or fails; steps begun."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        steps = 0
        while more := os.read(reader, 1 << 16):
            steps += len(more)
        os.close(reader)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), steps
    code = WRONG
    try:
        count = 0

        def step() -> None:
            nonlocal count
            count += 1
            os.write(writer, b".")
            if count - 1 != at:
                return
            if mode == "killed":
                os._exit(KILLED)
            if mode == "interrupted":
                raise KeyboardInterrupt
            raise OSError(errno.EIO, "Input/output error")

        def watch(event: str, args: tuple[Any, ...]) -> None:
            changes = event in CHANGES or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR))
            # Between two changes it is all the same when a process ends, not which call fails.
            if changes or (mode == "failed" and (event == "open" or event in READS)):
                step()

        if mode == "failed":
            os.fsync = lambda handle: step()  # has no audit event
        sys.addaudithook(watch)
        act(root)
        code = DONE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except EdgeAdError as error:
        code = REFUSED if str(error).isprintable() else WRONG
    finally:
        os._exit(code)


def names_in(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in [*root.iterdir(), *(root / "releases").iterdir()]}


def names_of(pair: Pair) -> set[str]:
    kept = [choice[0] for choice in pair if choice is not None]
    return {".lock", "current", "releases", *(f"releases/{d}{s}" for d in kept for s in ("", ".json"))}


def finish(scene: Scene, root: Path, pair: Pair | None) -> None:
    """Doing it again ends as it should have; a rollback that was done already goes back again."""
    scene.act(root)
    undone = scene.name == "rollback" and pair == scene.new
    expected = scene.old if undone else scene.new
    assert pair_of(root) == expected
    assert names_in(root) == names_of(expected)


@pytest.mark.parametrize(
    ("scene", "mode"),
    [(scene, "killed") for scene in SCENES]
    + [(scene, mode) for scene in ENOUGH for mode in ("interrupted", "failed")],
    indirect=["scene"],
)
def test_it_ends_at_any_step(scene: Scene, mode: str, tmp_path: Path) -> None:
    codes = {"killed": {KILLED}, "interrupted": {INTERRUPTED}, "failed": {REFUSED, DONE}}[mode]
    root = tmp_path / "root"

    def attempt(at: int) -> tuple[int, int]:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(scene.start, root, symlinks=True)
        return run(scene.act, root, mode, at)

    code, steps = attempt(-1)
    assert code == DONE
    assert pair_of(root) == scene.new
    assert steps > 3
    pairs: list[Pair | None] = []
    for at in range(steps):
        code, _ = attempt(at)
        assert code in codes, at
        try:
            pair: Pair | None = pair_of(root)
        except DigestError:
            pair = None
        assert pair in (scene.old, scene.new), at
        assert code != DONE or pair == scene.new, at
        pairs.append(pair)
        finish(scene, root, pair)
    assert scene.old in pairs
    if mode != "failed":  # one moment before which all is as it was, and after which it is done
        assert pairs == sorted(pairs, key=lambda pair: pair == scene.new)


def test_all_is_on_the_disk_before_the_switch(
    bundles: Bundles, tmp_path: Path, open_fake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a power cut, too, finds a whole release behind `current`."""
    root = tmp_path / "line3"
    synced: set[int] = set()
    moments: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.add(os.fstat(handle).st_ino))
    rename = os.replace
    release = root / "releases" / bundles.digests["a"]

    def watch(source: Path, target: Path) -> None:
        if Path(target).name == "current":
            for path in [release, *release.rglob("*"), release.with_suffix(".json"), root, root / "releases"]:
                assert path.stat().st_ino in synced, path
            assert root.parent.stat().st_ino in synced
            moments.append("switch")
            synced.clear()
        rename(source, target)

    monkeypatch.setattr(os, "replace", watch)
    monkeypatch.setattr(Path, "replace", lambda self, target: watch(self, target))
    deploy(bundles.paths["a"], root, open_engine=open_fake)
    assert moments == ["switch"]
    assert root.stat().st_ino in synced


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_killed_in_the_middle(
    delay_s: float, bundles: Bundles, tmp_path: Path, open_fake: Callable[..., Any]
) -> None:
    """SIGKILL so long after the first byte of 20 MB was written, whatever it is doing then."""
    root = tmp_path / "line3"
    deploy(bundles.paths["a"], root, open_engine=open_fake)

    def slow(payload: Any, where: Path) -> Any:
        time.sleep(0.2)
        return open_fake(payload, where)

    child = os.fork()
    if child == 0:
        try:
            deploy(bundles.paths["large"], root, open_engine=slow)
        finally:
            os._exit(0)
    deadline = time.monotonic() + 60
    while not list((root / "releases").glob(".staged-*/.*/*")) and time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            pytest.fail("it ended before it could be killed")
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    old, new = bundles.choice("a"), bundles.choice("large")
    assert pair_of(root) in [(old, None), (new, old)]
    deploy(bundles.paths["large"], root, open_engine=open_fake)
    assert pair_of(root) == (new, old)
    assert names_in(root) == names_of((new, old))
