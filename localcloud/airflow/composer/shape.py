"""The shape of Cloud Composer: which processes there are, and what each of them sees.

Composer 3 runs Airflow's components apart, its tasks on Celery workers. What each component sees of
the bucket: https://docs.cloud.google.com/composer/docs/composer-3/cloud-storage
"""

import dataclasses
import sys
from pathlib import Path

from localcloud.airflow.composer import bucket
from localcloud.airflow.composer.postgres import NAME as POSTGRES
from localcloud.airflow.composer.postgres import Postgres
from localcloud.airflow.composer.redis import NAME as REDIS
from localcloud.airflow.composer.redis import Redis
from localcloud.airflow.home import Home
from localcloud.airflow.processes import ProcessGroup
from localcloud.airflow.responses import AirflowError
from localcloud.airflow.shape import Component, Plan

_WORKERS = ("worker-1", "worker-2")
# On two cores, as many tasks in all as in the small shape. Composer has six on half a core.
_TASKS_PER_WORKER = 2
# The folder that a component sees in place of one that Composer does not show it.
_NOTHING = "empty"
_CREATE_USERS = Path(__file__).parents[1] / "config" / "create_users.py"


@dataclasses.dataclass(frozen=True)
class Composer:
    """PostgreSQL, Redis, two Celery workers, FAB, and `plugins/` where Composer shows it.

    Args:
        airflow: the command.
        root: the folder that `beam_jobs/` is in.
        packages: the folder of the packages that `.venv` has no need of.
    """

    airflow: Path
    root: Path
    packages: Path
    name: str = "composer"

    @property
    def users(self) -> dict[str, str]:
        """One for each of FAB's roles."""
        return {role.lower(): role for role in ("Admin", "Op", "User", "Viewer", "Public")}

    def plan(
        self, home: Home, processes: ProcessGroup, *, dags: Path, plugins: Path, triggerer: bool
    ) -> Plan:
        """Say what to start. There always is a triggerer, whatever is asked for.

        Raises:
            AirflowError: a package, PostgreSQL or Redis is missing, or cannot be used.
        """
        del triggerer
        if not (self.packages / "celery").is_dir():
            raise AirflowError(
                f"AIRFLOW=composer needs packages that are not in {self.packages}; install them: "
                "make install-composer"
            )
        password = home.secrets().service_password
        data = home.path / POSTGRES
        postgres = Postgres(data, home.choose_port(POSTGRES), password, processes.log(POSTGRES))
        redis = Redis(home.path, home.choose_port(REDIS), password, processes.log(REDIS))
        gcs = home.path / "gcs"
        (home.path / _NOTHING).mkdir(exist_ok=True)
        bucket.deploy(bucket.layout(dags, plugins, self.root / "beam_jobs"), gcs)
        return Plan(
            dags=gcs / "dags",
            plugins=gcs / "plugins",
            path="/airflow",
            settings={
                "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
                "AIRFLOW__CORE__AUTH_MANAGER": (
                    "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
                ),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url("postgresql+psycopg2"),
                "AIRFLOW__CELERY__BROKER_URL": redis.url,
                "AIRFLOW__CELERY__RESULT_BACKEND": postgres.url("db+postgresql"),
                "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(_TASKS_PER_WORKER),
                # As composer.tf has it, which says why.
                "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "180",
                "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "60",
                # Airflow's own default, which it warns about unless it is said.
                "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
                "PYTHONPATH": str(self.packages),
            },
            services={POSTGRES: postgres.service, REDIS: redis.service},
            components=self._components(home.path),
            migration=(
                (str(self.airflow), "db", "migrate"),
                (sys.executable, str(_CREATE_USERS), str(home.passwords_file), *self._roles()),
            ),
            database=data / "PG_VERSION",
        )

    def _components(self, home: Path) -> dict[str, Component]:
        nothing = str(home / _NOTHING)
        without_plugins = {"AIRFLOW__CORE__PLUGINS_FOLDER": nothing}
        commands = {
            "api-server": Component((str(self.airflow), "api-server")),
            "scheduler": Component(
                (str(self.airflow), "scheduler", "--skip-serve-logs"), without_plugins
            ),
            "dag-processor": Component((str(self.airflow), "dag-processor")),
            "triggerer": Component(
                (str(self.airflow), "triggerer", "--skip-serve-logs"),
                without_plugins | {"AIRFLOW__CORE__DAGS_FOLDER": nothing},
            ),
        }
        for worker in _WORKERS:
            arguments = ("celery", "worker", "--skip-serve-logs", "--without-gossip")
            named = ("--celery-hostname", worker, "--pid", str(home / f"{worker}.pid"))
            commands[worker] = Component((str(self.airflow), *arguments, *named))
        return commands

    def _roles(self) -> list[str]:
        return [f"{user}:{role}" for user, role in self.users.items()]
