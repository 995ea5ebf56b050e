"""Many inferences: each right, none lost, memory and error counters where they were at the beginning."""

from __future__ import annotations

import time
from typing import Any

from edge_ad.firmware_bridge.client import Status
from edge_ad.firmware_bridge.port_spec import random_inputs
from edge_ad.rig.checks.base import Context
from edge_ad.rig.checks.reference import host_reference
from edge_ad.rig.devices.board import BoardDevice
from edge_ad.rig.outcome import Outcome

_SAMPLES = 50  # of memory and speed, over the run


def check(context: Context) -> Outcome:
    """Answers are held to the host's, or without a payload that it runs, to the board's own first ones. Frames are
    counted by the board: as many requests as were sent, one inference for each that was asked for."""
    board, settings = context.board, context.settings
    board.ready(context.bundle)
    ports = board.ports(context.live)
    inputs = random_inputs(ports.input, settings.inputs, settings.seed)
    own = [board.infer_raw(values, ports) for values in inputs]
    with host_reference(board, context.live) as reference:
        wanted = own if reference is None else [reference.outputs(values) for values in inputs]
    begun = board.client.hello().boots
    # What one inference takes is counted by one: frames depend on the board's size of them.
    first = board.client.status()
    board.infer_raw(inputs[0], ports)
    before = board.client.status()
    frames = before.requests - first.requests - 1  # less the status itself
    repeated, wrong, asked = board.client.repeated, 0, 0
    seconds: list[float] = []
    stack: list[int] = []
    start, every = time.monotonic(), max(1, settings.inferences // _SAMPLES)
    for number in range(settings.inferences):
        wrong += board.infer_raw(inputs[number % len(inputs)], ports) != wanted[number % len(inputs)]
        if (number + 1) % every == 0:
            asked += 1
            stack.append(board.client.status().stack_used)
            seconds.append(time.monotonic() - start)
    after = board.client.status()
    figures: dict[str, Any] = {
        "inferences": settings.inferences, "carried_out": after.inferences - before.inferences, "wrong": wrong,
        "frames": after.requests - before.requests, "frames_sent": settings.inferences * frames + asked + 1,
        "repeated": board.client.repeated - repeated, "rejected_frames": after.rejected_frames - before.rejected_frames,
        "inferences_a_second": settings.inferences / max(1e-9, time.monotonic() - start),
        "stack_bytes": stack, "elapsed_s": seconds,
    }  # fmt: skip
    faults = _faults(figures, before, after, board, begun)
    if faults:
        return context.failed(
            "quality", f"after {settings.inferences:,} inferences: {'; '.join(faults)}", **figures
        )
    told = (
        f"{settings.inferences:,} inferences, {figures['frames']:,} frames, none lost, repeated or rejected"
    )
    return context.passed(told, **figures)


def _faults(
    figures: dict[str, Any], before: Status, after: Status, board: BoardDevice, begun: int
) -> list[str]:
    """What is not as it should be, in clauses."""
    found = []
    if board.client.hello().boots != begun:
        found.append("the board restarted")
    if figures["wrong"]:
        found.append(f"{figures['wrong']} answers were wrong")
    if figures["carried_out"] != figures["inferences"]:
        found.append(f"{figures['carried_out']} were carried out")
    if figures["frames"] != figures["frames_sent"]:
        found.append(f"{figures['frames_sent']} frames were sent, the board counted {figures['frames']}")
    for name in ("repeated", "rejected_frames"):
        if figures[name]:
            found.append(f"{figures[name]} {name.replace('_', ' ')}")
    for name in ("static_bytes", "arena_used", "stack_used"):
        if getattr(after, name) != getattr(before, name):
            found.append(f"{name} went from {getattr(before, name)} to {getattr(after, name)}")
    if (fault := board.client.fault()) is not None:
        found.append(f"fault {fault.kind} at 0x{fault.pc:08x}")
    return found
