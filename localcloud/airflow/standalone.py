"""An Airflow on this machine: starts, watches, restarts and stops its components.

`airflow standalone` runs the same commands, but is unsuitable. Its log server listens on every
address, its parent process is one more Airflow in memory, and it stops when one component is
replaced.
"""

import contextlib
import dataclasses
import fcntl
import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from localcloud.airflow.client import AirflowClient
from localcloud.airflow.composer.postgres import NAME as POSTGRES
from localcloud.airflow.composer.redis import NAME as REDIS
from localcloud.airflow.composer.shape import Composer
from localcloud.airflow.environment import environment_for, inherited
from localcloud.airflow.home import Home, Started
from localcloud.airflow.processes import GRACE_S, ProcessGroup
from localcloud.airflow.readiness import wait_until_ready
from localcloud.airflow.responses import AirflowError
from localcloud.airflow.shape import Plan, Shape, Small
from localcloud.resources import Names

ROOT = Path(__file__).resolve().parents[2]
# The command beside this Python; the one on PATH may be another installation's.
AIRFLOW = Path(sys.executable).parent / "airflow"
SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (Small(AIRFLOW, ROOT), Composer(AIRFLOW, ROOT, ROOT / ".venv-composer"))
}
"""What an Airflow can be made of, by the name on the command line."""

_MIGRATION_WITHIN_S = 180.0
# Tasks report to the API server until they end, and all write to the database until they do.
_STOPPED_LATER = (("api-server",), (POSTGRES, REDIS))
# Workers that have lost their scheduler ignore SIGTERM.
_LEFTOVER_GRACE_S = 2.0


class Airflow:
    """The Airflow of one state folder, whether or not this object started it.

    Args:
        state: the local cloud's state folder; Airflow's home is `airflow` below it.
    """

    def __init__(self, state: Path) -> None:
        self.home = Home(state.resolve() / "airflow")
        self._processes = ProcessGroup(self.home.path)

    @property
    def url(self) -> str:
        """The URL of the UI and the API.

        Raises:
            AirflowError: no Airflow was ever started here.
        """
        port = self.home.port()
        if port is None:
            raise AirflowError(f"no Airflow was ever started in {self.home.path}")
        started = self.home.started()
        return f"http://127.0.0.1:{port}{started.path if started else ''}"

    def client(self, user: str = "admin") -> AirflowClient:
        """Return a client with the login of a user of Airflow's shape, such as `admin`."""
        return AirflowClient(self.url, user, self.home.passwords()[user])

    def running(self) -> bool:
        """Return whether any of its processes is running."""
        return bool(self._processes.members())

    def stopped_components(self) -> list[str]:
        """Return the components that were started and have stopped by themselves."""
        started = self.home.started()
        return sorted(set(started.components) - set(self.components())) if started else []

    def components(self) -> dict[str, int]:
        """Return the process ids of the running components, by name."""
        started = self.home.started()
        if started is None:
            return {}
        alive = {process.pid for process in self._processes.members()}
        return {name: pid for name, pid in started.components.items() if pid in alive}

    def start(
        self,
        cloud: Mapping[str, str],
        *,
        dags: Path = ROOT / "dags",
        plugins: Path = ROOT / "plugins",
        bucket: str = Names.bucket,
        paused: bool = False,
        triggerer: bool = False,
        shape: Shape | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Start the components; `wait_until_ready` waits until they serve.

        Args:
            cloud: the local cloud's environment.
            dags: the folder of DAG files.
            plugins: the folder of plugins.
            bucket: the bucket of images, prompts and templates.
            paused: whether new DAGs are created paused.
            triggerer: whether to start the triggerer, for deferrable tasks.
            shape: what Airflow is made of; by default SQLite and as few processes as possible.
            settings: further environment variables, which override all others.

        Raises:
            AirflowError: Airflow is running already, or its database cannot be created.
        """
        shape = shape or SHAPES["sqlite"]
        self.home.prepare(shape.users)
        with self._alone():
            if self.components():
                raise AirflowError(
                    f"Airflow is already running on {self.home.path.parent}, at {self.url}"
                )
            # Processes that a crash left behind.
            self._processes.end(self._processes.members(), grace_s=_LEFTOVER_GRACE_S)
            plan = shape.plan(
                self.home,
                self._processes,
                dags=dags.resolve(),
                plugins=plugins.resolve(),
                triggerer=triggerer,
            )
            environment = inherited(os.environ) | environment_for(
                self.home.path,
                cloud=cloud,
                port=self.home.choose_port(),
                secrets=self.home.secrets(),
                dags=plan.dags,
                plugins=plan.plugins,
                path=plan.path,
                bucket=bucket,
                paused=paused,
                shape=plan.settings,
                settings=settings,
            )
            environment["PATH"] = f"{AIRFLOW.parent}{os.pathsep}{environment.get('PATH', '')}"
            try:
                self._start(shape, plan, environment)
            except BaseException:
                self._processes.end(self._processes.members(), grace_s=_LEFTOVER_GRACE_S)
                raise

    def _start(self, shape: Shape, plan: Plan, environment: Mapping[str, str]) -> None:
        at = time.time()
        all_components = {name: service.component for name, service in plan.services.items()}
        all_components |= plan.components
        started = Started(
            at,
            dict(environment),
            {},
            shape=shape.name,
            path=plan.path,
            roles=dict(shape.users),
            commands={name: list(each.command) for name, each in all_components.items()},
            environments={name: dict(each.environment) for name, each in all_components.items()},
        )
        for name, service in plan.services.items():
            service.prepare()
            started.components[name] = pid = self._spawn(name, started)
            service.wait(functools.partial(self._processes.runs, pid))
        self._migrate(shape, plan, environment)
        for name in plan.components:
            started.components[name] = self._spawn(name, started)
        self.home.note_start(started)

    def wait_until_ready(
        self, *, expected: frozenset[str] | None = None, within_s: float = 120.0
    ) -> None:
        """Wait until Airflow serves, schedules and has parsed the DAG files.

        Args:
            expected: ids of DAGs that must be parsed; by default, at least one from each file
                that looks like a DAG file.
            within_s: how long to wait, in seconds.

        Raises:
            AirflowError: a component stopped, a DAG file cannot be imported, or Airflow was not
                ready in time. The message carries the end of the log, or the import error.
        """
        started = self.home.started()
        if started is None:
            raise AirflowError(f"Airflow was not started on {self.home.path.parent}")
        with self.client() as client:
            wait_until_ready(
                client,
                started,
                stopped=self.stopped_components,
                log=self._processes.log,
                expected=expected,
                within_s=within_s,
            )

    def restart(self, name: str) -> int:
        """Restart a component, whether it is still running or not, and return its process id.

        Its child processes are stopped with it, as if its machine had gone.

        Raises:
            AirflowError: there is no such component.
        """
        with self._alone():
            started = self.home.started()
            if started is None or name not in started.components:
                known = (
                    ", ".join(started.components) if started else "none (Airflow was not started)"
                )
                raise AirflowError(f"no component {name!r}; known components: {known}")
            grace_s = GRACE_S if name in self.components() else 0.0
            remaining = self._processes.members(session=started.components[name])
            self._processes.end(remaining, grace_s=grace_s)
            at = time.time()
            pid = self._spawn(name, started)
            self.home.note_start(
                dataclasses.replace(
                    started,
                    components=started.components | {name: pid},
                    replaced=started.replaced | {name: at},
                )
            )
        return pid

    def stop(self) -> bool:
        """Stop Airflow, including processes that a crash left behind.

        Running tasks get some seconds to finish, while the API server still takes their reports.

        Returns:
            Whether any process was running.
        """
        if not self.home.path.is_dir():
            return False
        with self._alone():
            components = self.components()
            members = self._processes.members()
            by_pid = {process.pid: process for process in members}
            parents = {name: by_pid[pid] for name, pid in components.items() if pid in by_pid}
            later = [name for names in _STOPPED_LATER for name in names]
            self._processes.end(parents[name] for name in parents if name not in later)
            for names in _STOPPED_LATER:
                # No task needs these any more, but open pages can delay a server's end for long.
                stopping = [parents[name] for name in names if name in parents]
                self._processes.end(stopping, grace_s=_LEFTOVER_GRACE_S)
            self._processes.end(self._processes.members(), grace_s=_LEFTOVER_GRACE_S)
            self.home.forget_start()
        return bool(members)

    def _spawn(self, name: str, started: Started) -> int:
        return self._processes.spawn(name, started.commands[name], started.environment_of(name))

    def _migrate(self, shape: Shape, plan: Plan, environment: Mapping[str, str]) -> None:
        installed = version("apache-airflow-core")
        if self.home.migrated_to(shape.name) == installed and plan.database.exists():
            return
        log = self._processes.log("migrate")
        for command in plan.migration:
            try:
                with log.open("ab") as out:
                    subprocess.run(
                        command,
                        env=dict(environment),
                        cwd=self.home.path,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=out,
                        check=True,
                        timeout=_MIGRATION_WITHIN_S,
                    )
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                raise AirflowError(f"Airflow's database cannot be created; see {log}") from error
        self.home.note_migration(shape.name, installed)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let only one process start, stop or restart components at a time."""
        with open(self.home.path / "lock", "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AirflowError(
                    "another process is starting or stopping the Airflow on "
                    f"{self.home.path.parent}; try again in a moment"
                ) from None
            yield
