"""A job's process: started, signalled, waited for. It knows nothing of states."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcloud.dataflow.registry import JobFolder

ROOT = Path(__file__).parents[2]
_CHILD = Path(__file__).with_name("child.py")
# Between the first SIGTERM, which drains, and the second, which gives up what is under way.
_SECOND_SIGNAL_AFTER_S = 0.2


class JobProcess:
    """A process of a job, with its output in the job's log. It dies with this one."""

    def __init__(self, process: asyncio.subprocess.Process, folder: JobFolder) -> None:
        self._process = process
        self._folder = folder

    @staticmethod
    async def start(
        folder: JobFolder, module: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> "JobProcess":
        """Run `python -m module arguments` from the top directory of the tree."""
        child = [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid())]
        with folder.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *child,
                *(sys.executable, "-m", module, *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
                # What ctrl-C in a terminal sends is for the local cloud, which stops its jobs.
                start_new_session=True,
            )
        folder.pid.write_text(str(process.pid))
        return JobProcess(process, folder)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    async def wait(self) -> int:
        """Return its exit code, negative for the signal that killed it."""
        try:
            return await self._process.wait()
        finally:
            self._folder.pid.unlink(missing_ok=True)

    def terminate(self) -> None:
        """Ask it to finish what is under way, and end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    async def force(self, grace_s: float) -> None:
        """Have it give up what is under way; kill it if it has not ended after `grace_s`."""
        self.terminate()
        await asyncio.sleep(_SECOND_SIGNAL_AFTER_S)
        self.terminate()
        await self.kill_after(grace_s)

    async def kill_after(self, grace_s: float) -> None:
        """Give it so many seconds to end, then kill it and all that it has started."""
        try:
            await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


def how_it_ended(code: int) -> str:
    """Return what an exit code says, in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
