"""The parser of MLPerf Tiny's text: any bytes whatever, under the sanitizers, and always back to m-ready."""

from __future__ import annotations

import string
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judged_images import frame_image
from small_networks import dense
from text_board import TextBoard, build

from edge_ad.compile.integer.image import Image, build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.errors import SchemaError
from edge_ad.firmware_bridge.forms import read_forms
from edge_ad.firmware_bridge.frames import DELIMITER, Decoder, Frame, encode
from edge_ad.firmware_bridge.host_library import HostModel
from edge_ad.firmware_bridge.monitor import Monitor

N = 20
READY = b"m-ready\r\n"
PRINTABLE = string.ascii_letters + string.digits + string.punctuation.replace("%", "") + " "
HELLO = DELIMITER + encode(Frame(1, 7, b"\x01"))

words = st.sampled_from(
    [
        "name",
        "profile",
        "timestamp",
        "db",
        "load",
        "infer",
        "results",
        "20",
        "80",
        "0",
        "-1",
        "3",
        "00",
        "0f1",
        "zz",
        "help",
    ]
)
commands = st.one_of(
    st.lists(words, max_size=4).map(" ".join),
    st.text(PRINTABLE, max_size=100),
    st.binary(min_size=1, max_size=31).map(lambda b: f"db {b.hex()}"),
)
frames = st.builds(
    lambda kind, seq, payload: DELIMITER + encode(Frame(kind, seq, payload)),
    st.sampled_from([1, 2, 7, 8, 9, 0x0C, 0x20]), st.integers(0, 65535),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"\x01", b"\xff" * 4, b"name%infer 1 0%db load 20%"])),
)  # fmt: skip
spoiled = st.builds(
    lambda frame, place, change: bytes(b ^ change * (i == place % len(frame)) for i, b in enumerate(frame)),
    frames, st.integers(0, 100), st.integers(1, 255),
)  # fmt: skip
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def image() -> Image:
    return build_image(parse_tflite(dense((N, 12, 6))), "plain")


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory, image: Image) -> Iterator[tuple[TextBoard, TextBoard]]:
    """(text first, frames alone), with the same model."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "image").write_bytes(image.content)
    with (
        TextBoard(build("mlperf"), folder / "image") as text,
        TextBoard(build("link"), folder / "image") as link,
    ):
        yield text, link


def test_a_board_says_in_text_that_it_is_up(boards: tuple[TextBoard, TextBoard]) -> None:
    assert boards[0].start() == b"m-timestamp-mode-performance\r\nm-lap-us-0\r\nm-init-done\r\n" + READY


@given(st.lists(commands, max_size=12))
@many
def test_every_command_ends_in_one_ready(boards: tuple[TextBoard, TextBoard], asked: list[str]) -> None:
    board, _ = boards
    board.start()
    for command in asked:
        said = board.take(command.encode() + b"%")
        assert said.endswith(READY) and said.count(READY) == 1
        lines = said.split(b"\r\n")
        assert lines[-1] == b"" and all(line.startswith((b"m-", b"e-[")) for line in lines[:-1])
        if len(command.strip()) > 80:
            assert said == b"e-[a command has at most 80 characters]\r\n" + READY


@given(
    st.lists(
        st.one_of(st.binary(max_size=60), commands.map(str.encode), st.just(b"%"), st.just(b"\0")),
        max_size=30,
    )
)
@many
def test_any_bytes_leave_a_board_that_answers_both(
    boards: tuple[TextBoard, TextBoard], pieces: list[bytes]
) -> None:
    board, _ = boards
    board.start()
    for piece in pieces:
        board.take(piece)
    # Whatever was under way: two ends, and it listens again.
    text = board.take(b"%%name%")
    assert text == b"" or text.endswith(b"m-name-dut-[edge-ad fuzz]\r\n" + READY)
    decoder = Decoder()
    answered = [f for f in decoder.feed(board.take(HELLO)) if f.type == 0x81]
    assert len(answered) == 1 and answered[0].payload[0] == 0
    assert board.take(b"name%") == b""  # a line of frames from now on


@given(
    st.lists(
        st.one_of(frames, spoiled, st.sampled_from([b"name%", b"infer 1 0%", b"db load 20%"])), max_size=12
    )
)
@many
def test_a_line_of_frames_is_as_without_the_dialect(
    boards: tuple[TextBoard, TextBoard], pieces: list[bytes]
) -> None:
    text, link = boards
    for board in boards:
        board.start()
        board.take(HELLO)
    for piece in pieces:
        assert text.take(piece) == link.take(piece)


@given(frames)
@many
def test_the_first_frame_is_never_taken_for_text(boards: tuple[TextBoard, TextBoard], frame: bytes) -> None:
    for board in boards:
        board.start()
    for byte in frame:
        text, link = (board.take(bytes([byte])) for board in boards)
        assert text == link


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_results_are_those_of_the_engine(
    boards: tuple[TextBoard, TextBoard], image: Image, seed: int, runs: int, warm_up: int
) -> None:
    board, _ = boards
    board.start()
    (given_port,), (output,) = image.inputs, image.outputs
    values = np.random.default_rng(seed).integers(-128, 128, (1, N)).astype(np.int8)
    expected = HostModel(image.content, inputs=image.inputs, outputs=image.outputs).infer([values])[0].ravel()
    for raw in (
        values.tobytes(),
        given_port.dequantize(values).astype("<f4").tobytes(),
    ):  # integers, or float32
        assert (
            board.take(f"db load {len(raw)}%".encode())
            == f"m-[Expecting {len(raw)} bytes]\r\n".encode() + READY
        )
        said = b"".join(
            board.take(b"db " + raw[at : at + 31].hex().encode() + b"%") for at in range(0, len(raw), 31)
        )
        assert said.count(b"m-load-done\r\n") == 1
        lines = board.take(f"infer {runs} {warm_up}%".encode()).decode().split("\r\n")
        printed = np.array(lines[6].removeprefix("m-results-[").removesuffix("]").split(","), float)
        np.testing.assert_array_equal(np.rint(printed / output.scale) + output.zero_point, expected)
        assert board.take(b"results%").decode().split("\r\n")[0] == lines[6]


def test_an_image_tells_what_its_integers_stand_for(image: Image) -> None:
    forms = read_forms(image.content)
    for spec, told in zip((*image.inputs, *image.outputs), (*forms.inputs, *forms.outputs), strict=True):
        assert (told.size, told.dtype, told.zero_point) == (spec.size, spec.dtype, spec.zero_point)
        assert told.scale == pytest.approx(spec.scale, rel=1e-7)
    for broken in (b"", image.content[:40], image.content.replace(b"FORM", b"NONE")):
        with pytest.raises(SchemaError, match="does not tell what its integers stand for"):
            read_forms(broken)


def test_hostile_or_missing_forms_are_no_results(tmp_path: Path, image: Image) -> None:
    """The table behind the ports is checked: each of its words, broken, leaves a board that says so."""
    content = bytearray(image.content)
    at = struct.unpack_from("<I", content, 28)[0] + 2 * 8
    assert content[at : at + 4] == b"FORM"
    program = build("mlperf")
    for offset, word in ((0, 0), (4, 9), (12, 0), (12, 0x7FFFFFFF), (16, 9), (16, -41 & 0xFFFFFFFF), (20, 0)):
        broken = bytearray(content)
        struct.pack_into("<I", broken, at + offset, word)
        struct.pack_into("<I", broken, 12, zlib.crc32(broken[16:]))
        (tmp_path / "image").write_bytes(broken)
        with TextBoard(program, tmp_path / "image") as board:
            board.start()
            board.take(b"db load 20%db " + b"00" * N + b"%")
            said = board.take(b"infer 1 0%")
            assert b"e-[results: the model tells no scales" in said and said.endswith(READY)
            assert board.take(b"db load 80%").startswith(b"e-[db load")


def test_of_a_detector_the_score_alone_is_printed(tmp_path: Path) -> None:
    monitor = Monitor(threshold=100, lower=100, upper=100, lowest=0, highest=1000, scale=0.00125)
    (tmp_path / "image").write_bytes(frame_image("plain", monitor).content)
    with TextBoard(build("mlperf"), tmp_path / "image") as board:
        board.start()
        for score in (0, 1, -4000, 2**31 - 1, -(2**31)):
            board.take(b"db load 4%db " + (score & 0xFFFFFFFF).to_bytes(4, "little").hex().encode() + b"%")
            said = board.take(b"infer 1 0%").split(b"\r\n")[6]
            printed = float(said.removeprefix(b"m-results-[").removesuffix(b"]"))
            assert abs(printed - score * 0.00125) < 0.00125 / 50, said
