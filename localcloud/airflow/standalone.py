"""An Airflow on this machine: starts, watches, restarts and stops its components.

`airflow standalone` runs the same commands, but is unsuitable. Its log server listens on every
address, its parent process is one more Airflow in memory, and it stops when one component is
replaced.
"""

import contextlib
import dataclasses
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from localcloud.airflow.client import AirflowClient
from localcloud.airflow.environment import environment_for, inherited
from localcloud.airflow.home import Home, Started
from localcloud.airflow.processes import GRACE_S, ProcessGroup
from localcloud.airflow.readiness import wait_until_ready
from localcloud.airflow.responses import AirflowError
from localcloud.resources import Names

ROOT = Path(__file__).resolve().parents[2]

# Logs are read from the folder that they are written to, so no log server is needed.
COMPONENTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}
# For deferrable tasks. The project has none, and an idle triggerer costs the most CPU.
TRIGGERER = {"triggerer": ("triggerer", "--skip-serve-logs")}

_MIGRATION_WITHIN_S = 180.0
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
        return f"http://127.0.0.1:{port}"

    def client(self, user: str = "admin") -> AirflowClient:
        """Return a client with the login of `user`, `admin` or `viewer`."""
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
            settings: further environment variables, which override all others.

        Raises:
            AirflowError: Airflow is running already, or its database cannot be created.
        """
        self.home.prepare()
        with self._alone():
            if self.components():
                raise AirflowError(
                    f"Airflow is already running on {self.home.path.parent}, at {self.url}"
                )
            # Processes that a crash left behind.
            self._processes.end(self._processes.members(), grace_s=_LEFTOVER_GRACE_S)
            environment = inherited(os.environ) | environment_for(
                self.home.path,
                cloud=cloud,
                port=self.home.choose_port(),
                secrets=self.home.secrets(),
                dags=dags.resolve(),
                plugins=plugins.resolve(),
                bucket=bucket,
                paused=paused,
                settings=settings,
            )
            # On Composer, beam_jobs/ lies beside the plugins: tasks read prompt files with it.
            environment["PYTHONPATH"] = str(ROOT)
            environment["PATH"] = f"{_airflow().parent}{os.pathsep}{environment.get('PATH', '')}"
            at = time.time()
            self._migrate(environment)
            commands = COMPONENTS | (TRIGGERER if triggerer else {})
            components = {
                name: self._spawn(name, arguments, environment)
                for name, arguments in commands.items()
            }
            self.home.note_start(Started(at, environment, components))

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
            arguments = (COMPONENTS | TRIGGERER)[name]
            pid = self._spawn(name, arguments, started.environment)
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
            parents = [p for p in members if p.pid in components.values()]
            self._processes.end([p for p in parents if p.pid != components.get("api-server")])
            # No task needs the API server any more, but open pages can delay its end for long.
            server = [p for p in parents if p.pid == components.get("api-server")]
            self._processes.end(server, grace_s=_LEFTOVER_GRACE_S)
            self._processes.end(self._processes.members(), grace_s=_LEFTOVER_GRACE_S)
            self.home.forget_start()
        return bool(members)

    def _spawn(self, name: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> int:
        return self._processes.spawn(name, [str(_airflow()), *arguments], environment)

    def _migrate(self, environment: Mapping[str, str]) -> None:
        installed = version("apache-airflow-core")
        if self.home.migrated_to() == installed and (self.home.path / "airflow.db").exists():
            return
        log = self._processes.log("migrate")
        try:
            with log.open("ab") as out:
                subprocess.run(
                    [str(_airflow()), "db", "migrate"],
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
        self.home.note_migration(installed)

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


def _airflow() -> Path:
    """Return the command beside this Python; the one on PATH may be another installation's."""
    return Path(sys.executable).parent / "airflow"
