"""What the machine lacks is said in one sentence, with what to install."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from localcloud.airflow.composer.programs import as_postgres, postgres_folder, redis_server
from localcloud.airflow.responses import AirflowError


def installed(folder: Path, version: str) -> Path:
    """A folder of PostgreSQL's programs that says which version it is."""
    folder.mkdir(parents=True)
    program = folder / "postgres"
    program.write_text(f'#!/bin/sh\necho "postgres (PostgreSQL) {version}"\n')
    program.chmod(0o755)
    return folder


def test_the_newest_postgresql_is_taken(tmp_path: Path) -> None:
    folders = [installed(tmp_path / version, version) for version in ("14.2", "16.1", "15.9")]
    assert postgres_folder(tmp_path / "data", folders) == tmp_path / "16.1"


def test_data_stays_with_the_version_that_made_it(tmp_path: Path) -> None:
    folders = [installed(tmp_path / version, version) for version in ("15.1", "16.1")]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("15\n")
    assert postgres_folder(tmp_path / "data", folders) == tmp_path / "15.1"


def test_data_of_a_version_that_is_not_installed_says_both_ways_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("13\n")
    said = "made by PostgreSQL 13, and installed is 15; remove the folder.*install postgresql-13$"
    with pytest.raises(AirflowError, match=said):
        postgres_folder(tmp_path / "data", [installed(tmp_path / "15", "15.3 (Debian 15.3-1)")])


def test_a_postgresql_that_is_too_old_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AirflowError, match=r"^PostgreSQL 13 is too old: Airflow needs 14 or newer"):
        postgres_folder(tmp_path / "data", [installed(tmp_path / "13", "13.20")])


def test_a_missing_postgresql_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(AirflowError, match=r"apt-get install postgresql$"):
        postgres_folder(tmp_path / "data", [tmp_path])


def test_a_missing_redis_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AirflowError, match=r"apt-get install redis-server$"):
        redis_server()


def test_valkey_does_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "valkey-server").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_server() == str(tmp_path / "valkey-server")


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root has rights to lose"
)
def test_root_that_may_not_become_another_user_is_told_what_else_there_is(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from localcloud.airflow.composer.programs import as_postgres; "
        f"as_postgres(Path({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-setuid,-setgid", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "PostgreSQL refuses to run as root" in last
    assert last.endswith("run this as another user than root, or use AIRFLOW=sqlite")


def test_who_is_not_root_runs_postgresql_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert as_postgres(tmp_path) == ()
