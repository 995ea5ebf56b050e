"""`slow_ssh.py ssh …`: as ssh, but what it is given on standard input is passed on slowly, as over a poor line."""

import os
import subprocess
import sys
import time

process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
assert process.stdin is not None
while chunk := os.read(0, 1 << 18):
    time.sleep(0.02)
    process.stdin.write(chunk)
    process.stdin.flush()
process.stdin.close()
sys.exit(process.wait())
