"""Processes that are measured: their CPU time, memory, and end."""

import os
import signal
import subprocess
import time
from pathlib import Path

from bench.interpreter import ROOT, python

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_END_WITHIN_S = 120.0


class Process:
    """A program of a worker's Python, started when this is made.

    Args:
        arguments: of the interpreter, such as `-m beam_jobs.stream`.
        environment: beyond what a program needs anyway.
        log: where it writes.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.started = time.monotonic()
        own = {"PATH": os.defpath, "HOME": str(log.parent), "PYTHONPATH": str(ROOT)}
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [str(python()), *arguments],
                env={**environment, **own},
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )
        self._cpu_s = self._peak_mb = 0.0

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def cpu_s(self) -> float:
        """CPU time so far; once it has ended, as of the last look."""
        self._cpu_s = max(self._cpu_s, cpu_s(self._process.pid))
        return self._cpu_s

    def peak_mb(self) -> float:
        """The largest resident size so far, MB; once it has ended, as of the last look."""
        self._peak_mb = max(self._peak_mb, peak_mb(self._process.pid))
        return self._peak_mb

    def drain(self) -> None:
        """Ask it to end, and wait."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> None:
        """Wait for the end.

        Raises:
            RuntimeError: it failed; the message has the end of its log.
        """
        code = self._process.wait(_END_WITHIN_S)
        if code:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise RuntimeError(
                f"{' '.join(map(str, self._process.args))} ended with {code}:\n{tail}"
            )

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, seconds; 0 once it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def machine_s() -> tuple[float, float]:
    """Time that all cores were in use, and that they were idle, seconds each."""
    first = Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, idle, waiting, *interrupts = map(int, first.split()[1:8])
    used = user + nice + system + sum(interrupts)
    return used / _TICKS_PER_S, (idle + waiting) / _TICKS_PER_S


def peak_mb(pid: int) -> float:
    """Largest resident size of a process so far, MB; 0 once it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
    return int(line.split()[1]) / 1024 if line else 0.0
