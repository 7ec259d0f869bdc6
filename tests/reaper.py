"""Ends what a test run has left running, also where pytest itself was killed.

Local clouds, Airflows and jobs run in sessions of their own, so no signal to pytest reaches them.
But they inherit its environment, with a mark in it that no other run has. The reaper waits for the
end of pytest at the other end of a pipe, which the system closes however pytest ends.
"""

import os
import subprocess
import sys
import uuid

import psutil

# Not IMAGEN_…: those are settings of the DAGs, which refuse the ones they do not know.
VARIABLE = "PYTEST_RUN_MARK"
# Enough for the parts of an Airflow to end, one after the other.
_TERMINATE_S = 20.0


def start() -> None:
    """Mark this process and those that it will start, and start their reaper."""
    os.environ[VARIABLE] = uuid.uuid4().hex
    # The other end is open in this process alone: descriptors are not inherited.
    read, write = os.pipe()
    _open_ends.append(write)
    subprocess.Popen([sys.executable, __file__], stdin=read, start_new_session=True)
    os.close(read)


_open_ends: list[int] = []


def left_running(mark: str) -> list[psutil.Process]:
    """Return the processes of a run, but for this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(VARIABLE) == mark:
                found.append(process)
        except psutil.Error:  # has just ended, or belongs to another user
            continue
    return found


def _reap(mark: str) -> None:
    while processes := left_running(mark):
        for process in processes:
            process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=_TERMINATE_S)
        for process in alive:
            process.kill()


if __name__ == "__main__":
    sys.stdin.buffer.read()
    _reap(os.environ[VARIABLE])
