"""Asks Airflow and the page as a user of each role, and prints what they are allowed.

The arguments are the users' password, and their names.
"""

import json
import sys
from typing import Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import create_app
from airflow.configuration import conf
from starlette.testclient import TestClient

BACKFILL = "/api/v2/dags/imagen_backfill"
RUN = f"{BACKFILL}/dagRuns/by-admin"
# What is asked, as docs/security.md calls it: method, path, body. 401 and 403 are a no.
QUESTIONS: dict[str, tuple[str, str, Any]] = {
    "opens the page": ("GET", "/imagen/api/actions", None),
    "finds it in the menu": ("GET", "/api/v2/plugins", None),
    "sees runs and their forms": ("GET", RUN, None),
    "triggers": ("POST", f"{BACKFILL}/dagRuns", {"conf": {"dry_run": True}, "logical_date": None}),
    "pauses": ("PATCH", BACKFILL, {"is_paused": False}),
    "clears": ("POST", f"{RUN}/clear", {"dry_run": True}),
    "approves": ("PATCH", f"{RUN}/taskInstances/approve/-1/hitlDetails", {"chosen_options": ["x"]}),
    "reads Variables": ("GET", "/api/v2/variables/imagen_stream", None),
    "manages users": ("GET", "/auth/fab/v1/users", None),
}
_NO = (401, 403)


def main() -> None:
    """Print a JSON object: of each user, of each question, whether they may."""
    password, names = sys.argv[1], sys.argv[2:]
    found: dict[str, dict[str, bool]] = {}
    # Below the path that Airflow is served under.
    address = f"http://testserver{urlsplit(conf.get('api', 'base_url')).path}"
    with TestClient(create_app(), address, raise_server_exceptions=False) as client:
        _as(client, "Admin", password)
        made = client.post(
            f"{BACKFILL}/dagRuns",
            json={"dag_run_id": "by-admin", "logical_date": None, "conf": {"dry_run": True}},
        )
        made.raise_for_status()
        stored = client.post("/api/v2/variables", json={"key": "imagen_stream", "value": "{}"})
        stored.raise_for_status()
        for name in names:
            _as(client, name, password)
            found[name] = {}
            for question, (method, path, body) in QUESTIONS.items():
                status = client.request(method, path, json=body).status_code
                # The task that would wait for an answer doesn't: that is said only to who may.
                assert status < 500, (name, question, status)
                found[name][question] = status not in _NO
    print(json.dumps(found))


def _as(client: TestClient, name: str, password: str) -> None:
    client.cookies.clear()
    client.headers.pop("Authorization", None)
    answer = client.post("/auth/token", json={"username": name, "password": password})
    client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"


if __name__ == "__main__":
    main()
