"""Microcontrollers and the POSIX board: fitted detectors and full-INT8 .tflite files, as the board engine's images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from edge_ad.bundle.manifest import Budget
from edge_ad.compile import board_payload
from edge_ad.compile.capture import Captured
from edge_ad.compile.cost import Cost
from edge_ad.compile.integer.image import Image
from edge_ad.compile.integer.lower import KernelSet
from edge_ad.compile.target import Calibration, Fit, ImageTarget, Lowered, Precision
from edge_ad.errors import TargetError
from edge_ad.firmware_bridge.boards import Board, of_target
from edge_ad.targets import litert


def _target(name: str, title: str, kernels: KernelSet) -> ImageTarget:
    boards = of_target(name)
    largest = max(boards, key=lambda board: board.arena_bytes)
    return ImageTarget(
        name=name,
        title=f"{title} ({', '.join(board.name for board in boards)})",
        engine="board",
        precisions=("int8",),
        scheme="full INT8, score in wide integers; .tflite files as they are; LiteRT's reference results to the bit",
        lower=partial(_lower, name),
        budget=partial(_budget, kernels, boards),
        golden_rtol={"int8": 0.0},
        golden_basis={"int8": "LiteRT's reference kernels, to the bit"},
        limits={"flash_bytes": largest.flash_bytes, "ram_bytes": largest.ram_bytes,
                "image_bytes": largest.slot_bytes, "arena_bytes": largest.arena_bytes},
        kernels=kernels,
        fit=lambda image, parameters: fit(image, parameters, boards),
    )  # fmt: skip


def fit(image: Image, parameters: int, boards: list[Board]) -> Fit:
    """What an image costs on the roomiest of `boards`, and which of them it fits.

    Flash is the image and the firmware's room; memory the arena and what the firmware keeps for itself, its stack
    among it.
    """
    overs = {board.name: over(image, board) for board in boards}
    best = min(boards, key=lambda board: (len(overs[board.name]), -board.arena_bytes))
    parts = {
        "image": len(image.content), "firmware": best.firmware_bytes,
        "arena": image.plan.size, "static_and_stack": best.reserved_bytes,
    }  # fmt: skip
    budget = Budget(
        flash_bytes=parts["image"] + parts["firmware"],
        ram_bytes=parts["arena"] + parts["static_and_stack"],
        macs=image.macs,
        parameters=parameters,
        limits={"flash_bytes": best.flash_bytes, "ram_bytes": best.ram_bytes, "image_bytes": best.slot_bytes,
                "arena_bytes": best.arena_bytes},
        fits=not overs[best.name],
        parts=parts,
    )  # fmt: skip
    notes = tuple(
        f"{'Fits' if not overs[b.name] else 'Does not fit'} {b.name}{'' if b.run else ' (built, never run)'}"
        f"{': ' + '; '.join(overs[b.name]) if overs[b.name] else ''}."
        for b in boards
    )
    return Fit(budget, tuple(f"{clause} on {best.name}" for clause in overs[best.name]), notes)


def over(image: Image, board: Board) -> list[str]:
    """One clause for each limit of the board that the image breaks."""
    clauses = []
    for what, needs, has in (
        ("the image is", len(image.content), board.slot_bytes),
        ("the arena is", image.plan.size, board.arena_bytes),
    ):
        if needs > has:
            clauses.append(f"{what} {needs - has} bytes over the {has} that there are")
    return clauses


def _lower(
    name: str, captured: Captured, precision: Precision, calibration: Calibration | None, keep: tuple[str, ...] = ()
) -> Lowered:  # fmt: skip
    """The detector in integers; its float form, which drift is measured against and nobody deploys, is LiteRT's."""
    if precision == "int8":
        return board_payload.lower(captured, calibration, name, keep)
    return replace(litert.lower_at(captured, "fp32", None, Cost(0, 0, 0)), engine=litert.TARGET.engine)


def _budget(kernels: KernelSet, boards: list[Board], lowered: Lowered) -> Budget:
    if lowered.board is None:
        raise TargetError("a microcontroller's budget is that of a model image")
    image = lowered.board.image(kernels)
    return fit(image, image.program.parameters, boards).budget


CORTEX_M4 = _target("cortex-m4", "Cortex-M4, DSP kernels", "dsp")
CORTEX_M7 = _target("cortex-m7", "Cortex-M7, DSP kernels", "dsp")
CORTEX_M55 = _target("cortex-m55", "Cortex-M55, MVE kernels", "mve")
POSIX = _target("posix", "A process on this machine, plain kernels", "plain")
