"""A flash ends with the new model live and read back, or with the old one as it was and one line that says why."""

from __future__ import annotations

import pytest
from fake_board import SLOT_BYTES, FakeBoard, Flash, Wire, image

from edge_ad.errors import BoardError, BudgetError, EdgeAdError, ParityError
from edge_ad.firmware_bridge.client import BoardClient, open_client
from edge_ad.firmware_bridge.flasher import flash_image, is_live, read_header, roll_back

FIRST, SECOND = image(b"GOOD", 3000, 1), image(b"GOOD", 4000, 2)


def client_of(board: FakeBoard) -> BoardClient:
    return open_client(board.path, first_wait_s=0.03)


def test_a_new_image_goes_live_and_the_first_can_come_back() -> None:
    with FakeBoard() as board, client_of(board) as client:
        seen: list[tuple[int, int]] = []
        first = flash_image(client, FIRST, progress=lambda done, total: seen.append((done, total)))
        assert (first.slot, first.already, first.resumed_at) == (0, False, 0)
        assert seen[0] == (0, 3000) and seen[-1] == (3000, 3000) and sorted(seen) == seen
        assert flash_image(client, SECOND).slot == 1
        assert flash_image(client, SECOND).already
        assert is_live(roll_back(client), read_header(FIRST))
        assert is_live(roll_back(client), read_header(SECOND))


def test_nothing_to_roll_back_to() -> None:
    with FakeBoard() as board, client_of(board) as client:
        with pytest.raises(BoardError, match="no earlier model to go back to"):
            roll_back(client)
        flash_image(client, FIRST)
        with pytest.raises(BoardError, match="no earlier model to go back to"):
            roll_back(client)


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        (b"BADI", BoardError, "the board refuses the model image: damaged"),
        (b"GOLD", ParityError, "other outputs than golden vector 3 holds; what was live before still is"),
    ],
)
def test_an_image_that_does_not_prove_itself_leaves_the_old_one_live(
    kind: bytes, error: type[EdgeAdError], text: str
) -> None:
    with FakeBoard() as board, client_of(board) as client:
        flash_image(client, FIRST)
        with pytest.raises(error, match=text):
            flash_image(client, image(kind, 500))
        assert is_live(client.hello(), read_header(FIRST))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ((4, b"\x02\x00"), BoardError, "for engine ABI 2, the board 'fake' has 1"),
        ((6, b"\x01\x00"), BoardError, "packed for the kernel set 'dsp', the board 'fake' has 'plain'"),
        ((16, b"\x01\x10\x00\x00"), BudgetError, "needs 1 bytes more memory than the arena of 'fake'"),
        ((8, b"\x00\x00\x00\x00"), BoardError, "has 3000 bytes, its header says 0"),
        ((0, b"ELF"), BoardError, "is no model image"),
    ],
)
def test_what_cannot_run_there_is_refused_before_anything_is_sent(
    change: tuple[int, bytes], error: type[EdgeAdError], text: str
) -> None:
    at, new = change
    with FakeBoard() as board, client_of(board) as client:
        with pytest.raises(error, match=text):
            flash_image(client, FIRST[:at] + new + FIRST[at + len(new) :])
        assert set(board.executed) <= {0x01}


def test_an_image_too_long_for_a_slot_says_by_how_much() -> None:
    with (
        FakeBoard() as board,
        client_of(board) as client,
        pytest.raises(BudgetError, match="is 100 bytes too long"),
    ):
        flash_image(client, image(b"GOOD", SLOT_BYTES + 100))


def test_an_upload_that_was_cut_off_goes_on_where_it_stopped() -> None:
    flash = Flash()
    with FakeBoard(flash=flash) as board, client_of(board) as client:
        header = read_header(FIRST)
        client.hello()
        client.begin(header.length, header.crc)
        client.data(0, FIRST[:100])
    with FakeBoard(flash=flash) as board, client_of(board) as client:
        assert flash_image(client, FIRST).resumed_at == 100


@pytest.mark.parametrize("cut_after", [2, 3, 4, 20, 34, 35, 36])
def test_a_power_cut_at_any_moment_of_a_flash(cut_after: int) -> None:
    """The first image stays live until the second is, whenever the board loses its power."""
    flash = Flash()
    with FakeBoard(flash=flash) as board, client_of(board) as client:
        flash_image(client, FIRST)
    with (
        FakeBoard(Wire(loss=0.05, seed=cut_after), flash, cut_after=cut_after) as board,
        client_of(board) as client,
    ):
        try:
            flash_image(client, SECOND)
        except EdgeAdError as error:
            assert str(error).isprintable()
            flash_image(client, SECOND)
        assert is_live(client.hello(), read_header(SECOND))
