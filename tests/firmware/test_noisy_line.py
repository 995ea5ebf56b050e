"""The real firmware behind a line that loses, changes, repeats, reorders and delays bytes: what arrives is right."""

from __future__ import annotations

import os
import pty
import random
import select
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from small_networks import dense
from tflite_maker import reference

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.client import open_client
from edge_ad.firmware_bridge.emulator import Emulator
from edge_ad.firmware_bridge.flasher import flash_image

N = 32


def spoiled(block: bytes, rng: random.Random, kind: str) -> list[bytes]:
    """What becomes of a block of bytes on this line, one time in eight."""
    if rng.random() > 0.125:
        return [block]
    place = rng.randrange(len(block))
    if kind == "loss":
        return [block[:place] + block[place + 1 + rng.randrange(8) :]]
    if kind == "change":
        return [block[:place] + bytes([block[place] ^ 1 << rng.randrange(8)]) + block[place + 1 :]]
    if kind == "repetition":
        return [block, block]
    if kind == "order":
        return [block[place:], block[:place]]
    time.sleep(0.05)
    return [block]


@contextmanager
def noisy(url: str, kind: str, seed: int) -> Iterator[str]:
    """A pseudo-terminal that leads to the one at `url` over such a line, both ways."""
    far = os.open(url, os.O_RDWR | os.O_NOCTTY)
    near, end = pty.openpty()
    for terminal in (far, near, end):
        tty.setraw(terminal)
    stop, rng = threading.Event(), random.Random(seed)

    def carry() -> None:
        while not stop.is_set():
            for source in select.select([far, near], [], [], 0.05)[0]:
                target = near if source == far else far
                for piece in spoiled(os.read(source, 256), rng, kind):
                    os.write(target, piece)

    thread = threading.Thread(target=carry)
    thread.start()
    try:
        yield os.ttyname(end)
    finally:
        stop.set()
        thread.join()
        for terminal in (far, near, end):
            os.close(terminal)


@pytest.mark.parametrize("kind", ["loss", "change", "repetition", "order", "delay"])
def test_a_model_arrives_whole_and_answers_are_those_of_their_questions(kind: str, tmp_path: Path) -> None:
    content = dense((N, 24, 24, N))
    image = build_image(parse_tflite(content), "plain").content
    rng = np.random.default_rng(0)
    with (
        Emulator(find("posix"), state=tmp_path) as board,
        noisy(board.url, kind, 7) as url,
        open_client(url, first_wait_s=0.1) as client,
    ):
        client.hello()
        flash_image(client, image)
        before = client.status().inferences
        for _ in range(10):
            values = rng.integers(-128, 128, (1, N)).astype(np.int8)
            client.set_input(0, values.tobytes())
            client.run()
            got = np.frombuffer(client.output(0, N), np.int8)
            np.testing.assert_array_equal(got, reference(content, [values])[0].ravel())
        assert client.status().inferences == before + 10  # each was carried out once
        if kind in ("loss", "change"):
            assert client.status().rejected_frames > 0
