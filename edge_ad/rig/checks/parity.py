"""A device's outputs are the host's: to the bit on boards, within the bundle's tolerance elsewhere.

Where a board differs, the first operator that does is found by comparing its tensors with the reference's one by one.
"""

from __future__ import annotations

from edge_ad.errors import BoardError, ParityError
from edge_ad.firmware_bridge.flasher import flash_image, roll_back
from edge_ad.firmware_bridge.image_steps import Step, golden_vectors, steps, without_golden
from edge_ad.firmware_bridge.port_spec import random_inputs
from edge_ad.rig.checks.base import Context
from edge_ad.rig.checks.localise import Difference, first_difference, matched
from edge_ad.rig.checks.reference import Reference, emulated_reference, host_reference
from edge_ad.rig.devices.board import BoardDevice
from edge_ad.rig.outcome import Outcome

_NO_REFERENCE = (
    "the bundle has no payload for target posix, and no emulated board of this target can be started"
)


def check(context: Context) -> Outcome:
    """Golden vectors and scores, then whole outputs for random inputs. Raises EdgeAdError where that cannot be done."""
    board = context.device if isinstance(context.device, BoardDevice) else None
    try:
        context.device.ready(context.bundle)
    except ParityError as error:
        if board is None:
            raise
        return _refused(context, board, error)
    golden = context.device.prove(context.live)
    if golden.passed and board is None:
        told = (
            f"{golden.count} golden vectors agree (worst difference {golden.worst_error:.2g}, allowed "
            f"{golden.allowed:.2g}) on {golden.ran_on}"
        )
        figures = {
            "golden_vectors": golden.count,
            "worst_error": golden.worst_error,
            "allowed": golden.allowed,
        }
        return context.passed(told, **figures)
    if not golden.passed:
        told = (
            f"golden vector {golden.worst_vector}: '{golden.worst_output}' differs by {golden.worst_error:.3g}, "
            f"allowed is {golden.allowed:.3g}"
        )
        if board is None:
            return context.failed("parity", told, worst_error=golden.worst_error, allowed=golden.allowed)
        vectors = [inputs[0] for inputs, _ in golden_vectors(board.image(context.live))]
        return _failed(context, told, _localised(context, board, vectors))
    assert board is not None
    return _compared(context, board, golden.count)


def _compared(context: Context, board: BoardDevice, golden: int) -> Outcome:
    """Random inputs against the host."""
    ports = board.ports(context.live)
    inputs = random_inputs(ports.input, context.settings.inputs, context.settings.seed)
    with host_reference(board, context.live) as reference:
        if reference is None:
            told = f"{golden} golden vectors agree to the bit; others were not compared, no payload for target posix"
            return context.passed(told, golden_vectors=golden, inputs=0)
        for number, values in enumerate(inputs):
            got, wanted = board.infer_raw(values, ports), reference.outputs(values)
            if got == wanted:
                continue
            apart = [name for name, a, b in zip(ports.outputs, got, wanted, strict=True) if a != b]
            told = (
                f"random input {number} (seed {context.settings.seed}): '{apart[0]}' differs from the "
                f"{reference.name}'s"
            )
            return _failed(context, told, _localised(context, board, [values]))
    return context.passed(
        f"{golden} golden vectors and {len(inputs)} random inputs agree to the bit",
        golden_vectors=golden, inputs=len(inputs),
    )  # fmt: skip


def _refused(context: Context, board: BoardDevice, error: ParityError) -> Outcome:
    """A board that refused the image for its golden vectors is given it without them for the search."""
    image = board.image(context.live)
    before = board.client.hello()
    flash_image(board.client, without_golden(image))
    try:
        difference = _localised(context, board, [inputs[0] for inputs, _ in golden_vectors(image)])
    finally:
        if before.live_slot is not None:
            roll_back(board.client)
    told = error.what.partition(";")[0]
    after = (
        ""
        if before.live_slot is not None
        else "; it had no other model to go back to: flash one that it passes"
    )
    return _failed(context, told, difference, after)


def _localised(context: Context, board: BoardDevice, inputs: list[bytes]) -> Difference | str:
    """The first operator that differs on any of the inputs, or in a clause why it is not known. By the host, if its
    image has the same steps; else by an emulated board, if there is one."""
    ours = steps(board.image(context.live))
    for open_reference in (host_reference, emulated_reference):
        with open_reference(board, context.live) as reference:
            if reference is None or len(matched(ours, reference.steps)) < _comparable(ours):
                continue
            return _on_any(board, ours, reference, inputs)
    with host_reference(board, context.live) as reference:
        return _NO_REFERENCE if reference is None else _on_any(board, ours, reference, inputs)


def _on_any(
    board: BoardDevice, ours: list[Step], reference: Reference, inputs: list[bytes]
) -> Difference | str:
    for values in inputs:
        try:
            if (found := first_difference(board.client, ours, reference, values)) is not None:
                return found
        except BoardError as error:
            return f"the operator is not known: {error.what}"
    return "no single operator differs when it is run step by step: the fault does not repeat, or follows the line"


def _comparable(ours: list[Step]) -> int:
    return sum(step.output is not None for step in ours)


def _failed(context: Context, told: str, found: Difference | str, after: str = "") -> Outcome:
    if isinstance(found, str):
        return context.failed("parity", f"{told}; {found}{after}")
    return context.failed(
        "parity", f"{told}; {found}{after}", first_operator=found.operator, step=found.step, node=found.node,
        differing_bytes=found.differing, tensor_bytes=found.nbytes,
    )  # fmt: skip
