"""The measured processes: their CPU time, their memory, and their end."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from bench.interpreter import ROOT, python

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_END_WITHIN_S = 120.0
_COUNT_SOCKETS_EVERY_S = 0.5


class Process:
    """A process with a worker's Python, which starts at once.

    Args:
        arguments: the interpreter's arguments, such as `-m beam_jobs.stream`.
        environment: variables in addition to PATH, HOME and PYTHONPATH.
        log: the file for its output.
        build: the folder of the code that it runs.

    Attributes:
        most_sockets: the most open sockets that were counted at once.
    """

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        log: Path,
        *,
        build: Path = ROOT,
    ) -> None:
        self.log = log
        self.started = time.monotonic()
        own = {"PATH": os.defpath, "HOME": str(log.parent), "PYTHONPATH": str(build)}
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [str(python()), *arguments],
                env={**environment, **own},
                cwd=build,
                stdout=out,
                stderr=out,
            )
        self._cpu_s = self._peak_mb = 0.0
        self.most_sockets = 0
        threading.Thread(target=self._count_sockets, daemon=True).start()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def cpu_s(self) -> float:
        """Return the CPU seconds so far; after its end, as of the last call before that."""
        self._cpu_s = max(self._cpu_s, cpu_s(self._process.pid))
        return self._cpu_s

    def peak_mb(self) -> float:
        """Return the peak resident size in MB; after its end, as of the last call before that."""
        self._peak_mb = max(self._peak_mb, peak_mb(self._process.pid))
        return self._peak_mb

    def _count_sockets(self) -> None:
        while self.running:
            self.most_sockets = max(self.most_sockets, sockets(self._process.pid))
            time.sleep(_COUNT_SOCKETS_EVERY_S)

    def drain(self) -> None:
        """Ask the process to end, and wait for it."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> None:
        """Wait for the process's end.

        Raises:
            RuntimeError: the process failed; the message has the end of its log.
        """
        code = self._process.wait(_END_WITHIN_S)
        if code:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise RuntimeError(
                f"{' '.join(map(str, self._process.args))} ended with exit code {code}:\n{tail}"
            )

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process so far; 0 after its end."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def sockets(pid: int) -> int:
    """Return how many sockets a process has open; 0 after its end."""
    count = 0
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                count += str(file.readlink()).startswith("socket:")
    return count


def machine_s() -> tuple[float, float]:
    """Return the seconds that all cores have been busy, and idle."""
    first = Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, idle, waiting, *interrupts = map(int, first.split()[1:8])
    used = user + nice + system + sum(interrupts)
    return used / _TICKS_PER_S, (idle + waiting) / _TICKS_PER_S


def peak_mb(pid: int) -> float:
    """Return the peak resident size of a process so far, in MB; 0 after its end."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
    return int(line.split()[1]) / 1024 if line else 0.0
