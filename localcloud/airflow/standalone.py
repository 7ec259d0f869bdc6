"""An Airflow on this machine: its components started, watched, replaced and ended together.

`airflow standalone` is not what starts them: its log server listens on every address, its parent
is one more Airflow in memory, and it ends where one component is to be replaced. The components
are the same commands that it runs.
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

from localcloud.airflow.answers import AirflowError
from localcloud.airflow.client import AirflowClient
from localcloud.airflow.environment import environment_for, inherited
from localcloud.airflow.home import Home, Started
from localcloud.airflow.processes import GRACE_S, Pack
from localcloud.airflow.ready import wait_until_ready
from localcloud.resources import Names

ROOT = Path(__file__).resolve().parents[2]

# Logs are read from the folder that they are written to: nobody has to serve them.
COMPONENTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}
# Runs what tasks defer. None of ours does, and it is the dearest to leave idle.
TRIGGERER = {"triggerer": ("triggerer", "--skip-serve-logs")}

_MIGRATION_WITHIN_S = 180.0
# Workers without their scheduler turn a deaf ear to SIGTERM.
_LEFTOVER_GRACE_S = 2.0


class Airflow:
    """The Airflow of one state folder; it need not have been started by this object.

    Args:
        state: the folder that the local cloud keeps its state in; ours is `airflow` below it.
    """

    def __init__(self, state: Path) -> None:
        self.home = Home(state.resolve() / "airflow")
        self._pack = Pack(self.home.path)

    @property
    def url(self) -> str:
        """Where the UI and the API are.

        Raises:
            AirflowError: it was never started here.
        """
        port = self.home.port()
        if port is None:
            raise AirflowError(f"no Airflow was ever started in {self.home.path}")
        return f"http://127.0.0.1:{port}"

    def client(self, user: str = "admin") -> AirflowClient:
        """Return a client with the login of `user`, `admin` or `viewer`."""
        return AirflowClient(self.url, user, self.home.passwords()[user])

    def running(self) -> bool:
        """Return whether anything of it runs, whole or not."""
        return bool(self._pack.members())

    def lost(self) -> list[str]:
        """Return the components that were started, not stopped, and run no more."""
        started = self.home.started()
        return sorted(set(started.components) - set(self.components())) if started else []

    def components(self) -> dict[str, int]:
        """Return the process ids of the components that run, by name."""
        started = self.home.started()
        if started is None:
            return {}
        alive = {process.pid for process in self._pack.members()}
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
        """Start the components; `wait_until_ready` says when they serve.

        Args:
            cloud: the local cloud's environment; `environment_for` explains the rest.
            dags: the folder of DAG files.
            plugins: the folder of plugins.
            bucket: the bucket of images, prompts and templates.
            paused: whether a new DAG waits to be switched on.
            triggerer: whether to run what tasks defer.
            settings: further variables; they win.

        Raises:
            AirflowError: it runs already, or its database cannot be made.
        """
        self.home.prepare()
        with self._alone():
            if self.components():
                raise AirflowError(f"Airflow runs on {self.home.path.parent} already: {self.url}")
            # What a crash left behind.
            self._pack.end(self._pack.members(), grace_s=_LEFTOVER_GRACE_S)
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
            # Composer gets beam_jobs/ beside the plugins: tasks read prompt files with its rules.
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
        """Wait until it serves, schedules, and has parsed the DAGs' folder.

        Args:
            expected: ids of DAGs that must be there; default: at least one for each file that
                looks like a DAG's.
            within_s: seconds.

        Raises:
            AirflowError: a component ended, a DAG file cannot be imported, or the time is up; the
                message carries the log's end, or the import's error.
        """
        started = self.home.started()
        if started is None:
            raise AirflowError(f"Airflow was not started on {self.home.path.parent}")
        with self.client() as client:
            wait_until_ready(
                client,
                started,
                ended=self.lost,
                log=self._pack.log,
                expected=expected,
                within_s=within_s,
            )

    def restart(self, name: str) -> int:
        """Replace a component, whether it still runs or not, and return its process id.

        What it has left behind is ended with it, as if its machine had gone.

        Raises:
            AirflowError: there is no such component.
        """
        with self._alone():
            started = self.home.started()
            if started is None or name not in started.components:
                known = ", ".join(started.components) if started else "none, it was not started"
                raise AirflowError(f"no component {name!r}; there are: {known}")
            grace_s = GRACE_S if name in self.components() else 0.0
            left = self._pack.members(session=started.components[name])
            self._pack.end(left, grace_s=grace_s)
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
        """End everything, also what a crash left behind; whether there was anything.

        Tasks are let finish for some seconds, with the API server there to hear of it.
        """
        if not self.home.path.is_dir():
            return False
        with self._alone():
            components = self.components()
            found = self._pack.members()
            first = [p for p in found if p.pid in components.values()]
            self._pack.end([p for p in first if p.pid != components.get("api-server")])
            # Nobody is left who would ask it anything; open pages may keep it for long.
            server = [p for p in first if p.pid == components.get("api-server")]
            self._pack.end(server, grace_s=_LEFTOVER_GRACE_S)
            self._pack.end(self._pack.members(), grace_s=_LEFTOVER_GRACE_S)
            self.home.forget_start()
        return bool(found)

    def _spawn(self, name: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> int:
        return self._pack.spawn(name, [str(_airflow()), *arguments], environment)

    def _migrate(self, environment: Mapping[str, str]) -> None:
        wanted = version("apache-airflow-core")
        if self.home.migrated_to() == wanted and (self.home.path / "airflow.db").exists():
            return
        log = self._pack.log("migrate")
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
            raise AirflowError(f"the database cannot be made; see {log}") from error
        self.home.note_migration(wanted)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one start, stop or replace at a time."""
        with open(self.home.path / "lock", "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AirflowError(
                    f"somebody else is starting or stopping the Airflow of {self.home.path.parent};"
                    " try again in a moment"
                ) from None
            yield


def _airflow() -> Path:
    """Return the command beside this Python: the one on PATH may be another installation's."""
    return Path(sys.executable).parent / "airflow"
