"""The metadata server, as google-auth, gcloud-aio-auth and google-genai ask it."""

import asyncio
import base64
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from localcloud.http import HttpServer
from localcloud.metadata import metadata_app

ROOT = Path(__file__).parents[2]
HEADERS = {"Metadata-Flavor": "Google"}
ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default"


@pytest.fixture
def address() -> Iterator[str]:
    """host:port of a metadata server for the project demo-project."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = HttpServer(metadata_app("demo-project"))
    port = asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    yield f"127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def environment(address, tmp_path) -> dict[str, str]:
    """Of a process that has no other credentials than this server's."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if key
        not in (
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_CLOUD_PROJECT",
            "GOOGLE_VERTEX_BASE_URL",
            "NO_GCE_CHECK",
        )
    }
    return inherited | {
        "GCE_METADATA_HOST": address,
        "GCE_METADATA_IP": address,
        "CLOUDSDK_CONFIG": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }


def ask(address: str, path: str, **query: str) -> requests.Response:
    return requests.get(f"http://{address}{path}", params=query, headers=HEADERS, timeout=60)


def run(program: str, environment: dict[str, str]) -> dict:
    """Run a program with the environment; its last line of output is JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_google_auth_finds_credentials_and_project(environment, address):
    program = """
import json, google.auth
from google.auth.transport.requests import Request
credentials, project = google.auth.default(
    scopes=["https://www.googleapis.com/auth/cloud-platform"])
credentials.refresh(Request())
print(json.dumps({"project": project, "token": credentials.token, "valid": credentials.valid,
    "email": credentials.service_account_email, "universe": credentials.universe_domain}))
"""
    found = run(program, environment)
    token = ask(address, f"{ACCOUNT}/token").json()["access_token"]
    assert found == {
        "project": "demo-project",
        "token": token,
        "valid": True,
        "email": "imagen-worker@demo-project.iam.gserviceaccount.com",
        "universe": "googleapis.com",
    }


def test_an_identity_token_names_its_audience(environment):
    program = """
import base64, json, google.oauth2.id_token
from google.auth.transport.requests import Request
token = google.oauth2.id_token.fetch_id_token(Request(), "https://service.example")
claims = token.split(".")[1]
print(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)).decode())
"""
    assert run(program, environment)["aud"] == "https://service.example"


def test_gcloud_aio_finds_a_token_and_the_project(environment):
    program = """
import asyncio, json, aiohttp
from gcloud.aio.auth import Token
async def main():
    async with aiohttp.ClientSession() as session:
        token = Token(session=session, scopes=["s"])
        print(json.dumps({"token": await token.get(), "project": await token.get_project()}))
asyncio.run(main())
"""
    found = run(program, environment)
    assert found["token"].startswith("ya29.local-")
    assert found["project"] == "demo-project"


@pytest.mark.slow
def test_google_genai_starts_with_these_credentials(environment):
    program = """
import json
from google import genai
client = genai.Client(vertexai=True, location="us-central1")
print(json.dumps({"project": client._api_client.project,
    "token": client._api_client._access_token()}))
"""
    found = run(program, environment)
    assert found["project"] == "demo-project"
    assert found["token"].startswith("ya29.local-")


def test_without_the_header_only_the_root_answers(address):
    assert requests.get(f"http://{address}/", timeout=60).status_code == 200
    for path in (f"{ACCOUNT}/token", "/computeMetadata/v1/project/project-id", "/nowhere"):
        answer = requests.get(f"http://{address}{path}", timeout=60)
        assert answer.status_code == 403
        assert answer.headers["Metadata-Flavor"] == "Google"
        assert "ya29" not in answer.text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("project/project-id", "demo-project"),
        ("instance/service-accounts/default/scopes", "https://www.googleapis.com/auth/"),
        (
            "instance/service-accounts/default/email",
            "imagen-worker@demo-project.iam.gserviceaccount.com",
        ),
        ("instance/service-accounts/", "default/\n"),
        ("instance/zone", "/zones/us-central1-a"),
        ("universe/universe-domain", "googleapis.com"),
    ],
)
def test_values_are_plain_text(address, path, expected):
    answer = ask(address, f"/computeMetadata/v1/{path}")
    assert answer.status_code == 200
    assert expected in answer.text
    assert answer.headers["Content-Type"].startswith("application/text")
    assert answer.headers["Metadata-Flavor"] == "Google"


def test_the_numeric_project_id_is_a_number_that_stays(address):
    first = ask(address, "/computeMetadata/v1/project/numeric-project-id").text
    assert len(first) == 12
    assert int(first) == json.loads(
        ask(address, "/computeMetadata/v1/project/numeric-project-id", alt="json").text
    )


def test_a_recursive_directory_does_not_contain_tokens(address):
    account = ask(address, f"{ACCOUNT}/", recursive="true").json()
    assert account == {
        "aliases": ["default"],
        "email": "imagen-worker@demo-project.iam.gserviceaccount.com",
        "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
    }
    everything = ask(address, "/computeMetadata/v1/", recursive="true")
    assert everything.json()["project"]["project-id"] == "demo-project"
    assert "ya29" not in everything.text


def test_a_token_has_a_type_and_an_end(address):
    token = ask(address, f"{ACCOUNT}/token").json()
    assert token["token_type"] == "Bearer"
    assert 600 < token["expires_in"] <= 3600


def test_what_does_not_exist_is_not_found(address):
    for path in ("project/nope", "instance/service-accounts/other/token", "project/project-id/x"):
        answer = ask(address, f"/computeMetadata/v1/{path}")
        assert answer.status_code == 404
        assert answer.headers["Metadata-Flavor"] == "Google"
    assert ask(address, f"{ACCOUNT}/identity").status_code == 400


def test_the_identity_token_is_a_jwt(address):
    token = ask(address, f"{ACCOUNT}/identity", audience="a", format="full").text
    header, claims, _ = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")
    )
    assert json.loads(header)["alg"] == "RS256"
    assert json.loads(claims)["email"].startswith("imagen-worker@")


@pytest.mark.asyncio
async def test_tokens_differ_per_start_and_are_never_logged(caplog):
    caplog.set_level(logging.DEBUG)
    tokens = []
    for _ in range(2):
        server = HttpServer(metadata_app("demo-project", "worker@<project>.iam.example"))
        port = await server.start()
        answer = await asyncio.to_thread(ask, f"127.0.0.1:{port}", f"{ACCOUNT}/token")
        email = await asyncio.to_thread(ask, f"127.0.0.1:{port}", f"{ACCOUNT}/email")
        assert email.text == "worker@demo-project.iam.example"
        tokens.append(answer.json()["access_token"])
        await server.stop()
    assert tokens[0] != tokens[1]
    assert not any(token in caplog.text for token in tokens)
