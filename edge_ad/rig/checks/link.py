"""A line with faults: every answer is still right, and every inference is carried out once."""

from __future__ import annotations

from dataclasses import asdict

from edge_ad.errors import LinkError
from edge_ad.firmware_bridge.faults import Faults, FaultyPort
from edge_ad.firmware_bridge.port_spec import random_inputs
from edge_ad.rig.checks.base import Context
from edge_ad.rig.outcome import Outcome


def check(context: Context) -> Outcome:
    """The same inferences over the clean line and over the one with faults."""
    board, settings = context.board, context.settings
    board.ready(context.bundle)
    ports = board.ports(context.live)
    inputs = random_inputs(ports.input, min(settings.inferences, 16), settings.seed)
    wanted = [board.infer_raw(values, ports) for values in inputs]
    before, begun = board.client.status(), board.client.hello().boots
    faults = Faults(settings.drop, settings.flip, settings.delay, settings.delay_s, settings.seed)
    made: list[FaultyPort] = []

    def wrap(port: object) -> FaultyPort:
        made.append(FaultyPort(port, faults))
        return made[0]

    wrong, done = 0, 0
    try:
        with board.over(wrap):
            for number in range(settings.inferences):
                wrong += board.infer_raw(inputs[number % len(inputs)], ports) != wanted[number % len(inputs)]
                done += 1
            repeated = board.client.repeated
    except LinkError as error:
        figures = asdict(made[0].injected) if made else {}
        return context.failed("quality", f"after {done} inferences: {error.what}", inferences=done, **figures)
    after, boots = board.client.status(), board.client.hello().boots
    carried = after.inferences - before.inferences
    figures = {
        **asdict(made[0].injected), "inferences": done, "wrong": wrong, "carried_out": carried, "repeated": repeated,
        "rejected_frames": after.rejected_frames - before.rejected_frames,
    }  # fmt: skip
    if boots != begun:
        return context.failed("quality", "the board restarted", **figures)
    if wrong:
        return context.failed("quality", f"{wrong} of {done} answers were wrong", **figures)
    if carried != done:
        return context.failed(
            "quality", f"{done} inferences were asked for, {carried} carried out", **figures
        )
    told = (
        f"{done} inferences right, each carried out once; of {made[0].injected.carried:,} bytes "
        f"{made[0].injected.dropped} were lost and {made[0].injected.flipped} changed, {repeated} requests repeated"
    )
    return context.passed(told, **figures)
