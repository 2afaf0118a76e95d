#!/usr/bin/env python3
"""Completes a line in a real, interactive shell: tab.py bash|zsh SCRIPT LINE

Prints the line that the shell makes of it and, for zsh, what it lists. bash is asked
to insert all that is possible (M-*).
"""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

PATIENCE = 60

SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        """bind -x '"\\C-xp": printf "LINE<%s>END\\n" "$READLINE_LINE"'""",
        "\x1b*",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        "autoload -Uz compinit; compinit -u -D; unsetopt prompt_cr prompt_sp; "
        'show() { zle -I; print -r -- "LINE<$BUFFER>END" }; '
        "zle -N show; bindkey '^Xp' show",
        "\t",
    ),
}


def until(terminal, pattern, seen=""):
    """Reads until the pattern is seen; the match and all that was read."""
    end = time.monotonic() + PATIENCE
    while not (match := re.search(pattern, seen, re.DOTALL)):
        if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            sys.exit(f"nothing came in {PATIENCE} s but {seen!r}")
        seen += os.read(terminal, 65536).decode(errors="replace")
    return match, seen


def main():
    shell, script, line = sys.argv[1:]
    command, setup, complete = SHELLS[shell]
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="dumb", PS1="", HISTFILE="")
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 100, 250, 0, 0))
    # Apart, so that the echo of the command is not taken for its output.
    os.write(terminal, f"{setup}; . {script}; echo REA''DY\n".encode())
    until(terminal, r"READY\r?\n")
    os.write(terminal, (line + complete).encode())
    # What a key sends next may not be taken for part of the completion.
    _, seen = until(terminal, re.escape(line))
    os.write(terminal, b"\x18p")
    match, seen = until(terminal, r"LINE<([^\r\n]*)>END", seen)
    print(match[1])
    if shell == "zsh":
        listed = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).replace("\r", "")
        print(listed[: listed.rfind("LINE<")])
    os.kill(child, 9)
    os.waitpid(child, 0)


main()
