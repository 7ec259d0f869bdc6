"""The scripts one after the other, as the README has them, against stand-ins: nothing is recorded.

The only thing set is LOCALCLOUD. The path of the checkout has a space in it; the launch is Beam's.
"""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STATE = ".state/localcloud"


class Checkout:
    """A copy of what the scripts need, with stand-ins of its own."""

    def __init__(self, root):
        self.root = root
        for name in ("beam_jobs", "localcloud", "scripts"):
            shutil.copytree(ROOT / name, root / name)  # with what is compiled
        (root / ".venv").symlink_to(ROOT / ".venv")
        # Nothing of what the tests' own stand-ins have set: they are others.
        self.environment = {name: os.environ[name] for name in ("PATH", "HOME")}
        self.environment |= {"TMPDIR": str(root), "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8")}

    def run(self, *command, **environment):
        return subprocess.run(
            command,
            cwd=self.root,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def localcloud(self, *arguments):
        done = self.run(".venv/bin/python", "-m", "localcloud", "--state", STATE, *arguments)
        assert done.returncode == 0, done.stderr

    def script(self, name, *arguments):
        return self.run(f"scripts/{name}.sh", *arguments, LOCALCLOUD=STATE)

    def call(self, path, body=None):
        """Call the local Dataflow."""
        environment = json.loads((self.root / STATE / "environment.json").read_text())
        url = environment["CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW"]
        url += f"v1b3/projects/demo-project/locations/us-central1/jobs{path}"
        headers = {"Authorization": "Bearer test", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "PUT"
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def image(self, path):
        """Return what is stored at a gs:// path."""
        environment = json.loads((self.root / STATE / "environment.json").read_text())
        client = storage.Client(
            project="demo-project",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": environment["STORAGE_EMULATOR_HOST"]},
        )
        bucket, _, name = path.removeprefix("gs://").partition("/")
        return client.bucket(bucket).blob(name).download_as_bytes()


@pytest.fixture
def checkout(tmp_path):
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip("the scripts run what `make install` has put into .venv")
    checkout = Checkout(tmp_path / "a check out")
    checkout.localcloud("up", "--detach")
    yield checkout
    checkout.localcloud("down")


def succeeded(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_an_empty_cloud_to_images_and_a_drained_stream(checkout, eventually):
    steps = f"export LOCALCLOUD={STATE}; source scripts/00_set_environment.sh"
    assert "BUCKET                    demo-project-imagen" in succeeded(
        checkout.run("bash", "-c", steps)
    )
    assert "Nothing to build" in succeeded(checkout.script("build_image"))

    launched = succeeded(checkout.script("01_run_dataflow", "--max_in_flight=3"))
    (job_id,) = re.findall(r"Submitted: job (\S+)", launched)
    job = checkout.call(f"/{job_id}?view=JOB_VIEW_ALL")
    options = job["environment"]["sdkPipelineOptions"]["options"]
    given = {
        "max_in_flight": 3,
        "max_num_workers": 2,
        "machine_type": "n2-standard-2",
        "service_account_email": "imagen-worker@demo-project.iam.gserviceaccount.com",
        "subnetwork": "regions/us-central1/subnetworks/imagen",
        "use_public_ips": False,
        "enable_streaming_engine": True,
        "sdk_container_image": "us-central1-docker.pkg.dev/demo-project/imagen/imagen-stream:local",
    }
    assert {name: options.get(name) for name in given} == given
    assert job["labels"]["app"] == "imagen"
    (page,) = re.findall(r"watch it: (\S+)", launched)
    with urllib.request.urlopen(page, timeout=60) as response:
        assert job_id in response.read().decode()

    for text in ("A fox in the snow", 'An owl, at "night"'):
        succeeded(checkout.script("publish_prompt", text))
    watched = succeeded(checkout.script("watch_predictions", "--count", "2", "--seconds", "300"))
    assert "✓ A fox in the snow" in watched
    assert '✓ An owl, at "night"' in watched
    paths = re.findall(r"^  (gs://demo-project-imagen/images/\S+)$", watched, re.MULTILINE)
    assert len(paths) == 2
    assert all(checkout.image(path).startswith(b"\x89PNG") for path in paths)

    again = checkout.script("01_run_dataflow")
    assert again.returncode == 1
    assert f"a job named imagen-stream is already active: {job_id}" in again.stderr
    assert "scripts/01_run_dataflow.sh --update" in again.stderr
    assert [job["id"] for job in checkout.call("")["jobs"]] == [job_id]

    # As it was told how to.
    (drain,) = re.findall(r"curl .*\\\n.*", again.stderr)
    (url,) = re.findall(r"http://\S+", drain)
    (body,) = re.findall(r"-d '(.*?)'", drain)
    assert url.endswith(f"/jobs/{job_id}")
    checkout.call(f"/{job_id}", json.loads(body))
    eventually(
        lambda: checkout.call(f"/{job_id}")["currentState"] == "JOB_STATE_DRAINED",
        what="the end of the drain",
    )
