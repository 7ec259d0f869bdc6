"""What the demo runs on: the local cloud and Airflow. Both stop when the demo ends."""

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
from localcloud.airflow.shape import Shape
from localcloud.demo.errors import DemoError
from localcloud.demo.folder import Folder
from localcloud.demo.interrupts import Interrupts

_ROOT = Path(__file__).resolve().parents[2]
_SETTINGS = {
    # The demo triggers the backfill itself; a scheduled run would only interfere.
    "IMAGEN_BACKFILL_SCHEDULE": "0 0 1 1 *",
    # No plugin changes during the demo, and each pass over the DAG files costs seconds.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
}
# Long enough for a machine that is busy with other things.
_READY_WITHIN_S = 300.0
# Longer than the grace period that the local cloud gives its jobs.
_GRACE_S = 30.0


class Stage:
    """Starts processes, and stops them all in `close`, in reverse order.

    Args:
        folder: where their state and logs go.
        dags: the folder of DAG files.
        shape: what Airflow is made of.
        interrupts: put on hold while a process is started or stopped.
    """

    def __init__(self, folder: Folder, dags: Path, shape: Shape, interrupts: Interrupts) -> None:
        self._folder = folder
        self._dags = dags
        self._shape = shape
        self._interrupts = interrupts
        self._started = contextlib.ExitStack()
        self._airflow = Airflow(folder.cloud)
        self._cloud: subprocess.Popen[bytes] | None = None
        self._starting: concurrent.futures.Future[None] | None = None

    def close(self) -> None:
        """Stop everything within a bounded time. Ignores signals. Safe to call again."""
        self._interrupts.hold()
        self._started.close()

    def start_cloud(self) -> None:
        """Start the local cloud, wait until it is ready, and point this process at it.

        Raises:
            DemoError: the local cloud stopped, or was not ready in time.
        """
        self._folder.cloud.mkdir(parents=True, exist_ok=True)
        log = self._folder.cloud / "log"
        self._cloud = self._spawn(["localcloud", "--state", str(self._folder.cloud), "up"], log)
        deadline = time.monotonic() + _READY_WITHIN_S
        while (environment := environment_of(self._folder.cloud)) is None:
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"the local cloud was not ready within {_READY_WITHIN_S:.0f} s")
            time.sleep(0.05)
        os.environ.update(environment)

    def check(self) -> None:
        """Check that the local cloud is still running.

        Raises:
            DemoError: the local cloud has stopped.
        """
        code = None if self._cloud is None else self._cloud.poll()
        if code is not None:
            log = self._folder.cloud / "log"
            raise DemoError(f"the local cloud stopped with exit code {code}; see its log: {log}")

    def start_airflow(self) -> None:
        """Start Airflow in the background; `airflow` waits for it."""
        environment = environment_of(self._folder.cloud)
        assert environment is not None
        with self._interrupts.held():
            helper = concurrent.futures.ThreadPoolExecutor(1, "airflow")
            self._started.callback(self._stop_airflow)
            self._starting = helper.submit(
                self._airflow.start,
                environment,
                dags=self._dags,
                shape=self._shape,
                settings=_SETTINGS,
            )
            helper.shutdown(wait=False)

    def airflow_status(self) -> str:
        """Return what Airflow's start is waiting for, as text."""
        if self._starting is None or not self._starting.done():
            return "waiting for Airflow's database to be created and its components to start"
        components = ", ".join(self._airflow.components())
        return f"waiting for Airflow and its DAGs: {components}"

    def airflow(self) -> Airflow:
        """Wait until the Airflow that `start_airflow` started is ready, and return it.

        Raises:
            AirflowError: Airflow did not start, a component stopped, a DAG file cannot be
                imported, or it was not ready in time.
        """
        assert self._starting is not None, "call start_airflow first"
        self._starting.result()
        self._airflow.wait_until_ready(within_s=_READY_WITHIN_S)
        return self._airflow

    def configure_models(self, **settings: float) -> None:
        """Change fields of `localcloud.vertex.Settings`, which control the local models.

        Raises:
            httpx.HTTPError: the local cloud rejected the settings or did not answer.
        """
        url = f"{os.environ['GOOGLE_VERTEX_BASE_URL']}/localcloud"
        httpx.patch(url, json=settings, trust_env=False).raise_for_status()

    def _spawn(self, module: list[str], log: Path) -> "subprocess.Popen[bytes]":
        with self._interrupts.held(), log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # ctrl-C in a terminal must reach only the demo, which then stops this process.
                start_new_session=True,
            )
            self._started.callback(_terminate, process)
        return process

    def _stop_airflow(self) -> None:
        assert self._starting is not None
        # A start in progress cannot be stopped yet.
        concurrent.futures.wait([self._starting])
        self._airflow.stop()


def _terminate(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
