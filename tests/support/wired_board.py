"""`wired_board.py FIRMWARE FOLDER on|off`: a POSIX board that is switched by commands, as a real one by a hub.

Its port is FOLDER/tty, and goes with its power."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

firmware, folder, word = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
port, number, log = folder / "tty", folder / "pid", folder / "log"
if word == "off":
    if number.exists():
        os.kill(int(number.read_text()), signal.SIGKILL)
        number.unlink()
    port.unlink(missing_ok=True)
else:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [firmware, str(folder / "flash.bin")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            start_new_session=True,
        )
    while not (found := re.search(rb"(/dev/\S+)\s", log.read_bytes())):
        time.sleep(0.01)
    number.write_text(str(process.pid))
    port.symlink_to(found[1].decode())
