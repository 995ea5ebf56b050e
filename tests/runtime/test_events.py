"""The event schema as receivers meet it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_ad.errors import DataError, UsageError
from edge_ad.firmware_bridge.frames import Decoder, Frame, FrameType, encode
from edge_ad.runtime.events import Event, EventWriter, State, Where, parse_event, sample_name, topic_id

BUNDLE = "ab" * 32
TS = datetime(2025, 11, 23, 15, 4, 5, 678_901, tzinfo=timezone(timedelta(hours=1)))

EVENTS = st.builds(
    Event,
    event_id=st.text(min_size=1, max_size=99),
    kind=st.sampled_from(["new", "update", "end"]),
    verdict=st.sampled_from(["uncertain", "anomalous"]),
    band=st.none()
    | st.tuples(
        st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False)
    ),
    ts=st.datetimes(
        datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.sampled_from([timezone.utc, TS.tzinfo])
    ),
    stream=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    score=st.floats(allow_nan=False, allow_infinity=False),
    threshold=st.floats(allow_nan=False, allow_infinity=False),
    bundle=st.just(BUNDLE),
    seq=st.integers(1, 2**40),
    boot_id=st.text("0123456789abcdef", min_size=1, max_size=32),
    historical=st.booleans(),
    latency_us=st.integers(0, 2**40),
    sample=st.text(max_size=255),
    where=st.none()
    | st.builds(
        Where,
        box=st.tuples(st.integers(0, 9999), st.integers(0, 9999), st.integers(1, 9999), st.integers(1, 9999)),
        peak=st.tuples(st.integers(0, 9999), st.integers(0, 9999)),
    ),
)


def example(**changes: Any) -> Event:
    writer = EventWriter("line3", threshold=0.5, bundle=BUNDLE, boot_id="00ff")
    where = Where(box=(10, 20, 30, 40), peak=(25, 31))
    event = writer.write(
        "new", writer.event_id(1), ts=TS, score=0.75, latency_us=1234, sample="a/017.png", where=where
    )
    return event.model_copy(update={"seq": 1, **changes})


def test_the_json_is_the_documented_one_to_the_byte() -> None:
    assert example().to_json() == (
        '{"boot_id":"00ff","bundle":"'
        + BUNDLE
        + '","event_id":"line3-00ff-1","historical":false,"kind":"new",'
        '"latency_us":1234,"sample":"a/017.png","schema":"edge-ad/event/1","score":0.75,"seq":1,'
        '"stream":"line3","threshold":0.5,"ts":"2025-11-23T14:04:05.678Z","verdict":"anomalous",'
        '"where":{"box":[10,20,30,40],"peak":[25,31]}}'
    )
    assert "where" not in json.loads(example(where=None).to_json())
    uncertain = json.loads(example(verdict="uncertain", band=(0.25, 0.75)).to_json())
    assert (uncertain["verdict"], uncertain["band"]) == ("uncertain", [0.25, 0.75])


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_an_event_survives_its_json_and_stays_on_one_ascii_line(event: Event) -> None:
    text = event.to_json()
    assert text.isascii() and text.isprintable()
    assert parse_event(text) == event
    assert parse_event(text.encode()).to_json() == text


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_reading_anything_else_is_one_clear_error(raw: bytes | str) -> None:
    with pytest.raises(DataError, match="is no event"):
        parse_event(raw)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(json.loads(example().to_json()))),
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
)
def test_a_field_of_the_wrong_kind_never_passes_unseen(key: str, value: object) -> None:
    data = {**json.loads(example().to_json()), key: value}
    try:
        event = parse_event(json.dumps(data))
    except DataError as error:
        assert key in str(error) or key == "schema"
    else:
        assert parse_event(event.to_json()) == event


def test_a_missing_key_is_named() -> None:
    data = json.loads(example().to_json())
    del data["threshold"]
    with pytest.raises(DataError, match="log:3: event key 'threshold'"):
        parse_event(json.dumps(data), where="log:3")


def test_records_from_before_there_were_verdicts_still_read() -> None:
    data = json.loads(example().to_json())
    del data["verdict"]
    assert parse_event(json.dumps(data)) == example()
    old = {"ts": TS, "stream": "s", "score": 1, "threshold": 0.5, "bundle": BUNDLE}
    assert State.model_validate({**old, "anomalous": True}).verdict == "anomalous"
    assert State.model_validate({**old, "anomalous": False}).verdict == "normal"


def test_no_event_is_normal() -> None:
    with pytest.raises(DataError, match="event key 'verdict'"):
        parse_event(json.dumps({**json.loads(example().to_json()), "verdict": "normal"}))


@pytest.mark.parametrize(
    ("anomalous", "verdict"), [(True, "uncertain"), (True, "normal"), (False, "anomalous")]
)
def test_a_state_cannot_contradict_itself(anomalous: bool, verdict: str) -> None:
    """Receivers from before there was a third verdict read `anomalous`; the others `verdict`."""
    fields = {"ts": TS, "stream": "s", "score": 1, "threshold": 0.5, "bundle": BUNDLE}
    with pytest.raises(ValidationError, match="contradicts"):
        State.model_validate({**fields, "anomalous": anomalous, "verdict": verdict})


def test_the_longest_record_of_all_fits_into_a_frame_of_the_link() -> None:
    writer = EventWriter(
        "s" * 64, threshold=-1e-300 / 3, bundle=BUNDLE, boot_id="b" * 48, band=(-1e-300 / 7, 1e300 / 7)
    )
    where = Where(box=(10**9,) * 4, peak=(10**9,) * 2)
    event = writer.write(
        "update", writer.event_id(10**9), ts=TS, score=-1e-300 / 7, latency_us=10**12, sample="\U0001f600" * 300,
        where=where, verdict="uncertain",
    ).model_copy(update={"seq": 2**62, "historical": True})  # fmt: skip
    frame = encode(Frame(FrameType.EVENT, 1, event.to_json().encode()))
    (decoded,) = Decoder().feed(frame)
    assert parse_event(decoded.payload) == event


def test_fields_that_a_later_version_adds_are_ignored() -> None:
    assert parse_event(json.dumps({**json.loads(example().to_json()), "sector": 3})) == example()


@pytest.mark.parametrize(
    "bad", [{"score": float("nan")}, {"ts": datetime(2025, 1, 1)}, {"stream": "a/b"}, {"seq": 0}]
)
def test_an_event_that_breaks_the_schema_cannot_be_made(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Event.model_validate({**example().model_dump(by_alias=True), **bad})


def test_an_event_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        example().score = 3.0


def test_records_name_their_event_and_are_refused_without_the_number_that_the_outbox_gives() -> None:
    writer = EventWriter("s", threshold=0, bundle=BUNDLE)
    assert writer.event_id(1) != writer.event_id(2)
    assert writer.boot_id != EventWriter("s", threshold=0, bundle=BUNDLE).boot_id
    record = writer.write("new", writer.event_id(1), ts=TS, score=1, latency_us=0, sample="", where=None)
    with pytest.raises(DataError, match="'seq'"):
        parse_event(record.to_json())
    data = json.loads(record.to_json())
    del data["seq"]
    with pytest.raises(DataError, match="event key 'seq': Field required"):
        parse_event(json.dumps(data))


def test_a_file_name_that_is_no_unicode_or_too_long_still_makes_an_event() -> None:
    broken = b"part-\xff.png".decode("utf-8", "surrogateescape")
    assert sample_name(broken) == "part-?.png"
    long = sample_name("folder/" * 60 + "042.png")
    assert len(long) == 255 and long.startswith("…") and long.endswith("/042.png")
    assert example(sample=long).to_json().isascii()


@given(st.text(max_size=100))
def test_any_text_gives_a_usable_stream_name(text: str) -> None:
    Event.model_validate({**example().model_dump(by_alias=True), "stream": topic_id(text)})


def test_stream_names_stay_readable() -> None:
    assert topic_id("camera:/dev/video0") == "camera-dev-video0"
    assert topic_id("Linie 3") == "linie-3"


@pytest.mark.parametrize("name", ["", "a/b", "#", "+", "x" * 65, "a b", "a\n"])
def test_a_stream_name_that_does_not_fit_into_a_topic_is_refused_at_once(name: str) -> None:
    with pytest.raises(UsageError, match="is no stream name"):
        EventWriter(name, threshold=0, bundle=BUNDLE)
