"""A home of such an Airflow, with a user of each role: made once, and then only read."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localcloud.airflow.environment import environment_for, inherited
from localcloud.airflow.home import Home
from tests.composer_packages import python_path
from tests.conftest import ROOT, eventually

PASSWORD = "none but in a test"
AUTH_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"


_AIRFLOW = Path(sys.executable).parent / "airflow"


class FabHome:
    """A database with the project's DAGs, and users who are called like their role.

    Args:
        folder: becomes AIRFLOW_HOME.
        path: what the API server is served under, such as `/team/airflow`; or nothing.
        cloud: the environment of a local cloud.
    """

    def __init__(self, folder: Path, path: str, cloud: Mapping[str, str]) -> None:
        home = Home(folder)
        home.prepare(())
        port = home.choose_port()
        self.url = f"http://127.0.0.1:{port}{path}"
        self.folder = folder
        self.environment = {
            **inherited(os.environ),
            **environment_for(
                folder,
                cloud=cloud,
                port=port,
                secrets=home.secrets(),
                dags=ROOT / "dags",
                plugins=ROOT / "plugins",
                path=path,
                shape={"AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGER},
                settings={
                    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
                    # Or FAB refuses the sixth login from one address within 40 s.
                    "AIRFLOW__FAB__AUTH_RATE_LIMITED": "False",
                },
            ),
            "PYTHONPATH": python_path("airflow.providers.fab"),
        }
        self._airflow("db", "migrate")
        self._airflow("dags", "reserialize")
        self.run("tests.fab.add_users", PASSWORD)

    def run(self, module: str, *arguments: str) -> Any:
        """Run a module with the FAB provider's Python; what it prints, which is JSON."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Start an API server; its address."""
        log = self.folder / "api-server.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(_AIRFLOW), "api-server"],
                env=self.environment,
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )
        try:
            eventually(
                lambda: process.poll() is not None or self._answers(),
                within_s=400,
                what="an answer of the API server",
            )
            assert process.poll() is None, log.read_text()[-3000:]
            yield self.url
        finally:
            process.terminate()
            process.wait(60)

    def _answers(self) -> bool:
        import httpx

        with contextlib.suppress(httpx.TransportError):
            url = f"{self.url}/api/v2/version"
            return httpx.get(url, timeout=10, trust_env=False).status_code == 200
        return False

    def _airflow(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(_AIRFLOW), *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
