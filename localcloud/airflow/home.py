"""The home folder of an Airflow: files that are created once and kept between starts."""

import base64
import dataclasses
import json
import os
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from localcloud.airflow.environment import Secrets
from localcloud.files import write_json

_PORTS = "ports.json"
_SECRETS = "secrets.json"
_STARTED = "started.json"
_MIGRATED = "migrated"
_LOCAL_SETTINGS = Path(__file__).parent / "config" / "airflow_local_settings.py"
# SimpleAuthManager reads passwords here. Without the file, it would generate and print some.
_PASSWORDS = "simple_auth_manager_passwords.json.generated"


@dataclasses.dataclass(frozen=True)
class Started:
    """A record of the last start. Times are in seconds since 1970.

    Attributes:
        at: when Airflow was started.
        environment: the environment of every component.
        components: the components' process ids, by name.
        shape: what the Airflow's shape is called.
        path: the path that the API server is served under, or nothing.
        roles: the users' roles, by user name.
        commands: what each component runs.
        environments: what a component's environment has beside that of all, or in its place.
        replaced: when components were restarted since, by name.
    """

    at: float
    environment: dict[str, str] = dataclasses.field(repr=False)
    components: dict[str, int]
    shape: str = ""
    path: str = ""
    roles: dict[str, str] = dataclasses.field(default_factory=dict)
    commands: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    environments: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    replaced: dict[str, float] = dataclasses.field(default_factory=dict)

    def since(self, name: str) -> float:
        """Return when the current process of a component was started."""
        return self.replaced.get(name, self.at)

    def environment_of(self, name: str) -> dict[str, str]:
        """Return the environment of a component."""
        return self.environment | self.environments.get(name, {})


class Home:
    """An AIRFLOW_HOME folder, readable by its owner only.

    Args:
        path: the folder, created by `prepare`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def passwords_file(self) -> Path:
        """The file of passwords by user name, where SimpleAuthManager looks for it."""
        return self.path / _PASSWORDS

    def prepare(self, users: Iterable[str]) -> None:
        """Create the folder, its settings and the users' passwords, where they are missing."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Without the file, all components write one with keys of their own at the same time.
        config = self.path / "airflow.cfg"
        if not config.exists():
            config.write_text("# Airflow's settings here come from the environment.\n")
        local_settings = self.path / "config" / _LOCAL_SETTINGS.name
        local_settings.parent.mkdir(exist_ok=True)
        local_settings.write_bytes(_LOCAL_SETTINGS.read_bytes())
        passwords = {user: secrets.token_urlsafe(12) for user in users} | self.passwords()
        self._write(_PASSWORDS, passwords)

    def passwords(self) -> dict[str, str]:
        """Return the passwords by user name; empty before `prepare`."""
        return {str(user): str(word) for user, word in self._read(_PASSWORDS).items()}

    def secrets(self) -> Secrets:
        """Return the keys; the first call creates them."""
        known = self._read(_SECRETS)
        keys = {
            "fernet_key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "jwt_secret": secrets.token_urlsafe(64),
            "secret_key": secrets.token_urlsafe(32),
            "service_password": secrets.token_urlsafe(32),
        } | known
        if keys != known:
            self._write(_SECRETS, keys)
        return Secrets(**keys)

    def port(self, of: str = "api") -> int | None:
        """Return the port that was chosen last, by default the API server's."""
        port = self._read(_PORTS).get(of)
        return None if port is None else int(port)

    def choose_port(self, of: str = "api") -> int:
        """Choose a free port, by default for the API server: the last one if it is still free.

        Raises:
            OSError: no port is free.
        """
        for candidate in (self.port(of) or 0, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", candidate))
                except OSError:
                    continue
                port: int = probe.getsockname()[1]
            self._write(_PORTS, self._read(_PORTS) | {of: port})
            return port
        raise OSError("no port is free on 127.0.0.1")

    def started(self) -> Started | None:
        """Return the record of the last start. Its processes may have ended since."""
        record = self._read(_STARTED)
        return Started(**record) if record else None

    def note_start(self, started: Started) -> None:
        """Save the record of a start."""
        self._write(_STARTED, dataclasses.asdict(started))

    def forget_start(self) -> None:
        """Delete the record of the last start: nothing is running any more."""
        (self.path / _STARTED).unlink(missing_ok=True)

    def migrated_to(self, shape: str) -> str | None:
        """Return the Airflow version that a shape's database was last migrated to."""
        try:
            return (self.path / f"{_MIGRATED}-{shape}").read_text()
        except FileNotFoundError:
            return None

    def note_migration(self, shape: str, version: str) -> None:
        """Save the version that a shape's database was migrated to."""
        (self.path / f"{_MIGRATED}-{shape}").write_text(version)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return content

    def _write(self, name: str, content: dict[str, Any]) -> None:
        write_json(self.path / name, content, mode=0o600)
