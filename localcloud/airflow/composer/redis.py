"""Redis (or Valkey) as a process of this Airflow's own: the queue between scheduler and workers."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from localcloud.airflow.composer.postgres import last_line
from localcloud.airflow.composer.programs import redis_server
from localcloud.airflow.responses import AirflowError
from localcloud.airflow.shape import Component, Service

NAME = "redis"
_STARTED_WITHIN_S = 30.0
_POLL_S = 0.05


class Redis:
    """A server that keeps nothing on disk: what it loses, Airflow has to queue again.

    Args:
        folder: its working folder, and where its settings are.
        port: the port on 127.0.0.1.
        password: what clients have to say.
        log: the server's log, which an error names.

    Raises:
        AirflowError: neither Redis nor Valkey is installed.
    """

    def __init__(self, folder: Path, port: int, password: str, log: Path) -> None:
        self._settings = folder / "redis.conf"
        self._port = port
        self._password = password
        self._log = log
        self._program = redis_server()

    @property
    def url(self) -> str:
        """The URL for Celery."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def service(self) -> Service:
        """The server, as a process that Airflow needs."""
        command = (self._program, str(self._settings))
        return Service(Component(command), self._prepare, self._wait)

    def _prepare(self) -> None:
        lines = [
            "bind 127.0.0.1",
            f"port {self._port}",
            f"requirepass {self._password}",
            f'dir "{self._settings.parent}"',
            'save ""',
            "appendonly no",
            "daemonize no",
        ]
        # Not on the command line, which everybody on the machine can read.
        opened = os.open(self._settings, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(opened, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def _wait(self, running: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _STARTED_WITHIN_S
        while not self._serves():
            if not running():
                raise AirflowError(f"Redis has stopped; {last_line(self._log)}")
            if time.monotonic() > deadline:
                raise AirflowError(
                    f"Redis does not serve after {_STARTED_WITHIN_S:.0f} s; {last_line(self._log)}"
                )
            time.sleep(_POLL_S)

    def _serves(self) -> bool:
        """Return whether it answers, and not somebody else who has taken the port."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._password}\r\n".encode())
                return connection.recv(5) == b"+OK\r\n"
        except OSError:
            return False
