"""Runs a program that the system kills once its parent is gone: `python tied.py PARENT PROGRAM ARGUMENT...`.

A program of its own: what asks for this between fork and exec may not run in a process with threads. On other
systems than Linux it only runs the program, which ends by itself when nobody reads what it writes.
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
        if os.getppid() != int(parent):  # too late to be told
            raise SystemExit(f"{parent} is gone")
    os.execv(program[0], program)  # noqa: S606 - the supervisor's own command
