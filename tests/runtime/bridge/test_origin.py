"""What a bridge makes of what devices say: each record once, one name a stream, no event that stays open."""

from __future__ import annotations

import pytest
from board_events import NOW, event
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.errors import DataError
from edge_ad.runtime.bridge.origin import MAX_STREAMS, Origin, Registry


def origin(port: str = "/dev/ttyACM0", label: str | None = None, registry: Registry | None = None) -> Origin:
    return Origin(port, label, registry or Registry())


@given(st.lists(st.integers(1, 12), max_size=30))
def test_a_number_is_taken_once_and_holes_are_counted(seqs: list[int]) -> None:
    """An independent count: of a device that sends in order, what is not above the highest came before."""
    device = origin()
    highest, holes, taken = 0, 0, []
    for seq in seqs:
        taken += device.take(event(seq, number=1, kind="update"))
        if seq > highest:
            holes += seq - highest - 1 if highest else 0
            highest = seq
    records = [(each.kind, each.seq) for each in taken]
    assert records == sorted(set(records)) and len(records) == device.events
    assert device.missing == holes and device.events + device.duplicates == len(seqs)


def test_what_was_taken_is_known_after_a_restart_of_the_bridge_and_at_another_port() -> None:
    device = origin()
    device.take(event(1, kind="new"))
    device.take(event(2, kind="end"))
    again = origin()
    again.restore(device.as_dict())
    assert again.take(event(2, kind="end")) == [] and again.duplicates == 1
    assert origin("/dev/ttyACM1", registry=again.registry).take(event(2, kind="end")) == []
    assert len(again.take(event(3, kind="new", number=2))) == 1


def test_two_ports_with_the_same_stream_have_two_names_that_stay() -> None:
    registry = Registry()
    one, two = origin("/dev/ttyACM0", registry=registry), origin("/dev/ttyACM1", registry=registry)
    assert one.take(event(1, boot="x"))[0].stream == "pump"
    assert two.take(event(1, boot="y"))[0].stream == "ttyacm1.pump"
    later = Registry()
    one_again, two_again = origin("/dev/ttyACM0", registry=later), origin("/dev/ttyACM1", registry=later)
    one_again.restore(one.as_dict())
    two_again.restore(two.as_dict())
    assert two_again.take(event(2, boot="y"))[0].stream == "ttyacm1.pump"
    assert one_again.take(event(2, boot="x"))[0].stream == "pump"


def test_a_label_stands_before_every_name_and_long_names_stay_legal() -> None:
    assert origin(label="press1").take(event(1))[0].stream == "press1.pump"
    named = origin(label="a" * 60).take(event(1, stream="x" * 60))[0]
    assert len(named.stream) == 64 and type(named).model_validate_json(named.to_json()) == named


def test_an_event_that_the_device_forgot_is_ended() -> None:
    """A board that lost its memory begins another one, or says that it has started."""
    device = origin()
    device.take(event(1, kind="new", number=1))
    records = device.take(event(1, kind="new", number=1, boot="other"))
    assert [(each.kind, each.event_id[-3:]) for each in records] == [("end", "b-1"), ("new", "r-1")]
    (end,) = device.restarted(NOW)
    assert end.kind == "end" and end.event_id == records[1].event_id and device.restarted(NOW) == []


def test_a_device_that_makes_up_streams_is_refused() -> None:
    device = origin()
    for i in range(MAX_STREAMS):
        device.take(event(i + 1, stream=f"s{i}"))
    with pytest.raises(DataError, match="more than 64 streams"):
        device.take(event(1000, stream="one-more"))
