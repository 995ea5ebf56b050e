"""A lowered network at work on the compiling machine."""

from __future__ import annotations

from pathlib import Path

from edge_ad.compile.target import Lowered, Target
from edge_ad.runtime.engines import open_model
from edge_ad.runtime.engines.base import Engine
from edge_ad.runtime.engines.image import ImageEngine


def open_lowered(target: Target, lowered: Lowered, folder: Path) -> Engine:
    """The device's engine on this machine, its files in the new folder `folder`."""
    folder.mkdir()
    for name, content in lowered.files.items():
        (folder / name).write_bytes(content)
    if lowered.board is not None:
        return ImageEngine(folder / lowered.model, **lowered.options, parts=lowered.board.parts)
    parts = {name: folder / file for name, file in lowered.parts.items()}
    engine = lowered.engine or target.engine
    return open_model(engine, folder / lowered.model, {**target.options, **lowered.options}, parts)
