"""Runs a program on a terminal, and answers what it asks.

    answer.py HOOK PROGRAM [ARG…]

Where it wants a device's name typed, types it; before it answers the last
question, whether to overwrite, runs HOOK in a shell. Prints all that was shown.
"""

import os
import pty
import re
import subprocess
import sys

hook, program = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "dumb"
    os.execvp(program[0], program)
shown = ""
typed = overwritten = False
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    shown += piece.decode(errors="replace")
    name = re.search(r"Type (\S+) to overwrite", shown)
    if name and not typed:
        typed = True
        os.write(terminal, (name.group(1) + "\r").encode())
    if "Overwrite" in shown and "?" in shown.split("Overwrite")[-1] and not overwritten:
        overwritten = True
        subprocess.run(["sh", "-c", hook], check=True)
        os.write(terminal, b"y")
_, status = os.waitpid(pid, 0)
sys.stdout.write(shown)
sys.exit(os.waitstatus_to_exitcode(status))
