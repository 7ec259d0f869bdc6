"""What an Airflow on this machine is made of: which processes, and what each of them sees.

There are two shapes. `SMALL` needs nothing but Python: SQLite, tasks as children of the scheduler,
the simple login. `localcloud.airflow.composer` has the other, as Cloud Composer runs it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from localcloud.airflow.home import Home
from localcloud.airflow.processes import ProcessGroup


@dataclasses.dataclass(frozen=True)
class Component:
    """A process of Airflow's, or one that it needs.

    Attributes:
        command: what is run.
        environment: what its environment has beside that of all, or in its place.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Service:
    """A process that Airflow needs before its database can be made.

    Attributes:
        component: the process.
        prepare: makes what it needs; called before it is started.
        wait: waits until it serves. It is given what says whether the process still runs.
    """

    component: Component
    prepare: Callable[[], None]
    wait: Callable[[Callable[[], bool]], None]


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that one start of a shape needs to know.

    Attributes:
        dags: the folder of DAG files.
        plugins: the folder of plugins.
        path: the path that the API server is served under, such as `/airflow`; or nothing.
        settings: environment variables for all processes.
        services: what is started before the database is made, in this order.
        components: Airflow's own processes.
        migration: the commands that make the database, in this order.
        database: a file that is there if the database is.
    """

    dags: Path
    plugins: Path
    path: str
    settings: Mapping[str, str]
    services: Mapping[str, Service]
    components: Mapping[str, Component]
    migration: tuple[tuple[str, ...], ...]
    database: Path


class Shape(Protocol):
    """A way to run Airflow."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    @property
    def users(self) -> Mapping[str, str]:
        """The role of each user, by user name."""

    def plan(
        self, home: Home, processes: ProcessGroup, *, dags: Path, plugins: Path, triggerer: bool
    ) -> Plan:
        """Look at the machine, and say what to start.

        Raises:
            AirflowError: the machine lacks something. Nothing has been started.
        """


@dataclasses.dataclass(frozen=True)
class Small:
    """SQLite, the LocalExecutor and the simple login: an Airflow of three processes.

    Args:
        airflow: the command.
        root: the folder that `beam_jobs/` is in.
    """

    airflow: Path
    root: Path
    name: str = "sqlite"

    @property
    def users(self) -> Mapping[str, str]:
        """Two of SimpleAuthManager's roles."""
        return {"admin": "admin", "viewer": "viewer"}

    def plan(
        self, home: Home, processes: ProcessGroup, *, dags: Path, plugins: Path, triggerer: bool
    ) -> Plan:
        """Say what to start; the machine has it."""
        # Logs are read from the folder that they are written to, so no log server is needed.
        commands = {
            "api-server": ("api-server",),
            "scheduler": ("scheduler", "--skip-serve-logs"),
            "dag-processor": ("dag-processor",),
        }
        if triggerer:  # for deferrable tasks. The project has none, and an idle one costs most CPU.
            commands["triggerer"] = ("triggerer", "--skip-serve-logs")
        database = home.path / "airflow.db"
        return Plan(
            dags=dags,
            plugins=plugins,
            path="",
            settings={
                "AIRFLOW__CORE__EXECUTOR": "localcloud.airflow.executor.LastProcessExecutor",
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(
                    f"{user}:{role}" for user, role in self.users.items()
                ),
                # Several processes write to SQLite in turn; the default wait of 5 s is too short.
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}?timeout=60",
                # On Composer, beam_jobs/ lies beside the plugins: tasks read prompt files with it.
                "PYTHONPATH": str(self.root),
            },
            services={},
            components={
                name: Component((str(self.airflow), *arguments))
                for name, arguments in commands.items()
            },
            migration=((str(self.airflow), "db", "migrate"),),
            database=database,
        )
