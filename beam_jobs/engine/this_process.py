"""Names this process, and tells whether another one on this machine has ended.

A worker that is started anew after a crash finds claims of the process before it. On the same
machine it need not wait until they expire: the kernel knows that the process is gone.
"""

import contextlib
import hashlib
import os
import uuid
from pathlib import Path

_PROC = Path("/proc")
# proc(5), /proc/PID/stat: of the fields after the name, which may contain anything.
_STATE, _START = 0, 19
_ENDED = {"Z", "X"}  # a zombie, or dead


def process_name() -> str:
    """Return a name for this process that no other one has, as `MACHINE/PID/START/RANDOM`."""
    pid = os.getpid()
    return f"{_machine()}/{pid}/{_start(pid) or 0}/{uuid.uuid4().hex[:12]}"


def has_ended(name: str) -> bool:
    """Return whether a process ran on this machine and is known to have ended.

    Args:
        name: as `process_name` returned it to the process, or anything else.
    """
    machine, _, rest = name.partition("/")
    pid, _, rest = rest.partition("/")
    start = rest.partition("/")[0]
    # Without a start time, the kernel says nothing here about processes.
    if machine != _machine() or not (pid.isascii() and pid.isdigit()) or not start.strip("0"):
        return False
    return _start(int(pid[:9])) != start


def _machine() -> str:
    """Return what this machine's processes have in common: its start, and the PID namespace."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append((_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink(_PROC / "self/ns/pid"))
    if len(parts) < 2:
        parts = [uuid.uuid4().hex]  # which no other process has
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _start(pid: int) -> str | None:
    """Return when a process started, in clock ticks since the machine did; None if it has ended."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        return None if fields[_STATE] in _ENDED else fields[_START]
    except (OSError, IndexError):
        return None
