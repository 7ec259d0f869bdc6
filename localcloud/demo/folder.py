"""The demo's folder: its contents, created anew for each run, for one demo at a time."""

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
    """Where the demo writes all its files."""

    path: Path

    @property
    def cloud(self) -> Path:
        """The local cloud's state, with Airflow's below it."""
        return self.path / "localcloud"

    @property
    def sheet(self) -> Path:
        """The contact sheet and its images."""
        return self.path / "contact-sheet"

    @property
    def error(self) -> Path:
        """The full traceback of the error that ended the demo."""
        return self.path / "error.log"

    @contextlib.contextmanager
    def fresh(self) -> Iterator[None]:
        """Remove what an earlier demo left behind, including processes, and nothing else.

        Raises:
            DemoError: another demo uses the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DemoError(
                    f"another demo is running on {self.path}; wait for it to finish, or choose "
                    "another folder with --state"
                ) from None
            # Only a demo that was killed leaves any of these running.
            Airflow(self.cloud).stop()
            if localcloud_cli.main(["--state", str(self.cloud), "down"]):
                raise DemoError(f"the earlier local cloud on {self.cloud} does not stop")
            for folder in (self.cloud, self.sheet):
                shutil.rmtree(folder, ignore_errors=True)
            self.error.unlink(missing_ok=True)
            yield
