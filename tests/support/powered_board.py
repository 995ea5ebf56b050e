"""A POSIX board whose power is a command, as of a lab's switch: `powered_board.py FOLDER on|off`.

FOLDER holds `firmware.elf` and `flash.bin`; `tty` leads to its port while it is on, `pid` is its process.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(folder: Path, what: str) -> None:
    pid = folder / "pid"
    if pid.exists():
        os.killpg(int(pid.read_text()), signal.SIGKILL)
        pid.unlink()
        (folder / "tty").unlink()
    if what == "on":
        log = folder / "log"
        with log.open("wb") as output:
            board = subprocess.Popen(
                [folder / "firmware.elf", folder / "flash.bin"], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        pid.write_text(str(board.pid))
        while not (told := re.search(r"serial: (\S+)\n", log.read_text())):
            time.sleep(0.01)
        (folder / "tty").symlink_to(told[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
