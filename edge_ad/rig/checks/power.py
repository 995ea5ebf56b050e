"""Power cuts during a flash: afterwards the old model or the new one is live, whole, and the flash can be finished."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import dataclass

from edge_ad.errors import EdgeAdError, LinkError
from edge_ad.firmware_bridge.flasher import flash_image, is_live, read_header
from edge_ad.firmware_bridge.image_steps import golden_vectors, without_golden
from edge_ad.rig.checks.base import Context, NotCheckedError
from edge_ad.rig.devices.board import BoardDevice
from edge_ad.rig.outcome import Outcome

_COMMIT_S = (
    0.2  # within which the power goes after the last byte: while the board checks, proves and switches
)


@dataclass
class _Cut:
    """A power cut that is still to come. place: share of the upload, 1 for the commit; delay_s: after it."""

    board: BoardDevice
    place: float
    delay_s: float
    error: EdgeAdError | None = None
    thread: threading.Thread | None = None

    def progress(self, done: int, total: int) -> None:
        """Called with bytes uploaded and in all."""
        if self.thread is not None or done < min(self.place, 1.0) * total:
            return
        self.thread = threading.Thread(target=self._cut)
        self.thread.start()
        if self.place < 1:
            self.thread.join()

    def _cut(self) -> None:
        time.sleep(self.delay_s)
        try:
            self.board.power_cut()
        except EdgeAdError as error:
            self.error = error

    def finish(self) -> None:
        """Wait for it. Raises what the switch did."""
        if self.thread is None:
            self.progress(1, 1)
        assert self.thread is not None
        self.thread.join()
        if self.error is not None:
            raise self.error


def check(context: Context) -> Outcome:
    """Raises NotCheckedError for a device without a switch, or that may not be flashed."""
    board, settings = context.board, context.settings
    if not board.has_power_switch:
        raise NotCheckedError("its power cannot be cut: it has no table 'power'")
    if not board.may_flash(context.bundle):
        raise NotCheckedError("bundles may not be put on it")
    board.ready(context.bundle)
    new = board.image(context.live)
    old = _other(context, board, new)
    rng = random.Random(settings.seed)
    places = settings.at or [1.0, *(rng.random() for _ in range(settings.cuts))][: settings.cuts]
    found: list[str] = []
    for place in places:
        delay_s = rng.uniform(0, _COMMIT_S) if place >= 1 else 0.0
        told = _one(board, old, new, _Cut(board, place, delay_s))
        if told not in ("old", "new"):
            board.ready(context.bundle)
            told = f"power cut at {place:.0%} of a flash: {told}"
            return context.failed("quality", told, cuts=len(found) + 1, places=places)
        found.append(told)
    board.ready(context.bundle)
    counts = {name: found.count(name) for name in ("old", "new")}
    told = (
        f"{len(places)} power cuts: the old model was live {counts['old']} times, the new one {counts['new']}"
    )
    return context.passed(told, cuts=len(places), places=places, **counts)


def _one(board: BoardDevice, old: bytes, new: bytes, cut: _Cut) -> str:
    """Which model is live after a power cut, `old` or `new`, or in a clause what is wrong with it."""
    flash_image(board.client, old)
    with contextlib.suppress(LinkError):
        flash_image(board.client, new, progress=cut.progress)
    cut.finish()
    hello = board.power_on()
    live = [name for name, image in (("old", old), ("new", new)) if is_live(hello, read_header(image))]
    if not live:
        return (
            "no model is live"
            if hello.live_slot is None
            else f"image {hello.live_crc:08x} is live, neither of both"
        )
    # The old one has none where it is the new one without them.
    for inputs, outputs in golden_vectors(old if live[0] == "old" else new) or golden_vectors(new):
        for index, values in enumerate(inputs):
            board.client.set_input(index, values)
        board.client.run()
        if [board.client.output(i, len(wanted)) for i, wanted in enumerate(outputs)] != outputs:
            return f"the {live[0]} model is live and computes other outputs than its golden vectors hold"
    flash_image(board.client, new)
    return live[0]


def _other(context: Context, board: BoardDevice, new: bytes) -> bytes:
    """A model to be live before: that of another bundle of the rig, else the same without its golden vectors."""
    for table in context.rig.bundles:
        if table.name != context.bundle.name:
            with contextlib.suppress(EdgeAdError):
                other = board.image(board.bundle(table))
                if read_header(other) != read_header(new):
                    return other
    return without_golden(new)
