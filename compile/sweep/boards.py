"""The image of a form on a board, as a compile would write it, and the instructions that an emulated board counts."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edge_ad.bundle.manifest import InputSpec, PayloadThresholds
from edge_ad.compile.board_payload import MODEL, prove
from edge_ad.compile.integer.detectors.form import SCORE, held_by_the_image
from edge_ad.compile.integer.image import Image
from edge_ad.compile.integer.monitor import monitor_of
from edge_ad.compile.sweep.reference import Scored
from edge_ad.compile.target import ImageTarget
from edge_ad.errors import FirmwareError, MissingDependencyError
from edge_ad.firmware_bridge.boards import Board, of_target
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.flasher import flash_image
from edge_ad.runtime.engines.board import BoardEngine


def board_image(target: ImageTarget, found: Scored, spec: InputSpec) -> Image:
    """The image with its head, golden vectors and what it judges by: as large as a compile's. spec: the detector's
    input. Raises ParityError unless the engine gives what the operators' definitions give."""
    form = found.form.lowered.board
    assert form is not None
    vectors = prove(found.form.lowered, found.inputs[:1])
    thresholds = PayloadThresholds(float_=None, compiled=found.threshold)
    monitor = monitor_of(thresholds, form.outputs[SCORE], form.taken or spec, form.input)
    return form.image(target.kernels, held_by_the_image(form, vectors), monitor, stripes=target.stripes)


def count_instructions(target: ImageTarget, image: Image, found: Scored) -> tuple[int | None, str]:
    """(instructions, note): of one inference, score and all, on the target's first emulated board; None, and why, where
    there is none or its tools are not installed. Raises ParityError when the board disagrees on golden vectors."""
    board = next((b for b in of_target(target.name) if b.machine is not None), None)
    if board is None:
        return None, f"Instructions are not counted: no board of {target.name} is emulated with a counter."
    try:
        counted = _counted(board, image, found)
    except (MissingDependencyError, FirmwareError) as error:
        return None, f"Instructions are not counted: {error}."
    if counted is None:
        return None, f"Instructions are not counted: {board.name} does not tell them."
    return counted, f"Instructions are counted by {board.address} under -icount; they are not a time."


def _counted(board: Board, image: Image, found: Scored) -> int | None:
    form = found.form.lowered.board
    assert form is not None
    with tempfile.TemporaryDirectory(prefix="edge-ad-") as folder:
        state, model = Path(folder) / "state", Path(folder) / MODEL
        model.write_bytes(image.content)
        with Connection(BoardAddress(board=board.address, state=state)) as connection:
            flash_image(connection.client, image.content)
        address = BoardAddress(board=board.address, state=state, count=True)
        engine = BoardEngine(model, address=address, **form.options())  # type: ignore[arg-type]
        try:
            engine.infer(found.inputs[0])
            told = engine.describe().details.get("instructions")
        finally:
            engine.close()
    return None if told is None else int(told)
