"""The demo's folder: what is in it, made anew for each run, and one demo at a time."""

import contextlib
import dataclasses
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from localcloud import __main__ as localcloud_cli
from localcloud.airflow import Airflow
from localcloud.demo.errors import DemoError


@dataclasses.dataclass(frozen=True)
class Folder:
    """Where everything is that the demo makes."""

    path: Path

    @property
    def cloud(self) -> Path:
        """The local cloud's state, with Airflow's below it."""
        return self.path / "localcloud"

    @property
    def sheet(self) -> Path:
        """The contact sheet and its pictures."""
        return self.path / "contact-sheet"

    @property
    def error(self) -> Path:
        """What went wrong, whole."""
        return self.path / "error.log"

    @contextlib.contextmanager
    def fresh(self) -> Iterator[None]:
        """Clear away what an earlier demo left, also what it left running; nothing else.

        Raises:
            DemoError: another demo is at work on the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DemoError(
                    f"another demo runs on {self.path}; wait for it, or name another --state"
                ) from None
            # Only a demo that was killed leaves any of these running.
            Airflow(self.cloud).stop()
            if localcloud_cli.main(["--state", str(self.cloud), "down"]):
                raise DemoError(f"an earlier local cloud on {self.cloud} does not end")
            for folder in (self.cloud, self.sheet):
                shutil.rmtree(folder, ignore_errors=True)
            self.error.unlink(missing_ok=True)
            yield
