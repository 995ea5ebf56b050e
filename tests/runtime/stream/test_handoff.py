"""Handing over between threads: in order, bounded, newest wins where it must, and closing always wakes both sides."""

from __future__ import annotations

import threading

import pytest

from edge_ad.runtime.stream.handoff import Handoff


def test_all_items_come_in_order_and_the_end_behind_them() -> None:
    handoff: Handoff[int] = Handoff(4)

    def give() -> None:
        for i in range(1000):
            assert handoff.put(i)
        handoff.end()

    thread = threading.Thread(target=give)
    thread.start()
    taken = []
    while (item := handoff.get()) is not None:
        taken.append(item)
    thread.join(30)
    assert taken == list(range(1000)) and handoff.dropped == 0


def test_a_full_queue_holds_the_giver_back_until_half_is_taken() -> None:
    handoff: Handoff[int] = Handoff(4)
    put = []

    def give() -> None:
        for i in range(1, 7):
            handoff.put(i)
            put.append(i)
        handoff.end()

    thread = threading.Thread(target=give)
    thread.start()
    thread.join(0.2)
    assert put == [1, 2, 3, 4]
    handoff.get()
    thread.join(0.1)
    assert put == [1, 2, 3, 4]
    handoff.get()
    thread.join(30)
    assert put == [1, 2, 3, 4, 5, 6]


def test_bytes_are_bounded_too_but_one_item_always_fits() -> None:
    handoff: Handoff[str] = Handoff(10, max_bytes=100, newest_wins=True)
    assert handoff.put("huge", 1000) and handoff.get() == "huge"
    for name in "abcd":
        handoff.put(name, 40)
    assert handoff.dropped == 2 and [handoff.get(), handoff.get()] == ["c", "d"]


def test_the_newest_wins_and_the_others_are_counted() -> None:
    handoff: Handoff[int] = Handoff(1, newest_wins=True)
    for i in range(5):
        handoff.put(i)
    assert handoff.get() == 4 and handoff.dropped == 4
    handoff.put(5)
    handoff.close()
    assert handoff.dropped == 5 and handoff.get() is None and not handoff.put(6)


def test_an_error_comes_behind_the_last_item() -> None:
    handoff: Handoff[int] = Handoff(4)
    handoff.put(1)
    handoff.end(OSError("gone"))
    assert handoff.get() == 1
    with pytest.raises(OSError, match="gone"):
        handoff.get()


@pytest.mark.parametrize("side", ["get", "put"])
def test_closing_wakes_who_waits(side: str) -> None:
    handoff: Handoff[int] = Handoff(1)
    results: list[object] = []
    if side == "put":
        handoff.put(1)
    thread = threading.Thread(
        target=lambda: results.append(handoff.get() if side == "get" else handoff.put(2))
    )
    thread.start()
    handoff.close()
    thread.join(30)
    assert results in ([None], [False])
