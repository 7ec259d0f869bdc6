"""The local cloud for the benchmarks: the models in one process, everything else in another.

Two processes avoid measuring the interpreter lock of a single one. Stored images are kept in memory
and deleted after some seconds: the benchmarks do not measure a disk, and 20,000 images of 1.5 MB
are 30 GB.
"""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.processes import cpu_s
from localcloud import __main__ as localcloud_cli
from localcloud.resources import Names

NAMES = Names()
_MEMORY = Path("/dev/shm")  # noqa: S108 - each run creates a folder of its own in it
_DELETE_AFTER_S = 4.0
_LARGE_BYTES = 200_000
_SAMPLE_EVERY_S = 0.1


class Cloud:
    """Both processes, and the environment variables that point at them.

    Attributes:
        against: the folder of another build, which some scenarios run in turn with this one.
    """

    def __init__(self, folder: Path, against: Path | None = None) -> None:
        self.folder = folder
        self.against = against
        self._services, self._models = folder / "services", folder / "models"
        self.environment: dict[str, str] = {}
        self._done = threading.Event()
        self._large = False

    def start(self) -> None:
        for state in (self._services, self._models):
            if localcloud_cli.main(["--state", str(state), "up", "--detach"]):
                raise RuntimeError(f"the local cloud did not start; see {state}/log")
        self.environment = localcloud_cli.environment_of(self._services) or {}
        models = localcloud_cli.environment_of(self._models) or {}
        self.environment["GOOGLE_VERTEX_BASE_URL"] = models["GOOGLE_VERTEX_BASE_URL"]
        os.environ.update(self.environment)
        change_settings(self.environment["STORAGE_EMULATOR_HOST"], md5=0)
        threading.Thread(target=self._delete_old_images, daemon=True).start()

    def stop(self) -> None:
        self._done.set()
        for state in (self._services, self._models):
            localcloud_cli.main(["--state", str(state), "down"])

    def models(self, **settings: float) -> dict[str, Any]:
        """Change the models' settings; return their counts so far."""
        if "canned_bytes" in settings:
            self._large = settings["canned_bytes"] > _LARGE_BYTES
        url = self.environment["GOOGLE_VERTEX_BASE_URL"]
        return dict(change_settings(url, **settings)["counts"])

    def storage(self, **settings: float) -> dict[str, Any]:
        """Change storage's settings; return its counts so far."""
        url = self.environment["STORAGE_EMULATOR_HOST"]
        return dict(change_settings(url, **settings)["counts"])

    def cpu_s(self) -> float:
        """Return the CPU seconds of both processes so far."""
        pids = (localcloud_cli._owner(state) for state in (self._services, self._models))
        return sum(cpu_s(pid) for pid in pids if pid)

    def _delete_old_images(self) -> None:
        # `find` does this, because walking over 100,000 small files in Python would take a core
        # away from what is measured.
        large = ["-size", f"+{_LARGE_BYTES}c", "!", "-newermt", f"{_DELETE_AFTER_S:g} seconds ago"]
        contents = self._services / "storage/contents"
        while not self._done.wait(1.0):
            if self._large:
                subprocess.run(
                    ["find", contents, *large, "-delete"], stderr=subprocess.DEVNULL, check=False
                )


def change_settings(url: str, **settings: float) -> dict[str, Any]:
    """Change settings of a stand-in, and return them and its counts."""
    host = urlsplit(url)
    connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=30)
    headers = {"Content-Type": "application/json"}
    connection.request("PATCH", "/localcloud", json.dumps(settings), headers)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{url} rejected {settings} with {answer.status}: {content}")
    return dict(content)


@contextlib.contextmanager
def cloud(against: Path | None = None) -> Iterator[Cloud]:
    """Run a local cloud in a temporary folder, which is deleted afterwards."""
    root = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="imagen-bench-", dir=root))
    running = Cloud(folder, against)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Samples:
    """Samples the models' counts ten times a second, as differences from the start."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._before = cloud.models()
        self.rows: list[tuple[float, dict[str, int]]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Samples":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def last(self) -> dict[str, int]:
        """The current counts."""
        counts = self._cloud.models()
        return {
            name: counts[name] - self._before[name]
            for name in ("calls", "images", "refused_for_quota")
        }

    def first_call(self) -> float | None:
        """Return when the first call was seen, on the monotonic clock; None if there was none."""
        return next((at for at, counts in self.rows if counts["calls"]), None)

    def _run(self) -> None:
        host = urlsplit(self._cloud.environment["GOOGLE_VERTEX_BASE_URL"])
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=30)
        while not self._done.wait(_SAMPLE_EVERY_S):
            connection.request("GET", "/localcloud")
            counts = json.loads(connection.getresponse().read())["counts"]
            changed = {name: counts[name] - self._before[name] for name in self._before}
            self.rows.append((time.monotonic(), changed))
