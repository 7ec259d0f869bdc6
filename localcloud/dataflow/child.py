"""Becomes a job's process, after it has asked the system to die together with the local cloud.

Run by path, with nothing but the standard library: python -I -S child.py PARENT PROGRAM ARGUMENT…

The request has to be made by the child itself, and the way to run code in the child of a process
that has threads is to be another program first.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Replace this process by the program that the arguments name."""
    parent, *command = sys.argv[1:]
    # Only Linux has this. Elsewhere a job outlives a crash, and its leases end when it does.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            sys.exit("the local cloud has gone")
    os.execv(command[0], command)  # noqa: S606 - that is the command


if __name__ == "__main__":
    main()
