"""All stand-ins together: up, down, and what outlives a restart."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from google import pubsub_v1

from localcloud.__main__ import environment_of
from localcloud.clients import raw_client
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

SUBSCRIPTION = "projects/demo-project/subscriptions/prompts-sub"


@pytest.fixture
def command(tmp_path):
    """`python -m localcloud` on a folder of the test's own; stopped at its end."""

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "localcloud", "--state", str(tmp_path / "state"), *words],
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    run("down")


def environment(tmp_path):
    return json.loads((tmp_path / "state" / "environment.json").read_text())


def publish(environment, data: bytes) -> None:
    publisher = raw_client(pubsub_v1.PublisherClient, environment["PUBSUB_EMULATOR_HOST"])
    publisher.publish(topic="projects/demo-project/topics/prompts", messages=[{"data": data}])


def pull(environment) -> list[bytes]:
    subscriber = raw_client(pubsub_v1.SubscriberClient, environment["PUBSUB_EMULATOR_HOST"])
    response = subscriber.pull(subscription=SUBSCRIPTION, max_messages=10, timeout=60)
    return [item.message.data for item in response.received_messages]


def bucket(environment):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    options = {"api_endpoint": environment["STORAGE_EMULATOR_HOST"]}
    client = storage.Client("demo-project", AnonymousCredentials(), client_options=options)
    return client.bucket("demo-project-imagen")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_messages_objects_and_ports_outlive_a_restart(command, tmp_path, end, eventually):
    assert command("up", "--detach").returncode == 0
    before = environment(tmp_path)
    publish(before, b"kept")
    bucket(before).blob("images/a.png").upload_from_string(b"kept too")
    os.kill(int((tmp_path / "state" / "lock").read_text()), end)
    eventually(lambda: command("env").returncode == 1, what="its end")
    left = tmp_path / "state" / "environment.json"
    assert left.exists() == (end is signal.SIGKILL)
    if left.exists():
        left.write_text(json.dumps(before | {"OF": "the dead one"}))
    with ThreadPoolExecutor() as pool:
        up = pool.submit(command, "up", "--detach")
        assert eventually(lambda: environment_of(tmp_path / "state"), what="the next") == before
        assert up.result().returncode == 0
    assert pull(before) == [b"kept"]
    assert bucket(before).blob("images/a.png").download_as_bytes() == b"kept too"


def test_env_prints_what_a_shell_can_evaluate(command, tmp_path):
    assert command("up", "--detach").returncode == 0
    shell = f"{command('env').stdout}\nenv"
    seen = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    for name, value in environment(tmp_path).items():
        assert f"{name}={value}" in seen.splitlines()


def test_run_gives_a_command_the_environment_and_passes_on_its_exit_code(command):
    assert command("up", "--detach").returncode == 0
    code = "import os, sys; sys.exit(7 if os.environ['PUBSUB_EMULATOR_HOST'] else 1)"
    assert command("run", sys.executable, "-c", code).returncode == 7


def test_a_second_one_on_the_same_folder_is_refused(command):
    assert command("up", "--detach").returncode == 0
    again = command("up")
    assert again.returncode == 1
    assert "another local cloud is running on" in again.stderr


def test_down_stops_the_local_cloud_and_succeeds_when_nothing_runs(command, tmp_path):
    assert command("down").returncode == 0
    assert command("up", "--detach").returncode == 0
    assert command("down").returncode == 0
    assert not (tmp_path / "state" / "environment.json").exists()
    assert "no local cloud is running on" in command("env").stderr


def in_flight(vertex_url) -> int:
    return requests.get(f"{vertex_url}/localcloud", timeout=60).json()["counts"]["in_flight"]


@pytest.mark.parametrize("setting", ["latency_s", "latency=1", "latency_s=-1", "latency_s=x"])
def test_a_setting_that_makes_no_sense_is_refused(command, setting):
    refused = command("up", "--set", setting)
    assert refused.returncode == 1
    assert "--set" in refused.stderr


def test_a_hanging_call_does_not_delay_the_stop_once_its_client_has_disconnected(
    command, tmp_path, eventually
):
    assert command("up", "--detach", "--set", "hang_rate=1").returncode == 0
    url = environment(tmp_path)["GOOGLE_VERTEX_BASE_URL"]
    path = "/v1/publishers/google/models/gemini-3.1-flash-image:generateContent"
    body = {"contents": [{"parts": [{"text": "a fox"}]}]}
    with pytest.raises(requests.Timeout):
        requests.post(url + path, json=body, headers={"Authorization": "Bearer x"}, timeout=(60, 1))

    eventually(lambda: in_flight(url) == 0, what="the end of the call")


# One that would wait much longer for what is under way than `down` does for it.
_PATIENT = """
import sys
from localcloud import __main__, http
http.SHUTDOWN_SECONDS = 600.0
sys.exit(__main__.main())
"""


def test_calls_in_progress_do_not_delay_the_stop(command, tmp_path, eventually, request):
    state = tmp_path / "state"
    patient = [sys.executable, "-c", _PATIENT, "--state", str(state)]
    process = subprocess.Popen([*patient, "up", "--set", "latency_s=600"], cwd=ROOT)
    request.addfinalizer(process.kill)
    eventually(lambda: environment_of(state), what="its readiness")
    url = environment(tmp_path)["GOOGLE_VERTEX_BASE_URL"]
    path = "/v1/publishers/google/models/gemini-3.1-flash-image:generateContent"
    body = json.dumps({"contents": [{"parts": [{"text": "a fox"}]}]})
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer x\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        eventually(lambda: in_flight(url) == 1, what="the call")
        assert command("down").returncode == 0
    assert process.wait(60) == 0


def test_predictions_sub_shows_no_canaries_and_canary_sub_nothing_else(command, tmp_path):
    assert command("up", "--detach").returncode == 0
    host = environment(tmp_path)["PUBSUB_EMULATOR_HOST"]
    publisher = raw_client(pubsub_v1.PublisherClient, host)
    publisher.publish(
        topic="projects/demo-project/topics/predictions",
        messages=[{"data": b"probe", "attributes": {"canary": "1"}}, {"data": b"real"}],
    )
    subscriber = raw_client(pubsub_v1.SubscriberClient, host)
    for name, data in (("predictions-sub", b"real"), ("canary-sub", b"probe")):
        (message,) = subscriber.pull(
            subscription=f"projects/demo-project/subscriptions/{name}", max_messages=9, timeout=60
        ).received_messages
        assert message.message.data == data


def dataflow_call(environment, method, path, body=None):
    url = environment["CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW"]
    url += f"v1b3/projects/demo-project/locations/us-central1/{path}"
    headers = {"Authorization": "Bearer x"}
    response = requests.request(method, url, json=body, headers=headers, timeout=60)
    response.raise_for_status()
    return response.json()


@pytest.mark.parametrize(
    "end", [pytest.param(signal.SIGTERM, marks=pytest.mark.full), signal.SIGKILL]
)
def test_jobs_stop_with_the_local_cloud_and_resume_with_it(command, tmp_path, end, eventually):
    assert command("up", "--detach", "--set", "latency_s=0").returncode == 0
    before = environment(tmp_path)
    bucket(before).blob("templates/stream.json").reload()
    parameters = {
        "messages_subscription": SUBSCRIPTION,
        "responses_topic": "projects/demo-project/topics/predictions",
        "dead_letter_topic": "projects/demo-project/topics/dead-letters",
        "images_output_location": "gs://demo-project-imagen/images",
    }
    launch = {
        "jobName": "imagen-stream",
        "containerSpecGcsPath": "gs://demo-project-imagen/templates/stream.json",
        "parameters": parameters,
    }
    answer = dataflow_call(before, "POST", "flexTemplates:launch", {"launchParameter": launch})
    job_id = answer["job"]["id"]

    def state() -> str:
        return str(dataflow_call(before, "GET", f"jobs/{job_id}")["currentState"])

    eventually(lambda: state() == "JOB_STATE_RUNNING", what="RUNNING")
    folder = tmp_path / "state" / "dataflow" / "jobs" / job_id
    pid = int((folder / "pid").read_text())
    os.kill(int((tmp_path / "state" / "lock").read_text()), end)
    eventually(lambda: command("env").returncode == 1, what="its end")
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), what="the job's end")
    assert command("up", "--detach", "--set", "latency_s=0").returncode == 0
    assert state() == "JOB_STATE_RUNNING"
    publish(before, b"after the restart")
    subscriber = raw_client(pubsub_v1.SubscriberClient, before["PUBSUB_EMULATOR_HOST"])

    def pulled() -> list[pubsub_v1.ReceivedMessage]:
        return subscriber.pull(
            subscription="projects/demo-project/subscriptions/predictions-sub",
            max_messages=1,
            timeout=30,
        ).received_messages

    (message,) = eventually(pulled, what="the prediction")
    assert json.loads(message.message.data)["prompt"] == "after the restart"
    dataflow_call(before, "PUT", f"jobs/{job_id}", {"requestedState": "JOB_STATE_CANCELLED"})
    eventually(lambda: state() == "JOB_STATE_CANCELLED", what="CANCELLED")
