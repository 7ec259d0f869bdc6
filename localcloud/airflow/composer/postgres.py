"""PostgreSQL as a process of this Airflow's own, for its metadata and for Celery's results."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from localcloud.airflow.composer.programs import POSTGRES_USER, as_postgres, postgres_folder
from localcloud.airflow.responses import AirflowError
from localcloud.airflow.shape import Component, Service

NAME = "postgres"
_USER = "airflow"
_STARTED_WITHIN_S = 60.0
_POLL_S = 0.1

# Durable against the end of a process, not of the machine: writing through to the disk would be
# most of what it takes. Composer's own sizes are not known; these are enough for two workers.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
}


class Postgres:
    """A cluster in a folder, with one user whose password it knows.

    Args:
        data: the cluster's folder, made by the first start.
        port: the port on 127.0.0.1.
        password: the user's.
        log: the server's log, which an error names.

    Raises:
        AirflowError: PostgreSQL is missing, too old, or of another version than the folder; or
            this is root and may not start it as somebody else.
    """

    def __init__(self, data: Path, port: int, password: str, log: Path) -> None:
        self._data = data
        self._port = port
        self._password = password
        self._log = log
        self._programs = postgres_folder(data)
        self._prefix = as_postgres(data)

    def url(self, scheme: str) -> str:
        """Return the URL of the database for SQLAlchemy, such as with `postgresql+psycopg2`."""
        return f"{scheme}://{_USER}:{self._password}@127.0.0.1:{self._port}/postgres"

    @property
    def service(self) -> Service:
        """The server, as a process that Airflow needs."""
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return Service(
            Component(
                (
                    *self._prefix,
                    str(self._programs / "postgres"),
                    "-D",
                    str(self._data),
                    "-p",
                    str(self._port),
                    *options,
                )
            ),
            self._prepare,
            self._wait,
        )

    def _prepare(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        # A start that was cut short leaves a folder that initdb refuses.
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", prefix="imagen-", suffix=".password") as file:
            file.write(self._password)
            file.flush()
            if self._prefix:
                shutil.chown(self._data, POSTGRES_USER)
                shutil.chown(file.name, POSTGRES_USER)
            self._initdb(Path(file.name))

    def _initdb(self, password: Path) -> None:
        command = [
            *self._prefix,
            str(self._programs / "initdb"),
            f"--pgdata={self._data}",
            f"--username={_USER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        if done.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            raise AirflowError(f"PostgreSQL's database cannot be created in {self._data}: {last}")

    def _wait(self, running: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _STARTED_WITHIN_S
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        while True:
            serves = subprocess.run(ready, env=clean, check=False).returncode == 0
            # It may be somebody else who serves on this port.
            if not running():
                raise AirflowError(f"PostgreSQL has stopped; {last_line(self._log)}")
            if serves:
                return
            if time.monotonic() > deadline:
                raise AirflowError(
                    f"PostgreSQL does not serve after {_STARTED_WITHIN_S:.0f} s; "
                    f"{last_line(self._log)}"
                )
            time.sleep(_POLL_S)


def last_line(log: Path) -> str:
    """Return the last line of a log, with the log's name."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f"last line of {log}: {lines[-1] if lines else '(empty)'}"
