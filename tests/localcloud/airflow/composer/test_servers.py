"""PostgreSQL and Redis start as processes of our own, or leave nothing behind."""

import functools
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from localcloud.airflow import Airflow, AirflowError
from localcloud.airflow.composer.postgres import Postgres
from localcloud.airflow.composer.redis import Redis
from localcloud.airflow.processes import ProcessGroup
from localcloud.airflow.shape import Service
from localcloud.airflow.standalone import SHAPES
from tests.localcloud.airflow.composer.servers import missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ProcessGroup]:
    group = ProcessGroup(tmp_path)
    yield group
    group.end(group.members(), grace_s=2)
    assert group.members() == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(processes: ProcessGroup, name: str, service: Service) -> int:
    service.prepare()
    pid = processes.spawn(name, list(service.component.command), dict(os.environ))
    service.wait(functools.partial(processes.runs, pid))
    return pid


def test_postgresql_serves_as_its_own_user_in_a_folder_that_only_root_can_enter(
    tmp_path: Path, processes: ProcessGroup
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    data = closed / "data"
    port = free_port()
    server = Postgres(data, port, "pw-1", tmp_path / "postgres.log")
    pid = start(processes, "postgres", server.service)
    process = psutil.Process(pid)
    assert process.uids().effective == data.stat().st_uid != 0
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert {c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"} == {"127.0.0.1"}
    # It is found again, and what it was told is kept over a restart.
    assert pid in {member.pid for member in processes.members()}
    processes.end(processes.members(), grace_s=5)
    start(processes, "postgres", Postgres(data, port, "pw-1", tmp_path / "postgres.log").service)


def test_redis_asks_for_its_password_and_keeps_nothing(
    tmp_path: Path, processes: ProcessGroup
) -> None:
    port = free_port()
    server = Redis(tmp_path, port, "pw-2", tmp_path / "redis.log")
    pid = start(processes, "redis", server.service)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"PING\r\nAUTH pw-2\r\nCONFIG GET save\r\n")
        said = b""
        while said.count(b"\r\n") < 7:
            said += connection.recv(1000)
    assert said.startswith(b"-NOAUTH")
    assert b"+OK\r\n*2\r\n$4\r\nsave\r\n$0\r\n" in said
    assert "pw-2" not in " ".join(psutil.Process(pid).cmdline())
    assert stat.S_IMODE((tmp_path / "redis.conf").stat().st_mode) == 0o600


@pytest.mark.parametrize("taken", ["postgres", "redis"])
def test_a_port_that_somebody_takes_in_the_last_moment_is_said_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    airflow = Airflow(tmp_path)
    if not SHAPES["composer"].packages.is_dir():
        pytest.skip("make install-composer has not been run")
    choose = airflow.home.choose_port
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        monkeypatch.setattr(
            airflow.home, "choose_port", lambda of="api": port if of == taken else choose(of)
        )
        name = {"postgres": "PostgreSQL", "redis": "Redis"}[taken]
        with pytest.raises(AirflowError, match=rf"^{name} has stopped; last line of .*{taken}.log"):
            airflow.start({"GOOGLE_CLOUD_PROJECT": "p"}, shape=SHAPES["composer"])
    assert not airflow.running()
    assert airflow.home.started() is None
