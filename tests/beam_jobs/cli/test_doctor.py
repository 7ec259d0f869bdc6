"""What the doctor says: all is well, and each kind of thing that can be wrong."""

import asyncio
import json
import re
import socket

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from packaging.requirements import Requirement

from beam_jobs import __main__ as cli
from beam_jobs.catalog import DEFAULT_MODEL, KNOWN_MODELS
from beam_jobs.cli import doctor
from beam_jobs.cli.services import WrongError
from beam_jobs.cli.setup import Setup
from tests.conftest import BUCKET, PROJECT

pytestmark = pytest.mark.slow

VARIABLES = (
    *("PROJECT", "REGION", "BUCKET", "MODEL", "PROMPTS_TOPIC", "PREDICTIONS_TOPIC"),
    *("DEAD_LETTERS_TOPIC", "PROMPTS_SUBSCRIPTION", "PREDICTIONS_SUBSCRIPTION"),
    "GOOGLE_APPLICATION_CREDENTIALS",
)


@pytest.fixture(autouse=True)
def _nobodys_own(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def examine(capsys):
    """Run the doctor, and return its exit code and what is not well, by what was looked at."""

    def run(*arguments):
        code = cli.main(
            [*arguments, "doctor"] if "--project" in arguments else ["doctor", *arguments]
        )
        out = capsys.readouterr().out
        *lines, summary = out.splitlines()
        matches = [re.fullmatch(r"(ok|WRONG|-|\?|idle) +(.+?): (.+)", line) for line in lines]
        assert all(matches), out
        unwell = {match[2]: match[3] for match in matches if match[1] not in ("ok", "?", "idle")}
        assert summary.startswith("everything ") == (not unwell) == (code == 0)
        idle = any(match[1] == "idle" for match in matches)
        assert idle or summary != "everything is there, but prompts wait: see above"
        assert not idle or summary != "everything works"
        return code, unwell

    return run


def wrong(unwell):
    """What is wrong by itself, without what could not be asked for that reason."""
    return {what: text for what, text in unwell.items() if not text.startswith("not asked: ")}


def test_a_deployment_in_which_everything_works(cloud, examine, capsys):
    assert examine() == (0, {})


def test_it_says_what_it_looked_at(cloud, capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    for part in (
        *("Python: 3.1", "apache-beam: 2.", "google-genai: "),
        f"Pub/Sub: {cloud.environment['PUBSUB_EMULATOR_HOST']} (PUBSUB_EMULATOR_HOST)",
        f"credentials: VM credentials of {PROJECT}.svc.id.goog, from metadata server",
        *("topic prompts: exists", "subscription dead-letters-sub: exists, of dead-letters"),
        f"bucket of gs://{BUCKET}/images: exists, and images can be read and written",
        f"model {DEFAULT_MODEL} at global: answers",
    ):
        assert f"ok    {part}" in out
    assert "idle  stream imagen-stream in us-central1: no active job; prompts wait" in out


def test_it_leaves_nothing_and_no_image_is_paid_for(cloud, lane, examine):
    before = cloud.models()["images"]
    assert examine("--location", lane.images_location) == (0, {})
    assert lane.objects() == {}
    assert cloud.models()["images"] == before


# The stream


@pytest.mark.parametrize(
    ("jobs", "says"),
    [
        ([("imagen-stream", "RUNNING"), ("another", "RUNNING")], "ok    …: RUNNING (job id-0)"),
        (
            [("imagen-stream", "DRAINING"), ("imagen-stream", "QUEUED")],
            "ok    …: DRAINING (job id-0), QUEUED (job id-1)",
        ),
        ([], "idle  …: no active job; prompts wait until the stream is started"),
    ],
)
@pytest.mark.asyncio
async def test_it_says_whether_the_stream_has_an_active_job(
    cloud, serve, monkeypatch, capsys, jobs, says
):
    async def listing(request):
        assert request.path == f"/v1b3/projects/{PROJECT}/locations/europe-west4/jobs"
        assert dict(request.query) == {"filter": "ACTIVE", "name": "imagen-stream"}
        found = [
            {"id": f"id-{number}", "name": name, "currentState": f"JOB_STATE_{state}"}
            for number, (name, state) in enumerate(jobs)
        ]
        return web.json_response({"jobs": found} if found else {})

    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW", f"{await serve(listing)}/")
    monkeypatch.setenv("REGION", "europe-west4")
    assert await asyncio.to_thread(cli.main, ["doctor"]) == 0
    out = capsys.readouterr().out
    assert says.replace("…", "stream imagen-stream in europe-west4") + "\n" in out
    assert out.endswith("everything works\n" if jobs else "but prompts wait: see above\n")


def test_whoever_may_not_list_jobs_has_nothing_to_mend(cloud, capsys):
    cloud.dataflow(error_rate=1.0, error_status=403)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "?     stream imagen-stream in us-central1: not known: access is denied (" in out
    assert "grant this account roles/dataflow.viewer\n" in out
    assert out.endswith("everything works\n")


# What is missing


@pytest.mark.parametrize(
    ("variable", "line", "do"),
    [
        ("PREDICTIONS_TOPIC", "topic nope", "name another with PREDICTIONS_TOPIC"),
        ("PROMPTS_SUBSCRIPTION", "subscription nope", "name another with PROMPTS_SUBSCRIPTION"),
        ("BUCKET", "bucket of gs://nope/images", "name another with --location or BUCKET"),
        ("MODEL", "model nope at us-central1", "correct --model"),
    ],
)
def test_what_does_not_exist_is_named_with_what_to_do(
    cloud, examine, monkeypatch, variable, line, do
):
    monkeypatch.setenv(variable, "nope")
    code, unwell = examine()
    assert code == 1
    assert unwell[line].startswith("does not exist (NotFound: 404")
    assert do in unwell[line]


def test_a_misspelt_model_is_answered_with_the_known_ones(cloud, examine):
    _, unwell = examine("--model", "gemini-3.1-flash-imagee")
    (text,) = unwell.values()
    assert text.endswith(", ".join(KNOWN_MODELS))


def test_a_subscription_of_another_topic_is_wrong(cloud, examine, monkeypatch):
    monkeypatch.setenv("PROMPTS_SUBSCRIPTION", "predictions-sub")
    code, unwell = examine()
    assert (code, unwell) == (
        1,
        {
            "subscription predictions-sub": f"belongs to projects/{PROJECT}/topics/predictions, "
            f"expected projects/{PROJECT}/topics/prompts; correct PROMPTS_SUBSCRIPTION or "
            "PROMPTS_TOPIC"
        },
    )


def test_a_subscription_whose_topic_was_deleted_is_wrong(cloud, lane, examine, monkeypatch):
    lane.publisher.delete_topic(topic=lane.topic("prompts"))
    monkeypatch.setenv("PROMPTS_SUBSCRIPTION", f"{lane.name}-prompts-sub")
    code, unwell = examine()
    assert code == 1
    assert "its topic was deleted" in unwell[f"subscription {lane.name}-prompts-sub"]


@pytest.mark.parametrize("location", ["/tmp/images", "gs://"])
def test_a_folder_that_is_none_is_wrong(cloud, examine, location):
    _, unwell = examine("--location", location)
    (text,) = unwell.values()
    assert "expected gs://<bucket>/<folder>" in text
    assert "correct --location" in text


def test_without_a_project_nothing_of_one_is_asked(cloud, examine):
    code, unwell = examine("--project", "")
    assert code == 1
    assert wrong(unwell) == {"project": "none; pass --project, or set GOOGLE_CLOUD_PROJECT"}
    assert set(unwell.values()) - set(wrong(unwell).values()) == {"not asked: there is no project"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--model", "a b"),
        ("--model-location", "../v1"),
        ("--model-endpoint", "1234"),
        ("--model-endpoint", "projects/p/locations/l/endpoints/1?x=y"),
    ],
)
def test_what_would_change_the_url_is_refused_before_anything_is_asked(capsys, option, value):
    assert cli.main(["doctor", option, value]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {option}: expected a ")
    assert repr(value) in captured.err


# Credentials


def key_file(tmp_path, token_uri):
    """A service account's key, of nobody, whose tokens come from `token_uri`."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    content = {
        "type": "service_account",
        # With an e-mail address, google-auth would ask Google where the account may be used.
        "client_email": "fox.of-my-project",
        "private_key_id": "0123secret",
        "private_key": key.decode(),
        "token_uri": token_uri,
    }
    path = tmp_path / "key.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.asyncio
async def test_a_key_is_told_by_its_account_and_never_shown(
    cloud, serve, monkeypatch, tmp_path, capsys
):
    async def token(request):
        return web.json_response({"access_token": "ya29.secret", "expires_in": 3600})

    path = key_file(tmp_path, await serve(token))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    assert await asyncio.to_thread(cli.main, ["doctor"]) == 0
    out = capsys.readouterr().out
    account = "service account credentials of fox.of-my-project"
    assert f"ok    credentials: {account}, from {path} file via the GOOGLE_APP" in out
    assert "secret" not in out
    assert "PRIVATE" not in out


@pytest.mark.asyncio
async def test_credentials_that_are_refused_are_wrong_and_nothing_is_asked_with_them(
    cloud, serve, monkeypatch, tmp_path, examine
):
    async def refused(request):
        return web.json_response({"error": "invalid_grant"}, status=400)

    path = key_file(tmp_path, await serve(refused))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    code, unwell = await asyncio.to_thread(examine)
    assert code == 1
    (text,) = wrong(unwell).values()
    assert text.startswith("the credentials are refused (RefreshError:")
    assert text.endswith("log in: gcloud auth application-default login")
    assert len(unwell) == 11


def test_a_server_of_tokens_that_does_not_answer_is_not_taken_for_another(
    cloud, monkeypatch, tmp_path, examine
):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file(tmp_path, url)))
    _, unwell = examine()
    assert unwell["credentials"].startswith("what issues their tokens does not answer (")


@pytest.mark.parametrize("content", [None, "no JSON", '{"type": "fox"}'])
def test_a_file_that_holds_no_credentials_is_named(cloud, monkeypatch, tmp_path, examine, content):
    path = tmp_path / "key.json"
    if content:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    code, unwell = examine()
    assert (code, list(wrong(unwell))) == (1, ["credentials"])
    assert str(path) in unwell["credentials"]


# Services that fail


def test_storage_and_models_that_are_down_cost_their_lines_alone(cloud, examine):
    cloud.storage(down=1)
    cloud.models(down=1)
    code, unwell = examine()
    assert (code, len(unwell)) == (1, 2)
    for text in unwell.values():
        assert "503" in text
        assert "does not answer" in text


def test_a_service_that_nobody_listens_for_is_named_with_its_address(cloud, examine, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
    _, unwell = examine()
    assert len(unwell) == 7
    assert all(f"Pub/Sub at {address} does not answer" in text for text in unwell.values())


def test_a_service_that_hangs_does_not_keep_the_doctor(cloud, capsys):
    cloud.storage(hang_rate=1)
    setup = Setup(PROJECT, None, KNOWN_MODELS[0], None, None)
    assert not doctor.diagnose(setup, patience_s=2.0)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line[:5] == "WRONG"]
    assert "bucket" in line
    assert "no answer within 2 s" in line


@pytest.mark.asyncio
async def test_a_bucket_in_which_nothing_may_be_stored_is_wrong(cloud, serve, monkeypatch, examine):
    async def some(request):
        assert request.path.endswith("/iam/testPermissions")
        return web.json_response({"permissions": ["storage.objects.get"]})

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", await serve(some))
    code, unwell = await asyncio.to_thread(examine)
    assert code == 1
    (text,) = unwell.values()
    assert text == (
        "this account lacks storage.objects.create, storage.objects.list; grant it "
        "roles/storage.objectUser"
    )


def refusal(status, name, message):
    async def answer(request):
        error = {"code": status, "status": name, "message": message}
        return web.json_response({"error": error}, status=status)

    return answer


@pytest.mark.parametrize(
    ("status", "name", "message", "says"),
    [
        (
            *(403, "PERMISSION_DENIED", "Vertex AI API has not been used in project 1 before"),
            "its API is not enabled",
        ),
        (
            *(403, "PERMISSION_DENIED", "Permission denied on resource"),
            "grant this account roles/aiplatform.user",
        ),
        (*(400, "FAILED_PRECONDITION", "the model is not allowed"), "the model is not allowed"),
        (*(429, "RESOURCE_EXHAUSTED", "Resource exhausted"), "try again in a minute"),
        (*(500, "INTERNAL", "Internal error"), "try again in a minute"),
    ],
)
@pytest.mark.asyncio
async def test_what_vertex_refuses_is_said_with_what_to_do(
    cloud, serve, monkeypatch, examine, status, name, message, says
):
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", await serve(refusal(status, name, message)))
    code, unwell = await asyncio.to_thread(examine)
    assert code == 1
    (text,) = unwell.values()
    assert message in text
    assert says in text


# Endpoints and versions


def test_a_real_service_among_stand_ins_is_wrong(cloud, examine, monkeypatch):
    # An address of Google's that nothing reaches.
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "https://storage.googleapis.invalid")
    _, unwell = examine()
    assert "set STORAGE_EMULATOR_HOST too, or unset the others" in unwell["Cloud Storage"]
    assert "PUBSUB_EMULATOR_HOST" in unwell["Cloud Storage"]


@pytest.mark.parametrize(
    ("requirement", "says"),
    [
        ("aiohttp==0.1", "expected ==0.1; make install"),
        ("no-such-package-of-ours==1.0", "missing, expected ==1.0; make install"),
    ],
)
def test_a_package_in_another_version_is_wrong(requirement, says):
    with pytest.raises(WrongError, match=re.escape(says)):
        doctor._package(Requirement(requirement))


def test_a_python_that_is_not_supported_is_wrong(monkeypatch):
    monkeypatch.setattr(doctor, "PYTHONS", ((2, 6), (2, 7)))
    with pytest.raises(WrongError, match=r"expected 2\.6 to 2\.7"):
        doctor._python()


def test_the_model_is_looked_for_where_the_jobs_call_it(monkeypatch):
    monkeypatch.setenv("REGION", "europe-west4")
    endpoint = "projects/p/locations/asia-east1/endpoints/1"
    for given, *locations in (
        ((KNOWN_MODELS[0], None, None), "global"),
        ((KNOWN_MODELS[0], None, "global, us,eu"), "global", "us", "eu"),
        (("imagen-4", None, None), "europe-west4"),
        (("flux-1", endpoint, None), "asia-east1"),
    ):
        setup = Setup(PROJECT, None, *given)
        assert setup.locations == tuple(locations)
        models = [what for what, _ in doctor.checks(setup) if what.startswith("model ")]
        assert models == [f"model {setup.model} at {location}" for location in locations]
    with pytest.raises(ValueError, match="--model-location: imagen-4 has the :predict API"):
        Setup(PROJECT, None, "imagen-4", None, "us,eu")
