"""What the demo runs on: the local cloud and Airflow; both end with it."""

import concurrent.futures
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from localcloud.__main__ import environment_of
from localcloud.airflow import Airflow
from localcloud.demo.errors import DemoError
from localcloud.demo.folder import Folder
from localcloud.demo.interrupts import Interrupts

_ROOT = Path(__file__).resolve().parents[2]
# The demo's night is over when the demo says so; a scheduled run would only be in its way.
_SETTINGS = {
    "IMAGEN_BACKFILL_SCHEDULE": "0 0 1 1 *",
    # Nobody changes a plugin meanwhile, and each look at the DAG files costs seconds.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
}
# The longest any of it may take on a machine that is busy with other things.
_READY_WITHIN_S = 300.0
# Longer than the local cloud gives its jobs.
_GRACE_S = 30.0


class Stage:
    """Starts processes, and ends them all in `close`, the last one first.

    Args:
        folder: where their state and logs go.
        dags: the folder of DAG files.
        interrupts: held while something is started or ended.
    """

    def __init__(self, folder: Folder, dags: Path, interrupts: Interrupts) -> None:
        self._folder = folder
        self._dags = dags
        self._interrupts = interrupts
        self._started = contextlib.ExitStack()
        self._airflow = Airflow(folder.cloud)
        self._cloud: subprocess.Popen[bytes] | None = None
        self._starting: concurrent.futures.Future[None] | None = None

    def close(self) -> None:
        """End everything, within a bounded time; no signal hurries it. May be called again."""
        self._interrupts.hold()
        self._started.close()

    def start_cloud(self) -> None:
        """Start the local cloud, wait until it serves, and point this process at it.

        Raises:
            DemoError: it does not come up.
        """
        self._folder.cloud.mkdir(parents=True, exist_ok=True)
        log = self._folder.cloud / "log"
        self._cloud = self._spawn(["localcloud", "--state", str(self._folder.cloud), "up"], log)
        deadline = time.monotonic() + _READY_WITHIN_S
        while (environment := environment_of(self._folder.cloud)) is None:
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"the local cloud is not ready in {_READY_WITHIN_S:.0f} s")
            time.sleep(0.05)
        os.environ.update(environment)

    def check(self) -> None:
        """See that what everything else waits for is still there.

        Raises:
            DemoError: the local cloud has ended.
        """
        code = None if self._cloud is None else self._cloud.poll()
        if code is not None:
            log = self._folder.cloud / "log"
            raise DemoError(f"the local cloud has ended with exit code {code}; its log: {log}")

    def start_airflow(self) -> None:
        """Begin to start Airflow, which goes on while this process does other things."""
        environment = environment_of(self._folder.cloud)
        assert environment is not None
        with self._interrupts.held():
            helper = concurrent.futures.ThreadPoolExecutor(1, "airflow")
            self._started.callback(self._stop_airflow)
            self._starting = helper.submit(
                self._airflow.start, environment, dags=self._dags, settings=_SETTINGS
            )
            helper.shutdown(wait=False)

    def waits_for(self) -> str:
        """Return what Airflow still lacks, in words."""
        if self._starting is None or not self._starting.done():
            return "for Airflow's database to be made, and its components to start"
        components = ", ".join(self._airflow.components())
        return f"for Airflow to answer, beat and have parsed the DAGs: {components}"

    def airflow(self) -> Airflow:
        """Wait for what `start_airflow` has begun, and return the Airflow that is ready.

        Raises:
            AirflowError: it will not be; see `Airflow.start` and `Airflow.wait_until_ready`.
        """
        assert self._starting is not None, "start_airflow comes first"
        self._starting.result()
        self._airflow.wait_until_ready(within_s=_READY_WITHIN_S)
        return self._airflow

    def models(self, **settings: float) -> None:
        """Change how the local cloud's models behave; see `localcloud.vertex.Settings`.

        Raises:
            httpx.HTTPError: the local cloud does not take it.
        """
        url = f"{os.environ['GOOGLE_VERTEX_BASE_URL']}/localcloud"
        httpx.patch(url, json=settings, trust_env=False).raise_for_status()

    def _spawn(self, words: list[str], log: Path) -> "subprocess.Popen[bytes]":
        with self._interrupts.held(), log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # ctrl-C in a terminal is for the demo, which ends this one in its turn.
                start_new_session=True,
            )
            self._started.callback(_end, process)
        return process

    def _stop_airflow(self) -> None:
        assert self._starting is not None
        # What is just being started cannot be stopped yet.
        concurrent.futures.wait([self._starting])
        self._airflow.stop()


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
