"""Requests and their answers over a serial line: stop-and-wait, retries, and what comes unasked kept apart."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import serial

from edge_ad.errors import BoardError, LinkError, RestartError
from edge_ad.firmware_bridge.frames import DELIMITER, SEQ_MODULUS, Decoder, Frame, encode

HELLO, BOOT = 0x01, 0x42
ANSWER, UNASKED = 0x80, 0x40
FIRST_WAIT_S = 0.5  # for an answer, before the request is sent again; doubled each time
LONGEST_WAIT_S = 4.0
HELLO_WAIT_S = 0.25  # its answer is short, and a board that is starting has to be asked often

REFUSALS = {
    1: "does not know this request",
    2: "cannot take these arguments",
    3: "has no live model",
    4: "has nothing to commit or to go back to",
    5: "has no slot that long",
    6: "refuses the model image",
    7: "computes other outputs than its golden vectors hold",
    8: "cannot write its flash",
    9: "has no sensor",
    10: "has a model that does not judge",
    11: "may not judge by that threshold",
    12: "does not watch",
    13: "watches by its sensor",
}


class Exchange:
    """One request at a time on an open port. unasked: called with each frame that is no answer (events, logs)."""

    def __init__(
        self, port: Any, *, where: str, unasked: Callable[[Frame], None] | None = None,
        first_wait_s: float = FIRST_WAIT_S,
    ):  # fmt: skip
        self._port = port
        self._where = where
        self._unasked = unasked or (lambda frame: None)
        self._first_wait_s = first_wait_s
        self._decoder = Decoder()
        self._waiting: list[Frame] = []
        # Begun anywhere, so that late answers to a program that spoke before us do not pass for ours.
        self._seq = secrets.randbelow(SEQ_MODULUS)
        self.repeated = 0  # requests sent more than once, each time

    def request(self, kind: int, payload: bytes = b"", *, deadline_s: float) -> bytes:
        """The answer's payload behind its status.

        Raises LinkError when none comes within `deadline_s`, RestartError when the board restarts meanwhile (not
        for a HELLO), BoardError for a status other than 0.
        """
        self._seq = (self._seq + 1) % SEQ_MODULUS
        raw = DELIMITER + encode(Frame(kind, self._seq, payload))  # the zero ends what a fault left half sent
        deadline = time.monotonic() + deadline_s
        wait_s, sent = min(self._first_wait_s, HELLO_WAIT_S) if kind == HELLO else self._first_wait_s, 0
        while time.monotonic() < deadline:
            self._write(raw)
            sent += 1
            answer = self._answer(kind, min(time.monotonic() + wait_s, deadline))
            if answer is not None:
                self.repeated += sent - 1
                if kind == HELLO and sent > 1:
                    self._drain(sent - 1)
                return self._accepted(kind, answer)
            if kind != HELLO:  # a board that is starting is not busy: it is asked again and again
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        raise LinkError(
            f"the board does not answer within {deadline_s:g} s (request 0x{kind:02X}, sent {sent} times)",
            where=self._where,
            hint="check the cable, the baud rate and that the firmware is on the board",
        )

    def listen(self, seconds: float) -> None:
        """Take what comes unasked for so long."""
        deadline = time.monotonic() + seconds
        while (frame := self._next(deadline)) is not None:
            if frame.type < ANSWER:
                self._unasked(frame)

    def tell(self, frame: Frame) -> None:
        """Send a frame that has no answer."""
        self._write(DELIMITER + encode(frame))

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def _answer(self, kind: int, deadline: float) -> Frame | None:
        while (frame := self._next(deadline)) is not None:
            if frame.type == kind + ANSWER and frame.seq == self._seq and frame.payload:
                return frame
            if UNASKED <= frame.type < ANSWER:
                self._unasked(frame)
                if frame.type == BOOT and kind != HELLO:
                    raise RestartError(
                        "the board restarted", where=self._where, hint="edge-ad inspect --port tells why"
                    )
        return None

    def _drain(self, answers: int) -> None:
        """Wait for the answers to a HELLO's repetitions: one that lags would make the board forget a later answer."""
        deadline = time.monotonic() + 2 * min(self._first_wait_s, HELLO_WAIT_S)
        while answers and (frame := self._next(deadline)) is not None:
            answers -= frame.type == HELLO + ANSWER and frame.seq == self._seq

    def _accepted(self, kind: int, answer: Frame) -> bytes:
        status, rest = answer.payload[0], answer.payload[1:]
        if status:
            raise BoardError(
                f"the board {REFUSALS.get(status, f'refuses with status {status}')}", where=self._where,
                status=status, detail=rest, request=kind,
            )  # fmt: skip
        return rest

    def _next(self, deadline: float) -> Frame | None:
        """The next whole frame, None when none comes before `deadline`."""
        while not self._waiting:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            try:
                self._port.timeout = remaining
                data = self._port.read(max(1, self._port.in_waiting))
            except (serial.SerialException, OSError) as error:
                raise self._cut(error) from error
            self._waiting = self._decoder.feed(data)
        return self._waiting.pop(0)

    def _write(self, raw: bytes) -> None:
        try:
            self._port.write(raw)
        except (serial.SerialException, OSError) as error:
            raise self._cut(error) from error

    def _cut(self, error: Exception) -> LinkError:
        return LinkError(
            f"the line to the board was cut ({error})", where=self._where, hint="check cable and power"
        )
