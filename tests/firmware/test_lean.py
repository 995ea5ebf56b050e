"""Firmware with the operators of one model: it runs that model as the full one does, and refuses others."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from boards_here import require_board
from hypothesis import given, settings
from hypothesis import strategies as st
from judged_images import frame_image
from small_networks import dense

from edge_ad.compile.integer.image import build_image
from edge_ad.compile.integer.read import parse_tflite
from edge_ad.compile.integer.records import RECORDS
from edge_ad.errors import BoardError, FirmwareError, MissingDependencyError
from edge_ad.firmware_bridge.boards import emulated, find
from edge_ad.firmware_bridge.build import build_firmware, flash_bytes
from edge_ad.firmware_bridge.connection import BoardAddress, Connection
from edge_ad.firmware_bridge.flasher import flash_image, is_live, read_header, roll_back
from edge_ad.firmware_bridge.monitor import Monitor
from edge_ad.firmware_bridge.parts import (
    Parts,
    all_parts,
    keep_parts,
    kept_parts,
    operator_names,
    parts_of_image,
)

SIZES = (40, 12, 40)
MONITOR = Monitor(threshold=1000, lower=1000, upper=1000, lowest=1, highest=10000, scale=0.5)


@pytest.fixture(params=["posix", "qemu:mps2-an386"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> BoardAddress:
    return BoardAddress(board=require_board(request.param), state=tmp_path / "boards")


def matrix_image(address: BoardAddress, seed: int) -> bytes:
    """Needs `fully_connected`, and no monitor."""
    return build_image(parse_tflite(dense(SIZES, seed)), emulated(str(address)).kernels).content


def judged_image(address: BoardAddress) -> bytes:
    """Needs `copy` and the monitor."""
    return frame_image(emulated(str(address)).kernels, MONITOR).content


def test_operators_are_numbered_as_the_compiler_numbers_them() -> None:
    assert operator_names() == tuple(RECORDS)
    assert Parts(frozenset(operator_names()[:3])).mask == 0b111


def test_a_board_refuses_what_is_not_built_whoever_sends_it(address: BoardAddress) -> None:
    """A host that looks does not begin; one that does not look is refused by the board, whose model stays live."""
    image, other = matrix_image(address, 1), judged_image(address)
    needs = parts_of_image(image)
    assert needs == Parts(frozenset({"fully_connected"}), judges=False)
    with Connection(address, parts=needs) as line:
        assert line.hello.parts == needs
        flash_image(line.client, image)
        status = line.client.status().requests
        with pytest.raises(BoardError) as refused:
            flash_image(line.client, other)
        assert line.client.status().requests == status + 2  # HELLO, and this one
        assert "was built without the operator copy and the monitor, by which a board judges" in str(
            refused.value
        )
        assert "--firmware lean" in str(refused.value)
        header = read_header(other)
        line.client.begin(header.length, header.crc)
        line.client.data(0, other)
        with pytest.raises(BoardError) as refused:
            line.client.commit()
        assert (refused.value.status, refused.value.detail) == (6, b"\x09")
        assert is_live(line.client.hello(), read_header(image))
        line.client.run()
    with (
        Connection(address, parts=Parts(frozenset({"copy"}), judges=False)) as line,
        pytest.raises(BoardError, match=r"without the monitor, by which a board judges, which"),
    ):
        flash_image(line.client, other)


def test_an_image_with_another_firmwares_operators_is_kept_for_that(address: BoardAddress) -> None:
    first, second = matrix_image(address, 1), judged_image(address)
    with Connection(address) as line:
        assert line.hello.parts == all_parts()
        flash_image(line.client, first)
    lean = parts_of_image(second)
    with Connection(address, parts=lean) as line:
        assert line.hello.live_slot is None  # its operators are not there
        assert flash_image(line.client, second).slot == 1
        with pytest.raises(BoardError, match="built without; put another firmware on it"):
            roll_back(line.client)
        assert is_live(line.client.hello(), read_header(second))
    with Connection(address) as line:  # nobody said that the lean one is to stay
        assert line.hello.parts == all_parts() and is_live(line.hello, read_header(second))
        assert is_live(roll_back(line.client), read_header(first))


def test_every_operator_that_is_not_there_is_refused_and_damage_is_damage(tmp_path: Path) -> None:
    """The first step's operator is changed to each number there may be, and the checksum made right."""
    address = BoardAddress(board=require_board("posix"), state=tmp_path)
    image = matrix_image(address, 1)
    (steps,) = struct.unpack_from("<I", image, 20)
    with Connection(address, parts=parts_of_image(image)) as line:
        for number in [*range(1, len(RECORDS) + 2), 63, 64, 65, 0xFFFF]:
            changed = bytearray(image)
            struct.pack_into("<H", changed, steps, number)
            struct.pack_into("<I", changed, 12, zlib.crc32(changed[16:]))
            with pytest.raises(BoardError) as refused:
                line.client.begin(len(changed), zlib.crc32(changed[16:]))
                for at in range(0, len(changed), line.client.data_bytes):
                    line.client.data(at, bytes(changed[at : at + line.client.data_bytes]))
                line.client.commit()
            assert refused.value.detail == (b"\x09" if number < len(RECORDS) else b"\x06"), number
        flash_image(line.client, image)


def test_without_a_compiler_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "make").write_text("#!/bin/sh\n")
    (tmp_path / "make").chmod(0o755)
    with pytest.raises(
        MissingDependencyError, match=r"of 'mps2-an386' needs arm-none-eabi-gcc; apt-get install"
    ):
        build_firmware(find("mps2-an386"), Parts(frozenset({"table"})))


def test_what_is_left_out_takes_no_flash(tmp_path: Path) -> None:
    board = find(require_board("qemu:mps2-an386").removeprefix("qemu:"))
    parts = (None, Parts(frozenset({"fully_connected"})), Parts(frozenset({"fully_connected"}), judges=False))
    full, judging, computing = (build_firmware(board, chosen) for chosen in parts)
    assert build_firmware(board, all_parts()) == full
    for elf in (full, judging, computing):
        listing = subprocess.run(["arm-none-eabi-size", str(elf)], capture_output=True, text=True, check=True)
        text, data = map(int, listing.stdout.splitlines()[1].split()[:2])
        assert flash_bytes(elf) == text + data
    assert flash_bytes(computing) < flash_bytes(judging) - 4000
    assert flash_bytes(judging) < flash_bytes(full) / 3
    symbols = subprocess.run(
        ["arm-none-eabi-nm", str(computing)], capture_output=True, text=True, check=True
    ).stdout
    kept = {line.split()[-1] for line in symbols.splitlines()}
    assert {f"edge_run_{name}" for name in RECORDS} & kept == {"edge_run_fully_connected"}
    with pytest.raises(FirmwareError, match="is no firmware of a microcontroller"):
        flash_bytes(Path(shutil.which("sh") or "/bin/sh"))


def test_what_a_board_has_is_written_down_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "firmware.json"
    assert kept_parts(file) is None
    lean = Parts(frozenset({"table", "softmax"}), judges=False)
    keep_parts(lean, file)
    assert kept_parts(file) == lean
    for text in (
        "",
        "[]",
        "{}",
        '{"operators": ["no such"], "judges": true}',
        '{"operators": [[]], "judges": 1}',
    ):
        file.write_text(text)
        with pytest.raises(FirmwareError, match="does not tell what the board's firmware holds"):
            kept_parts(file)
    keep_parts(all_parts(), file)
    assert kept_parts(file) is None and not file.exists()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(min_size=64, max_size=200), st.integers(0, 300), st.integers(0, 20))
def test_any_image_has_parts_or_is_refused(image: bytes, steps: int, count: int) -> None:
    image = image[:20] + struct.pack("<II", steps, count) + image[28:]
    try:
        parts = parts_of_image(image)
    except BoardError as error:
        assert str(error).isprintable()
    else:
        assert steps + 16 * count <= len(image) and len(parts.operators) <= count
