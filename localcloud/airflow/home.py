"""The folder that an Airflow lives in: what is made once and kept, whatever runs or not."""

import base64
import dataclasses
import json
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from localcloud.airflow.environment import USERS, Secrets
from localcloud.files import write_json

_PORTS = "ports.json"
_SECRETS = "secrets.json"
_STARTED = "started.json"
_MIGRATED = "migrated"
_LOCAL_SETTINGS = Path(__file__).parent / "config" / "airflow_local_settings.py"
# Where SimpleAuthManager looks for passwords before it makes some up and prints them.
_PASSWORDS = "simple_auth_manager_passwords.json.generated"


@dataclasses.dataclass(frozen=True)
class Started:
    """How what runs was started. Times are in seconds since the epoch.

    Attributes:
        at: when all of it was.
        environment: of every component.
        components: their process ids, by name.
        replaced: when those were that have been replaced since, by name.
    """

    at: float
    environment: dict[str, str] = dataclasses.field(repr=False)
    components: dict[str, int]
    replaced: dict[str, float] = dataclasses.field(default_factory=dict)

    def since(self, name: str) -> float:
        """Return since when a component is the one that it is."""
        return self.replaced.get(name, self.at)


class Home:
    """An AIRFLOW_HOME. All its files are for their owner's eyes alone.

    Args:
        path: the folder, made by `prepare`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the folder, its settings, and the users' passwords where they are missing."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Airflow writes one with keys of its own otherwise, each component at once.
        config = self.path / "airflow.cfg"
        if not config.exists():
            config.write_text("# Airflow's settings here come from the environment.\n")
        local_settings = self.path / "config" / _LOCAL_SETTINGS.name
        local_settings.parent.mkdir(exist_ok=True)
        local_settings.write_bytes(_LOCAL_SETTINGS.read_bytes())
        passwords = {user: secrets.token_urlsafe(12) for user in USERS} | self.passwords()
        self._write(_PASSWORDS, passwords)

    def passwords(self) -> dict[str, str]:
        """Return the users' passwords by name; empty before `prepare`."""
        return {str(user): str(word) for user, word in self._read(_PASSWORDS).items()}

    def secrets(self) -> Secrets:
        """Return the keys, made at the first call."""
        kept = self._read(_SECRETS)
        if not kept:
            kept = {
                "fernet_key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
                "jwt_secret": secrets.token_urlsafe(64),
                "secret_key": secrets.token_urlsafe(32),
            }
            self._write(_SECRETS, kept)
        return Secrets(**kept)

    def port(self) -> int | None:
        """Return the API server's port, as last chosen."""
        port = self._read(_PORTS).get("api")
        return None if port is None else int(port)

    def choose_port(self) -> int:
        """Return a free port for the API server: the last one, if nobody has taken it."""
        for wanted in (self.port() or 0, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", wanted))
                except OSError:
                    continue
                port: int = probe.getsockname()[1]
            self._write(_PORTS, {"api": port})
            return port
        raise OSError("no port is free on 127.0.0.1")

    def started(self) -> Started | None:
        """Return how the last start was done; what it started may have ended since."""
        kept = self._read(_STARTED)
        return Started(**kept) if kept else None

    def note_start(self, started: Started) -> None:
        """Keep how the start was done, for whoever comes later."""
        self._write(_STARTED, dataclasses.asdict(started))

    def forget_start(self) -> None:
        """Nothing runs any more."""
        (self.path / _STARTED).unlink(missing_ok=True)

    def migrated_to(self) -> str | None:
        """Return the Airflow version that the database's tables are of."""
        try:
            return (self.path / _MIGRATED).read_text()
        except FileNotFoundError:
            return None

    def note_migration(self, version: str) -> None:
        """Keep the version that the tables are of now."""
        (self.path / _MIGRATED).write_text(version)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return content

    def _write(self, name: str, content: dict[str, Any]) -> None:
        write_json(self.path / name, content, mode=0o600)
