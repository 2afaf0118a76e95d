"""Runs a program on a terminal, and answers what it asks.

    answer.py [--size=COLUMNSxROWS] STEPS PROGRAM [ARG…]

STEPS is JSON: a list of [pattern, command, answer]. Each pattern is waited for in
what was shown since the one before; then the command runs in a shell, if there is
one, and the answer is typed, with \\1 as in the pattern. The command `raw` waits
until the program reads keys rather than lines. Prints all that was shown and exits as
the program does, or with 99 where a pattern never came. With a size the terminal knows
colours and moves its cursor; it is a dumb one otherwise.
"""

import codecs
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time

# Longer than any flash of the tests takes on a busy machine.
PATIENCE = 120


def await_raw(terminal):
    """Until keys are read: what is typed before a program prepares its terminal is
    shown, and a Ctrl-C is a signal."""
    end = time.monotonic() + PATIENCE
    while termios.tcgetattr(terminal)[3] & termios.ICANON:
        if time.monotonic() > end:
            sys.stdout.write(f"no key was read within {PATIENCE} s\n")
            sys.exit(99)
        time.sleep(0.01)


arguments = sys.argv[1:]
size = arguments.pop(0).removeprefix("--size=") if arguments[0].startswith("--size=") else None
steps, program = json.loads(arguments[0]), arguments[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm-256color" if size else "dumb"
    if size:
        columns, rows = map(int, size.split("x"))
        termios.tcsetwinsize(0, (rows, columns))
    os.execvp(program[0], program)
shown, since = "", 0
# A piece may end within a character.
decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
while True:
    if not select.select([terminal], [], [], PATIENCE)[0]:
        sys.stdout.write(f"{shown}\nnothing came within {PATIENCE} s; left: {steps}\n")
        os.kill(pid, 9)
        sys.exit(99)
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    shown += decoder.decode(piece)
    while steps and (found := re.search(steps[0][0], shown[since:])):
        _, command, answer = steps.pop(0)
        since += found.end()
        if command == "raw":
            await_raw(terminal)
        elif command:
            subprocess.run(["sh", "-c", command], check=True)
        os.write(terminal, found.expand(answer).encode())
_, status = os.waitpid(pid, 0)
sys.stdout.write(shown)
if steps:
    sys.stdout.write(f"\nnever came: {steps}\n")
    sys.exit(99)
sys.exit(os.waitstatus_to_exitcode(status))
