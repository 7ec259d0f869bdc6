"""Starts Airflow's processes detached from their parent, and finds them again later.

Airflow forks, renames its processes and leaves children behind when it is killed, and a saved
process id may belong to another process by now. So a process is recognized by something that it
cannot lose by accident. One is the leash, an open file that forks inherit. The other is the mark in
the environment, which programs started by tasks inherit. (Renaming a process erases the environment
that other processes can read.)
"""

import contextlib
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from localcloud.airflow.environment import MARK

# After SIGTERM, workers finish their task and the API server its requests. A process that takes
# longer is stuck.
GRACE_S = 10.0


class ProcessGroup:
    """All processes of one Airflow home, including its components.

    Args:
        home: the folder of the leash and the components' logs.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._leash = home / "leash"
        self._children: list[subprocess.Popen[bytes]] = []

    def spawn(self, name: str, command: list[str], environment: Mapping[str, str]) -> int:
        """Start a component in a session of its own, and return its process id."""
        with open(self._leash, "a", encoding="utf-8") as leash, self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self._home,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(leash.fileno(),),
            )
        self._children.append(process)  # polled later: an unpolled child stays a zombie
        return process.pid

    def log(self, name: str) -> Path:
        """Return the path of a component's log."""
        return self._home / f"{name}.log"

    def runs(self, pid: int) -> bool:
        """Return whether a process that `spawn` has started still runs."""
        return all(child.poll() is None for child in self._children if child.pid == pid)

    def members(self, session: int | None = None) -> list[psutil.Process]:
        """Return the running processes of this home; with `session`, those of one component."""
        return [
            process
            for process in psutil.process_iter()
            if process.pid != os.getpid()
            and self._is_member(process)
            and session in (None, _session_of(process))
        ]

    def end(self, processes: Iterable[psutil.Process], *, grace_s: float = GRACE_S) -> None:
        """Terminate processes, and kill those that have not ended after `grace_s` seconds."""
        waiting = list(processes)
        for process in waiting:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(waiting, timeout=grace_s)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=grace_s)
        self._children = [child for child in self._children if child.poll() is None]

    def _is_member(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if process.environ().get(MARK) == str(self._home):
                return True
            return any(file.path == str(self._leash) for file in process.open_files())
        except (psutil.Error, OSError):
            return False  # the process has ended, or belongs to another user


def _session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None
