"""The real firmware behind a line that loses, changes, repeats, reorders and delays bytes: what arrives is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from noisy_line import noisy
from small_networks import dense
from tflite_maker import reference

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.firmware_bridge.boards import find
from edge_ad.firmware_bridge.client import open_client
from edge_ad.firmware_bridge.emulator import Emulator
from edge_ad.firmware_bridge.flasher import flash_image

N = 32


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
