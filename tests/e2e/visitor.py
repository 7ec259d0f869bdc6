"""Somebody who asks the API server by hand, with a login or without."""

import http.client
import json
import urllib.parse
from typing import Any

from tests.conftest import eventually
from tests.e2e.conftest import Operated


class Visitor:
    """Sends paths as they are, which other clients mend; `user` is who logs in, if anybody does.

    They are below that of Airflow's own address.
    """

    def __init__(self, operated: Operated, user: str | None) -> None:
        self._at = urllib.parse.urlsplit(operated.airflow.url)
        self._headers: dict[str, str] = {}
        if user:
            login = {"username": user, "password": operated.airflow.home.passwords()[user]}
            answer = self.ask("/auth/token", "POST", json.dumps(login))
            # As a browser has it.
            self._headers["Cookie"] = f"_token={json.loads(answer[2])['access_token']}"

    def ask(
        self, target: str, method: str = "GET", body: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        assert self._at.hostname
        connection = http.client.HTTPConnection(self._at.hostname, self._at.port, timeout=120)
        headers = {**self._headers, "Content-Type": "application/json"}
        connection.request(method, self._at.path + target, body, headers)
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return response.status, named, response.read()

    def panel(self, name: str) -> Any:
        """Return what a part of the page is told; asked again where a busy machine is late."""
        answers: list[dict[str, Any]] = []

        def answered() -> bool:
            status, _, body = self.ask(f"/imagen/api/{name}")
            assert status == 200
            answers.append(json.loads(body))
            return "has not answered" not in str(answers[-1]["error"])

        eventually(answered, what=f"an answer from storage for {name}")
        assert answers[-1]["error"] is None
        return answers[-1]["data"]
