"""Scores of a user's recorded data: as the host has them, in rank and size, and no more alarms than allowed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from edge_ad.bundle.manifest import Payload
from edge_ad.errors import EdgeAdError, SchemaError
from edge_ad.rig.checks.base import Context, NotCheckedError
from edge_ad.rig.outcome import Outcome
from edge_ad.rig.tables import ScoresCheck
from edge_ad.runtime.deployment import LiveBundle
from edge_ad.runtime.engines import open_engine, open_model
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.recorded import read_inputs, score_inputs


def check(context: Context) -> Outcome:
    """Raises NotCheckedError without recorded data, or where no payload of the bundle runs on this machine."""
    from edge_ad.metrics.ranking import rank_correlation

    settings = context.settings
    if context.bundle.data is None:
        raise NotCheckedError("the bundle has no 'data'")
    context.device.ready(context.bundle)
    live, payload = context.live, context.device.payload(context.live)
    inputs = read_inputs(context.rig.resolve(context.bundle.data), live.manifest.input_of(payload))
    inputs = inputs[: settings.inputs]
    threshold = payload.threshold(settings.threshold)
    with _on_host(live, payload, settings.reference) as (reference, engine):
        theirs = inputs if live.manifest.input_of(reference) == live.manifest.input_of(payload) else None
        if theirs is None:
            theirs = read_inputs(context.rig.resolve(context.bundle.data), live.manifest.input_of(reference))
        host = score_inputs(reference, engine, theirs[: settings.inputs]).astype(np.float64)
    device = context.device.scores(live, inputs).astype(np.float64)
    correlation = rank_correlation(host, device)  # refuses scores without a deviation
    shift = float((device - host).mean() / host.std(ddof=1))
    alarms = float((device > threshold).mean())
    figures = {
        "inputs": len(device), "reference": reference.target, "threshold": threshold, "rank_correlation": correlation,
        "mean_shift": shift, "alarms": alarms, "host_scores": host.tolist(), "device_scores": device.tolist(),
    }  # fmt: skip
    wrong = _wrong(correlation, shift, alarms, settings)
    told = (
        f"{len(device)} inputs against '{reference.target}': rank correlation {correlation:.4f}, "
        f"mean shift {shift:+.3f}, alarms {alarms:.2%}"
    )
    if wrong:
        return context.failed("quality", f"{'; '.join(wrong)} ({told})", **figures)
    return context.passed(told, **figures)


def _wrong(correlation: float, shift: float, alarms: float, settings: ScoresCheck) -> list[str]:
    found = []
    if correlation < settings.least_correlation:
        least = settings.least_correlation
        found.append(f"the rank correlation is {correlation:.4f}, at least {least:g} is asked for")
    if not abs(shift) <= settings.most_shift:
        most = settings.most_shift
        found.append(f"scores are shifted by {shift:+.3f} standard deviations, allowed is {most:g}")
    if settings.most_alarms is not None and alarms > settings.most_alarms:
        found.append(f"{alarms:.2%} of the inputs are alarms, allowed are {settings.most_alarms:.2%}")
    return found


@contextlib.contextmanager
def _on_host(live: LiveBundle, payload: Payload, target: str | None) -> Iterator[tuple[Payload, Engine]]:
    """A payload of the bundle that runs on this machine, and its engine: the one named, else the first of a Linux
    target, else the image with plain kernels. Raises NotCheckedError."""
    candidates = [live.manifest.payload(target)] if target else _ordered(live)
    reasons = []
    for candidate in candidates:
        try:
            engine = _open(candidate, live)
        except EdgeAdError as error:
            reasons.append(f"{candidate.target}: {error.what}")
            continue
        try:
            yield candidate, engine
        finally:
            engine.close()
        return
    raise NotCheckedError(
        f"no payload of the bundle runs on this machine to compare with ({'; '.join(reasons)})"
    )


def _ordered(live: LiveBundle) -> list[Payload]:
    return sorted(live.manifest.payloads, key=lambda payload: payload.engine == "board")


def _open(payload: Payload, live: LiveBundle) -> Engine:
    if payload.engine != "board":
        return open_engine(payload, live.folder)
    if payload.target != "posix":
        raise SchemaError("runs on a board only")
    return open_model("image", live.folder / payload.model, payload.options)
