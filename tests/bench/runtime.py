"""What the runtime costs beside the network: overhead of the pipeline, and samples a second without any network.

    python tests/bench/runtime.py

Ratios of medians, side by side and in turns in one run.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from kept_sink import Kept

from edge_ad.bundle.archive import open_bundle
from edge_ad.bundle.manifest import InputSpec, WindowSpec
from edge_ad.runtime.decision import Decision
from edge_ad.runtime.engines import open_engine
from edge_ad.runtime.localise import locator
from edge_ad.runtime.pipeline import run_stream
from edge_ad.runtime.preprocess import preprocess
from edge_ad.runtime.sample import Sample
from edge_ad.runtime.scorer import Scored, Scorer
from edge_ad.runtime.series.readers import Chunk
from edge_ad.runtime.series.standardise import standardise_spec
from edge_ad.runtime.series.windows import Windower

FRAMES, ROUNDS = 300, 7
SIZE_PX = 256
ROWS = 300_000
TS = datetime(2025, 11, 23, tzinfo=timezone.utc)
BUNDLE = "00" * 32


class Camera:
    """Frames from memory, each as soon as it is asked for; `live` as a camera, without the pace of one."""

    name = "camera"
    live = False
    acquired = dropped = unreadable = 0

    def __init__(self, frames: list[np.ndarray]) -> None:
        self.frames = frames

    def __iter__(self) -> Iterator[Sample]:
        for i, frame in enumerate(self.frames):
            yield Sample(frame, str(i), datetime.now(timezone.utc))

    def close(self) -> None:
        pass


class Windows:
    """Windows of a stream of rows that arrive a few at a time, as a sensor sends them."""

    name = "sensor"
    live = False
    acquired = dropped = unreadable = 0

    def __init__(self, rows: np.ndarray, window: WindowSpec, at_once: int) -> None:
        self.rows, self.window, self.at_once = rows, window, at_once

    def __iter__(self) -> Iterator[Sample]:
        windower = Windower(self.window)
        for begin in range(0, len(self.rows), self.at_once):
            rows = self.rows[begin : begin + self.at_once]
            stamps = None
            if self.window.rate_hz is not None:
                stamps = 1.7e9 + np.arange(begin, begin + len(rows)) / self.window.rate_hz
            for window in windower.push(Chunk(stamps, rows, None, begin + 1)):
                yield Sample(window.values, f"row#{window.row}", TS)

    def close(self) -> None:
        pass


def overhead(folder: Path) -> None:
    """EfficientAD `tiny` on one camera: the pipeline's time a frame against preprocessing, network and head alone."""
    from edge_ad import targets
    from edge_ad.compile.pipeline import compile_bundle
    from edge_ad.data.samples import make_parts
    from edge_ad.detectors.efficientad.config import PRESETS
    from edge_ad.detectors.efficientad.fit import fit

    make_parts(folder / "parts", 1, size=SIZE_PX, n_train=60, n_test_good=4, n_defective=4)
    fit(PRESETS["tiny"].model_copy(update={"steps": 5}), folder / "parts", folder / "model")
    bundle = folder / "part.edgead"
    compile_bundle(
        folder / "model",
        [targets.get("openvino-cpu")],
        folder / "parts",
        bundle,
        max_false_alarms=0.2,
        stage=lambda what, n: lambda: None,
    )
    with open_bundle(bundle) as opened:
        opened.extract(folder / "open")
        manifest = opened.manifest
    payload = manifest.payload()
    engine = open_engine(payload, folder / "open", threads=1)
    scorer = Scorer(engine, manifest.input, payload.head)
    rng = np.random.default_rng(0)
    shape = (SIZE_PX, SIZE_PX, 3)
    frames = [rng.integers(0, 256, shape, np.uint8) for _ in range(8)] * (FRAMES // 8)
    samples = [Sample(frame, str(i), TS) for i, frame in enumerate(frames)]
    where = locator(manifest.input, payload.head)
    bare, whole = [], []
    for _ in range(ROUNDS):
        bare.append(_timed(lambda: [scorer(sample) for sample in samples]))
        whole.append(
            _timed(
                lambda: run_stream(
                    Camera(frames), scorer, Decision(1e9), [Kept()], stream="s", bundle=BUNDLE, locate=where
                )
            )
        )
    (bare_cpu, bare_s), (whole_cpu, whole_s) = (
        (statistics.median(cpu for cpu, _ in times), statistics.median(s for _, s in times))
        for times in (bare, whole)
    )
    print(
        f"EfficientAD tiny, {SIZE_PX} px, 1 thread: bare {bare_s / len(frames) * 1e3:.2f} ms a frame; the pipeline "
        f"{100 * (whole_s / bare_s - 1):+.1f} % of time, {100 * (whole_cpu / bare_cpu - 1):+.1f} % of processor time"
    )
    engine.close()


def sensors() -> None:
    """Rows a second through windows, TSPulse's preprocessing and the decision, on one core, without a network."""
    for channels, length, hop, at_once in ((1, 512, 16, 32), (8, 512, 16, 32), (8, 512, 1, 32)):
        names = [f"c{i}" for i in range(channels)]
        window = WindowSpec(length=length, hop=hop, rate_hz=1000.0, channels=names)
        spec = InputSpec(
            modality="series", shape=(1, channels, length), dtype="float32", window=window,
            preprocess=standardise_spec([0.0] * channels, [1.0] * channels),
        )  # fmt: skip
        n = ROWS if hop > 1 else ROWS // 10
        rows = np.random.default_rng(0).normal(size=(n, channels)).astype(np.float32)

        def judge(sample: Sample, spec: InputSpec = spec) -> Scored:
            preprocess(spec.preprocess, sample.data)
            return Scored(0.5, None, 1)

        source = Windows(rows, window, at_once)
        cpu, seconds = _timed(
            lambda source=source, judge=judge: run_stream(  # type: ignore[misc]
                source, judge, Decision(1.0), [Kept()], stream="s", bundle=BUNDLE
            )
        )
        print(
            f"{channels} channels, windows of {length}, hop {hop}: {n / cpu:,.0f} rows a second of processor time "
            f"({n / seconds:,.0f} by the clock)"
        )


def _timed(call) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    cpu, begun = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - begun


if __name__ == "__main__":
    sensors()
    with tempfile.TemporaryDirectory() as temporary:
        overhead(Path(temporary))
