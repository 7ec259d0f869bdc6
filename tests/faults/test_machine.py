"""The machine underneath: a disk that is full, a clock that is set."""

import contextlib
import datetime
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.pubsub_v1 import PublisherClient, SubscriberClient

from localcloud.clients import raw_client
from tests.conftest import BUCKET, PROJECT, eventually
from tests.faults.books import prompt_bodies

pytestmark = [
    pytest.mark.full,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

# Pub/Sub takes no more in one request.
AT_ONCE = 1000
TOPIC = f"projects/{PROJECT}/topics/prompts"
SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/prompts-sub"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 30 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here: that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def own_cloud(state: Path) -> Iterator[dict[str, str]]:
    """A local cloud of the test's own; its environment."""

    def command(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "localcloud", "--state", str(state), *words],
            capture_output=True,
            text=True,
            check=False,
        )

    done = command("up", "--detach")
    assert done.returncode == 0, done.stderr
    try:
        yield json.loads((state / "environment.json").read_text())
    finally:
        command("down")


def bucket_of(environment: dict[str, str]) -> storage.Bucket:
    options = {"api_endpoint": environment["STORAGE_EMULATOR_HOST"]}
    client = storage.Client(PROJECT, AnonymousCredentials(), client_options=options)
    return client.bucket(BUCKET)


def test_a_disk_that_is_full_is_told_of_and_spoils_nothing(faults, small_disk):
    bodies = prompt_bodies("kept", faults.many(2_000, least=100))
    with own_cloud(small_disk / "state") as environment:
        host = environment["PUBSUB_EMULATOR_HOST"]
        publisher = raw_client(PublisherClient, host)
        subscriber = raw_client(SubscriberClient, host)
        bucket = bucket_of(environment)
        for start in range(0, len(bodies), AT_ONCE):
            part = bodies[start : start + AT_ONCE]
            publisher.publish(topic=TOPIC, messages=[{"data": body} for body in part])
        bucket.blob("images/before.png").upload_from_string(b"before" * 1000)

        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as out, contextlib.suppress(OSError):
            while True:
                out.write(b"\0" * 4096)
        large = [{"data": b"x" * 5_000_000}]
        with pytest.raises(exceptions.ServiceUnavailable, match=r"disk full"):
            publisher.publish(topic=TOPIC, messages=large, timeout=60, retry=None)
        with pytest.raises(exceptions.ServiceUnavailable, match=r"No space left"):
            bucket.blob("images/lost.png").upload_from_string(b"x" * 3_000_000, retry=None)

        filler.unlink()
        assert not bucket.blob("images/lost.png").exists(), "nothing half-written"
        assert bucket.blob("images/before.png").download_as_bytes() == b"before" * 1000
        bucket.blob("images/lost.png").upload_from_string(b"x" * 3_000_000)
        publisher.publish(topic=TOPIC, messages=[{"data": b"again"}], timeout=60)
        wanted = {*bodies, b"again"}

        def all_there() -> bool:
            answer = subscriber.pull(subscription=SUBSCRIPTION, max_messages=1000, timeout=60)
            wanted.difference_update(item.message.data for item in answer.received_messages)
            return not wanted

        eventually(all_there, what="every message that was taken")
    faults.row(
        "localcloud: the disk under its state is full, and then is not",
        f"{len(bodies):,} messages and an object from before are whole; refused with the reason",
        lost=len(wanted),
    )


# Python imports it by itself. What spans of time are measured with is left as it is, and what gRPC
# makes its deadlines of: it has them kept in C, by the clock that is not set.
SETS_THE_CLOCK = """
import os, pathlib, threading, time, time_machine

def watch():
    while not (hours := pathlib.Path(os.environ["CLOCK"]).read_text()):
        time.sleep(0.05)
    import grpc._channel
    now = time_machine.escape_hatch.time.time
    grpc._channel._deadline = lambda timeout: None if timeout is None else now() + timeout
    time_machine.travel(time.time() + 3600 * int(hours), tick=True).start()

threading.Thread(target=watch, daemon=True).start()
"""


@pytest.mark.parametrize("hours", [1, -1], ids=["forward", "back"])
def test_a_clock_that_is_set_disturbs_nobody(
    hours, faults, cloud, lane, start, books, paid, unanswered, tmp_path, monkeypatch
):
    """The clock of the stream's process: its token, its leases, its names."""
    clock = tmp_path / "clock"
    clock.write_text("")
    (tmp_path / "sitecustomize.py").write_text(SETS_THE_CLOCK)
    with monkeypatch.context() as environment:
        environment.setenv("CLOCK", str(clock))
        environment.setenv("PYTHONPATH", str(tmp_path))
        job = start("stream")
    bodies = prompt_bodies(f"clock{hours}", faults.many(1_000, least=100))
    half = len(bodies) // 2
    cloud.models(latency_s=0.5)
    lane.publish(*bodies[:half])
    eventually(lambda: cloud.models()["in_flight"] > 0, what="a call")
    clock.write_text(str(hours))
    books.wait(bodies[:half])
    lane.publish(*bodies[half:])
    books.wait(bodies)

    def listed() -> int:
        objects = lane.objects("images/recent/predictions/").values()
        return sum(content.count(b"\n") for content in objects)

    # The newest list is by time, and whole all the same. Before the end: then a job gives storage
    # some seconds for it, and no more.
    eventually(lambda: listed() == len(bodies), what="a newest list with all of them")
    assert job.running
    job.finish()
    books.settle()
    twice = paid() - len(bodies)
    faults.row(
        f"stream: the clock is set an hour {'forward' if hours > 0 else 'back'}",
        f"{len(bodies):,} prompts",
        **books.figures(bodies, twice, unanswered()),
    )
    assert not books.failures
    assert twice == 0
    hour = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
    records = [
        json.loads(data)
        for name, data in lane.objects("images/").items()
        if re.fullmatch(r".*/[0-9a-f]{32}\.json", name)
    ]
    made = [datetime.datetime.fromisoformat(record["created_at"]) for record in records]
    assert any(abs(at - hour) < datetime.timedelta(minutes=10) for at in made), "it was set"
