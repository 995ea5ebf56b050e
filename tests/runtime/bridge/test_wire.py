"""What a bridge understands of a line, and that noise makes no events."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest
from board_events import NOW, event, framed
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.errors import DataError
from edge_ad.firmware_bridge.frames import Frame, FrameType, encode
from edge_ad.runtime.bridge.wire import Kind, Wire, read_event


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


@given(st.lists(st.integers(0, 10_000)), st.booleans())
def test_events_are_found_however_the_bytes_are_cut_behind_a_boot_banner(
    cuts: list[int], as_frames: bool
) -> None:
    sent = [event(seq) for seq in range(1, 6)]
    lines = b"".join(each.to_json().encode() + b"\n" for each in sent)
    banner = b"U-Boot 2024.01\r\nhello\r\n"
    data = banner + (b"\0" + framed(*sent) if as_frames else lines)
    wire = Wire()
    said = [item for piece in pieces(data, cuts) for item in wire.feed(piece)]
    assert [read_event(item.body, NOW) for item in said] == sent
    assert wire.format == ("link" if as_frames else "json") and wire.rejected == 0
    assert all(item.acknowledge == as_frames for item in said)


@pytest.mark.parametrize("per_million", [100, 1000, 10_000])
def test_a_line_that_loses_and_flips_bytes_yields_no_false_event(per_million: int) -> None:
    rng = random.Random(per_million)
    sent = {seq: event(seq) for seq in range(1, 2001)}
    wire = Wire("link")
    found = []
    for each in sent.values():
        noisy = bytearray()
        for byte in framed(each):
            luck = rng.randrange(1_000_000)
            if luck < per_million:
                if luck % 2:
                    noisy.append(byte ^ 1 << rng.randrange(8))
            else:
                noisy.append(byte)
        found += [read_event(item.body, NOW) for item in wire.feed(bytes(noisy))]
    assert found and all(sent[each.seq] == each for each in found)
    assert len(found) < len(sent) and 0 < wire.rejected <= 2 * (len(sent) - len(found))


@given(st.binary(max_size=3000))
def test_noise_is_no_event(noise: bytes) -> None:
    for form in ("auto", "link", "json"):
        wire = Wire(form)  # type: ignore[arg-type]
        assert [item for item in wire.feed(noise) if item.kind is Kind.EVENT] == []


def test_logs_and_starts_of_a_board_are_told_apart() -> None:
    wire = Wire()
    said = wire.feed(encode(Frame(FrameType.LOG, 0, b"low battery")) + encode(Frame(0x42, 1, b"")))
    assert [(item.kind, item.body) for item in said] == [(Kind.LOG, b"low battery"), (Kind.BOOT, b"")]


def test_an_event_without_a_time_is_of_when_it_came() -> None:
    data = json.loads(event().to_json())
    del data["ts"]
    assert read_event(json.dumps(data).encode(), NOW).ts == NOW


@pytest.mark.parametrize("wrong", [b"", b"{", b"[" * 4000, b'{"schema":"edge-ad/event/1"}', b"\xff"])
def test_what_is_no_event_is_a_data_error(wrong: bytes) -> None:
    with pytest.raises(DataError):
        read_event(wrong, NOW)
