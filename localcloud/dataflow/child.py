"""Becomes a job's process, after asking the system to kill it when the local cloud dies.

Run it by path, with only the standard library: python -I -S child.py PARENT PROGRAM ARGUMENT…

The child itself has to make that request. The parent has threads, so it can safely run code in a
child only by starting another program, which is this one.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Replace this process with the program in the arguments."""
    parent, *command = sys.argv[1:]
    # Only Linux supports this. Elsewhere a job keeps running, and keeps its leases, after the
    # local cloud has crashed.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            sys.exit("error: the local cloud has stopped")
    os.execv(command[0], command)  # noqa: S606 - the job's own command


if __name__ == "__main__":
    main()
