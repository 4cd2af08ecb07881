"""Runs a program that Linux kills when its parent ends: `python tied.py PARENT PROGRAM ARGUMENT...`.

This is a separate program, since a process with threads must not run Python code between fork and exec. On other
systems it only runs the program, which ends by itself when nobody reads its output.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, *program = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != int(parent):  # the parent ended before the call
            raise SystemExit(f"{parent} is gone")
    os.execv(program[0], program)  # noqa: S606 - the supervisor's own command
