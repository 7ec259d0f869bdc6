"""Airflow's processes: started apart from the one that starts them, and found again by anyone.

Airflow forks, renames its processes and leaves children behind when it is killed, and a number in
a file may be somebody else's process by now. So a process is known by what it cannot lose by
accident: the leash, an open file that forks inherit, or the mark in its environment, which the
programs that tasks start inherit. (Renaming a process wipes the environment that others can read.)
"""

import contextlib
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from localcloud.airflow.environment import MARK

# Workers end their task at SIGTERM, the API server its requests; what hangs longer is lost anyway.
GRACE_S = 10.0


class Pack:
    """All processes of one Airflow home, and the components among them.

    Args:
        home: the folder; the leash and the components' logs are kept in it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._leash = home / "leash"
        self._children: list[subprocess.Popen[bytes]] = []

    def spawn(self, name: str, command: list[str], environment: Mapping[str, str]) -> int:
        """Start a component in a session of its own and return its process id."""
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
        self._children.append(process)  # somebody has to ask how it ended, or it stays a zombie
        return process.pid

    def log(self, name: str) -> Path:
        """Return where a component's output goes."""
        return self._home / f"{name}.log"

    def members(self, session: int | None = None) -> list[psutil.Process]:
        """Return the living processes of this home; with `session`, those of one component."""
        return [
            process
            for process in psutil.process_iter()
            if process.pid != os.getpid()
            and self._is_ours(process)
            and session in (None, _session_of(process))
        ]

    def end(self, processes: Iterable[psutil.Process], *, grace_s: float = GRACE_S) -> None:
        """Ask the processes to end, insist after `grace_s` seconds, and see that they are gone."""
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

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if process.environ().get(MARK) == str(self._home):
                return True
            return any(file.path == str(self._leash) for file in process.open_files())
        except (psutil.Error, OSError):
            return False  # gone, or another user's


def _session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None
