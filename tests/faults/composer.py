"""An Airflow as Composer's, and what can be done to its processes from outside."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from localcloud.airflow import Airflow, AirflowError
from localcloud.airflow.composer import bucket
from localcloud.airflow.composer.redis import NAME as REDIS
from localcloud.airflow.standalone import ROOT
from tests.conftest import eventually
from tests.e2e.conftest import Operated

# As long as Kubernetes waits before it starts a container that ended for the second time.
_BACK_OFF_S = 10.0
WORKERS = ("worker-1", "worker-2")


class Parts:
    """The processes of one Airflow. Those that end are started again, as Kubernetes does it."""

    def __init__(self, airflow: Airflow) -> None:
        self._airflow = airflow
        self._held: set[str] = set()
        self._over = threading.Event()
        self._turn = threading.Lock()
        self.restarted: list[str] = []
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def close(self) -> None:
        self._over.set()
        self._keeper.join()

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the running processes of a part, its main process first."""
        main = psutil.Process(self._airflow.components()[name])
        return [main, *main.children(recursive=True)]

    def kill(self, name: str, *, whole: bool = True) -> None:
        """SIGKILL a part: all of its processes, or only the one that leads the others."""
        for process in self.processes(name)[: None if whole else 1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @contextlib.contextmanager
    def gone(self, name: str) -> Iterator[None]:
        """Kill a part, and let nobody start it again meanwhile."""
        with self._turn:
            self._held.add(name)
            self.kill(name)
        try:
            yield
        finally:
            with self._turn:
                self._airflow.restart(name)
                self._held.remove(name)

    def worker_at(self, pid: int) -> str | None:
        """Return the worker that a task's process belongs to, if it still runs."""
        for name in WORKERS:
            with contextlib.suppress(KeyError, psutil.NoSuchProcess):
                if pid in {process.pid for process in self.processes(name)}:
                    return name
        return None

    def redis(self, *words: str, given: str = "") -> str:
        """Run a command of Redis; what it said."""
        port = self._airflow.home.port(REDIS)
        done = subprocess.run(
            ["redis-cli", "--raw", "-p", str(port), *(["-x"] if given else []), *words],
            input=given,
            env=os.environ | {"REDISCLI_AUTH": self._airflow.home.secrets().service_password},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout

    def deliver_again(self) -> int:
        """Deliver messages again whose tasks are at work, as after the visibility timeout."""
        messages = [
            json.loads(line)[0] for line in self.redis("HVALS", "unacked").split("\n") if line
        ]
        for message in messages:
            assert base64.b64decode(message["body"]), "as Celery writes them"
            self.redis("LPUSH", "default", given=json.dumps(message))
        return len(messages)

    def _keep(self) -> None:
        while not self._over.wait(_BACK_OFF_S):
            with self._turn, contextlib.suppress(AirflowError):
                for name in set(self._airflow.stopped_components()) - self._held:
                    self.restarted.append(name)
                    self._airflow.restart(name)


def job_that_stops(operated: Operated) -> list[psutil.Process]:
    """Stop the processes of the one job once it is RUNNING, so that it returns no canary."""

    def running() -> str | None:
        jobs = operated.active_jobs()
        return next((job for job in jobs if operated.job_state(job) == "JOB_STATE_RUNNING"), None)

    job = str(eventually(running, within_s=400, what="a job that is RUNNING"))
    pid = (operated.cloud.state / "dataflow" / "jobs" / job / "pid").read_text()
    main = psutil.Process(int(pid))
    processes = [main, *main.children(recursive=True)]
    for process in processes:
        process.suspend()
    return processes


def deploy(airflow: Airflow, dags: Path = ROOT / "dags", plugins: Path = ROOT / "plugins") -> None:
    """Put another version where Composer's processes find it."""
    files = bucket.layout(dags, plugins, ROOT / "beam_jobs")
    bucket.deploy(files, airflow.home.path / "gcs")


def at_work(operated: Operated, parts: Parts, dag_id: str, run_id: str, task_id: str) -> str:
    """Wait until a task is at work, or at one of its looks; the worker that has it."""

    def worker() -> str | None:
        task = operated.task(dag_id, run_id, task_id)
        if task.state in ("success", "failed"):
            raise AssertionError(f"{task_id} was over before it was seen at work: {task.state}")
        return parts.worker_at(task.pid) if task.state == "running" and task.pid else None

    return str(eventually(worker, within_s=400, what=f"{task_id} at work"))


def scheduler_dies_with_queued_tasks(operated: Operated, parts: Parts, dag_id: str) -> str:
    """Trigger a run whose first task is queued, and whose message never arrives; the run's id.

    Redis stands still while the scheduler queues the task, and is killed with it.
    """
    with contextlib.ExitStack() as gone:
        os.kill(parts.processes(REDIS)[0].pid, signal.SIGSTOP)
        run_id = operated.client.trigger(dag_id)

        def queued() -> Any:
            return any(t.state == "queued" for t in operated.client.task_instances(dag_id, run_id))

        eventually(queued, what="a queued task")
        gone.enter_context(parts.gone("scheduler"))
        gone.enter_context(parts.gone(REDIS))
    return run_id


def redis_loses_a_message(operated: Operated, parts: Parts, dag_id: str) -> str:
    """Trigger a run whose first task is queued, and empty Redis before a worker sees it; its id."""
    leaders = [parts.processes(name)[0] for name in WORKERS]
    for leader in leaders:
        leader.suspend()
    try:
        # What they have asked for already would be waiting in their connections.
        parts.redis("CLIENT", "KILL", "TYPE", "normal")
        run_id = operated.client.trigger(dag_id)
        eventually(lambda: int(parts.redis("LLEN", "default")) > 0, what="a message in Redis")
        parts.redis("FLUSHALL")
    finally:
        for leader in leaders:
            leader.resume()
    return run_id
