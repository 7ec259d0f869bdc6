"""A job's process: starts it, signals it and waits for it. Knows nothing of job states."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcloud.dataflow.registry import ProcessFiles

ROOT = Path(__file__).parents[2]
_CHILD = Path(__file__).with_name("child.py")
# Between the first SIGTERM, which drains, and the second, which abandons work in progress.
_SECOND_SIGNAL_AFTER_S = 0.2


class JobProcess:
    """One of a job's processes. It dies with the local cloud."""

    def __init__(self, process: asyncio.subprocess.Process, files: ProcessFiles) -> None:
        self._process = process
        self._files = files

    @staticmethod
    async def start(
        files: ProcessFiles, module: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> "JobProcess":
        """Run `python -m module arguments` from the repository's root.

        Args:
            files: where its log and its process id go.
            module: the Python module to run.
            arguments: the module's arguments.
            environment: variables in addition to this process's own.
        """
        child = [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid())]
        with files.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *child,
                *(sys.executable, "-m", module, *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
                # ctrl-C in a terminal must reach only the local cloud, which then stops its jobs.
                start_new_session=True,
            )
        files.pid.write_text(str(process.pid))
        return JobProcess(process, files)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end; return its exit code, or minus the number of the signal."""
        try:
            return await self._process.wait()
        finally:
            self._files.pid.unlink(missing_ok=True)

    def terminate(self) -> None:
        """Ask the process to finish its work in progress and end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End the process and its child processes at once, as a machine that goes away does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def force(self, grace_s: float) -> None:
        """Ask the process to abandon its work, and kill it after `grace_s` seconds."""
        self.terminate()
        await asyncio.sleep(_SECOND_SIGNAL_AFTER_S)
        self.terminate()
        await self.kill_after(grace_s)

    async def kill_after(self, grace_s: float) -> None:
        """Wait `grace_s` seconds for its end, then kill it and its child processes."""
        try:
            await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            self.kill()
            await self._process.wait()


def how_it_ended(code: int) -> str:
    """Describe an exit code in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
