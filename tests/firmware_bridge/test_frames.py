"""Frames of the serial link: nothing wrong gets through, and what is right does, whatever went before."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import UsageError
from edge_ad.firmware_bridge.frames import MAX_PAYLOAD_BYTES, Decoder, Frame, FrameType, encode

FRAMES = st.builds(Frame, st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=600))


def test_the_bytes_on_the_line_never_change() -> None:
    """Boards decode these: header 01 40 34 12 02 00, payload 48 00, CRC-32, stuffed."""
    assert (
        encode(Frame(FrameType.EVENT, 0x1234, b"H\x00")).hex(" ")
        == "06 01 40 34 12 02 02 48 05 51 26 e1 fa 00"
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAMES, max_size=5), st.integers(1, 70))
def test_frames_come_back_however_the_bytes_are_cut(frames: list[Frame], step: int) -> None:
    line = b"".join(encode(frame) for frame in frames)
    decoder = Decoder()
    got = [frame for i in range(0, len(line), step) for frame in decoder.feed(line[i : i + step])]
    assert got == frames and not decoder.rejected


@settings(max_examples=200, deadline=None)
@given(FRAMES, st.binary(max_size=300))
def test_a_frame_comes_through_after_any_noise(frame: Frame, noise: bytes) -> None:
    decoder = Decoder()
    assert decoder.feed(noise + b"\x00" + encode(frame))[-1] == frame


@settings(max_examples=300, deadline=None)
@given(FRAMES, FRAMES, st.data())
def test_a_corrupted_byte_costs_at_most_its_frame_and_never_gives_a_wrong_one(
    first: Frame, second: Frame, data: st.DataObject
) -> None:
    line = bytearray(encode(first))
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] ^= data.draw(st.integers(1, 255))
    decoder = Decoder()
    # A second delimiter, as senders put before a frame after silence, in case the first one was the byte hit.
    got = decoder.feed(bytes(line) + b"\x00" + encode(second))
    assert got in ([second], [first, second])  # the latter when the delimiter was moved, which harms nothing
    assert got[:-1] or decoder.rejected


@settings(max_examples=200, deadline=None)
@given(FRAMES, FRAMES, st.data())
def test_a_lost_byte_costs_at_most_its_frame(first: Frame, second: Frame, data: st.DataObject) -> None:
    line = bytearray(encode(first))
    del line[data.draw(st.integers(0, len(line) - 1))]
    got = Decoder().feed(bytes(line) + b"\x00" + encode(second))
    assert got in ([second], [first, second])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=6))
def test_noise_gives_no_frame_and_takes_no_memory(pieces: list[bytes]) -> None:
    decoder = Decoder(max_payload_bytes=64)
    for piece in pieces:
        assert decoder.feed(piece) == []
        assert len(decoder._pending) <= 75


def test_what_was_skipped_is_counted_by_cause() -> None:
    good = encode(Frame(1, 2, b"abc"))
    flipped = bytearray(good)
    flipped[-2] ^= 0x55
    newer = bytes.fromhex("0a 02 01 02") + b"\x00"
    decoder = Decoder(max_payload_bytes=16)
    decoder.feed(bytes(flipped) + newer + b"\x01\x00" + b"x" * 50 + b"\x00" + b"\x02x\x00")
    assert decoder.rejected == {"crc": 1, "cobs": 1, "length": 2, "oversize": 1}
    assert decoder.feed(good) == [Frame(1, 2, b"abc")]


def test_a_frame_of_another_version_is_refused_though_its_checksum_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("edge_ad.firmware_bridge.frames.VERSION", 2)
        newer = encode(Frame(1, 1, b""))
    decoder = Decoder()
    assert decoder.feed(newer) == [] and decoder.rejected == {"version": 1}


def test_the_longest_payload_passes_and_one_more_byte_is_refused() -> None:
    whole = Frame(7, 1, b"\x01" * MAX_PAYLOAD_BYTES)
    assert Decoder().feed(encode(whole)) == [whole]
    with pytest.raises(UsageError, match="at most 4096 bytes"):
        encode(Frame(7, 1, b"\x00" * (MAX_PAYLOAD_BYTES + 1)))


@pytest.mark.parametrize("frame", [Frame(256, 0, b""), Frame(0, 65536, b""), Frame(-1, 0, b"")])
def test_a_field_out_of_range_is_refused(frame: Frame) -> None:
    with pytest.raises(UsageError):
        encode(frame)
