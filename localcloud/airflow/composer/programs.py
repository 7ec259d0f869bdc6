"""Finds the programs of Debian's packages, and says which package is missing."""

import grp
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from localcloud.airflow.responses import AirflowError

_DEBIAN_SERVERS = Path("/usr/lib/postgresql")
OLDEST_POSTGRES = 14
"""https://airflow.apache.org/docs/apache-airflow/3.3.1/installation/prerequisites.html"""

POSTGRES_USER = "postgres"
"""The user that Debian's package adds."""


def redis_server() -> str:
    """Return the path of Redis's server, or of Valkey's.

    Raises:
        AirflowError: neither is installed.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    raise AirflowError(
        "AIRFLOW=composer needs Redis, and neither redis-server nor valkey-server is on PATH; "
        "install it: apt-get install redis-server"
    )


def postgres_folder(data: Path, folders: Iterable[Path] | None = None) -> Path:
    """Return the folder of PostgreSQL's programs: those that made `data`, or else the newest.

    Args:
        data: the cluster's data folder, which need not exist.
        folders: where to look; by default where Debian puts them, and on PATH.

    Raises:
        AirflowError: PostgreSQL is not installed, is too old, or is not the one that made `data`.
    """
    found: dict[int, Path] = {}
    for folder in _postgres_folders() if folders is None else folders:
        if version := _version(folder / "postgres"):
            found.setdefault(version, folder)
    if not found:
        raise AirflowError(
            "AIRFLOW=composer needs PostgreSQL's server, which is neither in /usr/lib/postgresql "
            "nor on PATH; install it: apt-get install postgresql"
        )
    made_by = data / "PG_VERSION"
    if made_by.exists():
        version = int(made_by.read_text())
        if version in found:
            return found[version]
        raise AirflowError(
            f"{data} was made by PostgreSQL {version}, and installed is {_listed(found)}; remove "
            f"the folder, and with it what that Airflow knew, or install postgresql-{version}"
        )
    if max(found) < OLDEST_POSTGRES:
        raise AirflowError(
            f"PostgreSQL {max(found)} is too old: Airflow needs {OLDEST_POSTGRES} or newer; "
            "install it: apt-get install postgresql"
        )
    return found[max(found)]


def as_postgres(data: Path) -> tuple[str, ...]:
    """Return what precedes PostgreSQL's commands: it refuses to run as root.

    The state folder may be below one that only root can enter, such as /root, so the server keeps
    the right to pass. It is as close to the rest of Airflow as that is: on this machine, root.

    Raises:
        AirflowError: this is root, and may not start processes as another user, or there is none.
    """
    if os.geteuid() != 0:
        return ()
    try:
        user = pwd.getpwnam(POSTGRES_USER)
        group = grp.getgrgid(user.pw_gid).gr_name
    except KeyError:
        raise AirflowError(
            f"PostgreSQL refuses to run as root, and there is no user {POSTGRES_USER}; add it "
            f"(adduser --system --group {POSTGRES_USER}), or run this as another user than root"
        ) from None
    prefix = (
        "setpriv",
        f"--reuid={POSTGRES_USER}",
        f"--regid={group}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        "--",
    )
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise AirflowError(
            "PostgreSQL refuses to run as root, and root may not start a process as "
            f"{POSTGRES_USER} here ({said.strip()}); run this as another user than root, or use "
            "AIRFLOW=sqlite"
        ) from None
    if data.exists():
        shutil.chown(data, user.pw_uid, user.pw_gid)
    return prefix


def _postgres_folders() -> list[Path]:
    debian = sorted(_DEBIAN_SERVERS.glob("*/bin")) if _DEBIAN_SERVERS.is_dir() else []
    on_path = shutil.which("postgres")
    return [*debian, *([Path(on_path).resolve().parent] if on_path else [])]


def _version(program: Path) -> int | None:
    try:
        said = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(found[1]) if found else None


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(str(version) for version in sorted(versions))
