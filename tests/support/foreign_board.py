"""A foreign board that speaks MLPerf Tiny's text on a pseudo-terminal, after the dialect's description; with faults.

Its network adds up the bytes of its input, and halves the sum: two outputs, sum / 2 and -sum / 2. An inference takes
1500 us of its timer, an unsigned 32-bit integer that is about to wrap.
"""

from __future__ import annotations

import os
import pty
import select
import termios
import threading
import time
import tty

INFERENCE_US = 1500
FAULTS = (
    "none",
    "silent",
    "hangs",
    "late",
    "noise",
    "refuses",
    "one lap",
    "words",
    "no done",
    "hangs up",
    "endless",
)


class ForeignBoard:
    """Serves `path` until `close`; a context manager. heard: commands so far.

    fault: "silent" says nothing; "hangs" is silent from `infer` on; "late" answers the first `name` after its host has
    given up, twice; "noise" has bytes before it starts, and prints no printable text; "refuses" answers `infer` with
    e-[…]; "one lap" leaves out a time; "words" gives results that are no numbers; "no done" never says that a load is
    done; "hangs up" closes its line at `infer`; "endless" never ends a line.
    """

    def __init__(self, fault: str = "none", model: str = "kws01"):
        assert fault in FAULTS
        self.heard: list[str] = []
        self._fault, self._model = fault, model
        self._timer = (1 << 32) - 1000
        self._expected, self._input = 0, bytearray()
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs, termios.TCSANOW)
        self.path = os.ttyname(self._theirs)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        if fault == "noise":
            os.write(self._ours, b"\xff\xfe\r\nm-init-done\r\nm-ready\r\nm-")
        self._thread.start()

    def __enter__(self) -> ForeignBoard:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join(5)
        for handle in {self._ours, self._theirs, self._stop_read, self._stop_write} - {-1}:
            os.close(handle)

    def _serve(self) -> None:
        pending = b""
        while True:
            ready, _, _ = select.select([self._ours, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            *whole, pending = (pending + os.read(self._ours, 4096)).split(b"%")
            for command in whole:
                self.heard.append(command.decode())
                if not self._answer(command.decode().split()):
                    return

    def _say(self, *lines: str) -> None:
        os.write(self._ours, "".join(f"{line}\r\n" for line in lines).encode())

    def _answer(self, words: list[str]) -> bool:
        if self._fault == "silent" or (self._fault == "hangs" and words[0] == "infer"):
            return True
        if self._fault == "endless":
            os.write(self._ours, b"m" * 1000)
            return True
        if self._fault == "late" and self.heard == ["name"]:
            time.sleep(2.3)
        if words[0] == "infer" and self._fault == "hangs up":
            os.close(self._ours)
            os.close(self._theirs)
            self._ours = self._theirs = -1
            return False
        self._say(*self._lines(words), "m-ready")
        return True

    def _lines(self, words: list[str]) -> list[str]:
        match words:
            case ["name"]:
                return ["m-name-dut-[Foreign Co.]"]
            case ["profile"]:
                return ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", f"m-model-[{self._model}]"]
            case ["timestamp"]:
                return [self._lap()]
            case ["db", "load", size]:
                self._expected, self._input = int(size), bytearray()
                return [f"m-[Expecting {size} bytes]"]
            case ["db", digits]:
                self._input += bytes.fromhex(digits)
                done = len(self._input) == self._expected and self._fault != "no done"
                return ["m-load-done"] if done else []
            case ["infer", *_] if self._fault == "refuses":
                return ["e-[Inference is out of order]"]
            case ["infer", count, warm_up]:
                self._timer += int(warm_up) * INFERENCE_US
                begin = self._lap()
                self._timer += int(count) * INFERENCE_US
                laps = [begin] if self._fault == "one lap" else [begin, self._lap()]
                head = [f"m-warmup-start-{warm_up}", "m-warmup-done", f"m-infer-start-{count}"]
                return [*head, *laps, "m-infer-done", self._results()]
            case ["results"]:
                return [self._results()]
        return [f"e-[Unknown command: {words[0]}]"]

    def _lap(self) -> str:
        return f"m-lap-us-{self._timer % (1 << 32)}"

    def _results(self) -> str:
        half = sum(self._input) / 2
        return "m-results-[up,down]" if self._fault == "words" else f"m-results-[{half:0.3f},{-half:0.3f}]"
