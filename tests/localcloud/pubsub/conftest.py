"""Servers to test: ours, and Google's emulator where the Cloud SDK is installed.

Clients are google-cloud-pubsub's own, sent there by `PUBSUB_EMULATOR_HOST` as any program would be.
"""

import asyncio
import glob
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1 import types
from google.pubsub_v1.services.publisher import PublisherClient as RawPublisherClient

from localcloud.pubsub import PubSubServer

_JAR = "google-cloud-sdk/platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"


class ServerThread:
    """A `PubSubServer` in an event loop of its own, for clients that block."""

    def __init__(self, state_dir: Path | None, port: int = 0) -> None:
        self._server = PubSubServer(state_dir, port=port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self.run(self._server.start())
        self.address = f"127.0.0.1:{self.port}"

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def stats(self, subscription: str) -> Any:
        async def stats() -> Any:
            return self._server.broker.subscription_stats(subscription)

        return self.run(stats())

    def stop(self, grace_s: float = 0.2) -> None:
        if self._thread.is_alive():
            self.run(self._server.stop(grace_s))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(60)
            self._loop.close()


class Cloud:
    """A project of its own on one server, and what tests do there."""

    def __init__(self, address: str, project: str | None = None) -> None:
        previous = os.environ.get("PUBSUB_EMULATOR_HOST")
        os.environ["PUBSUB_EMULATOR_HOST"] = address
        try:
            self.publisher = pubsub_v1.PublisherClient()
            self.subscriber = pubsub_v1.SubscriberClient()
        finally:
            if previous is None:
                del os.environ["PUBSUB_EMULATOR_HOST"]
            else:
                os.environ["PUBSUB_EMULATOR_HOST"] = previous
        # The plain client underneath: one request per publish, without batching.
        self.topics = RawPublisherClient(transport=self.publisher.transport)
        self.address = address
        self.project = project or f"test-{uuid.uuid4().hex[:12]}"
        self._streams: list[Any] = []

    def close(self) -> None:
        for call in self._streams:
            call.cancel()
        self.publisher.transport.close()
        self.subscriber.close()

    def topic_name(self, name: str) -> str:
        return f"projects/{self.project}/topics/{name}"

    def subscription_name(self, name: str) -> str:
        return f"projects/{self.project}/subscriptions/{name}"

    def topic(self, name: str = "prompts", **fields: Any) -> str:
        full = self.topic_name(name)
        return self.topics.create_topic(request={"name": full, **fields}, timeout=60).name

    def subscription(self, topic: str, name: str = "prompts-sub", **fields: Any) -> str:
        full = self.subscription_name(name)
        request = {"name": full, "topic": topic, **fields}
        return self.subscriber.create_subscription(request=request, timeout=60).name

    def publish(self, topic: str, *messages: bytes | dict[str, Any]) -> list[str]:
        drafts = [each if isinstance(each, dict) else {"data": each} for each in messages]
        request = {"topic": topic, "messages": drafts}
        return list(self.topics.publish(request=request, timeout=60, retry=None).message_ids)

    def pull_now(self, subscription: str, most: int = 100) -> list[Any]:
        request = types.PullRequest(
            subscription=subscription, max_messages=most, return_immediately=True
        )
        return list(self.subscriber.pull(request=request, timeout=60, retry=None).received_messages)

    def pull(self, subscription: str, count: int, within_s: float = 240.0) -> list[Any]:
        """Pull until `count` messages have come, or fail at the deadline."""
        found: list[Any] = []
        end = time.monotonic() + within_s
        while len(found) < count:
            assert time.monotonic() < end, f"{len(found)} of {count} messages within {within_s} s"
            found += self.pull_now(subscription, count - len(found)) or _pause()
        return found

    def stays_empty(self, subscription: str, for_s: float = 0.3) -> bool:
        """Whether no message comes for a while."""
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            if self.pull_now(subscription):
                return False
            _pause()
        return True

    def ack(self, subscription: str, *received: Any) -> None:
        request = {"subscription": subscription, "ack_ids": [_ack_id(each) for each in received]}
        self.subscriber.acknowledge(request=request, timeout=60, retry=None)

    def lease(self, subscription: str, seconds: int, *received: Any) -> None:
        request = {
            "subscription": subscription,
            "ack_ids": [_ack_id(each) for each in received],
            "ack_deadline_seconds": seconds,
        }
        self.subscriber.modify_ack_deadline(request=request, timeout=60, retry=None)

    def stream(self, subscription: str, **first: Any) -> "OpenStream":
        """A streaming pull as it is on the wire, without the client's lease management."""
        first = {"stream_ack_deadline_seconds": 10, **first}
        stream = OpenStream(self.subscriber, subscription, first)
        self._streams.append(stream)
        return stream


class OpenStream:
    """One StreamingPull call. `received` and `error` fill in the background."""

    def __init__(self, client: Any, subscription: str, first: dict[str, Any]) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.received: list[Any] = []
        self.error: Exception | None = None
        self.ended = threading.Event()
        self.send(subscription=subscription, **first)
        self._call: Any = None
        self._client = client
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call = self._client.streaming_pull(
                requests=iter(self._requests.get, None), retry=None, timeout=600
            )
            for response in self._call:
                self.received += response.received_messages
        except Exception as error:
            self.error = error
        self.ended.set()

    def send(self, **fields: Any) -> None:
        self._requests.put(types.StreamingPullRequest(**fields))

    def cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._requests.put(None)
        self._thread.join(60)


def _ack_id(received: Any) -> str:
    return received if isinstance(received, str) else received.ack_id


def _pause() -> list[Any]:
    time.sleep(0.03)
    return []


def _wait_until(condition: Callable[[], Any], within_s: float = 240.0) -> Any:
    end = time.monotonic() + within_s
    while not (result := condition()):
        assert time.monotonic() < end, f"not so within {within_s} s"
        time.sleep(0.02)
    return result


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return _wait_until


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerThread]]:
    """Starts servers of ours, and stops what is left of them."""
    started: list[ServerThread] = []

    def start(state_dir: Path | None = None, port: int = 0) -> ServerThread:
        started.append(ServerThread(state_dir, port))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def connect() -> Iterator[Callable[..., Cloud]]:
    """Opens clients to an address, and closes them."""
    opened: list[Cloud] = []

    def connect(address: str, project: str | None = None) -> Cloud:
        opened.append(Cloud(address, project))
        return opened[-1]

    yield connect
    for cloud in opened:
        cloud.close()


@pytest.fixture(scope="session")
def ours_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = ServerThread(tmp_path_factory.mktemp("pubsub"))
    yield server.address
    server.stop()


@pytest.fixture(scope="session")
def google_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    roots = ["/usr/lib", "/opt", str(Path.home()), os.environ.get("CLOUDSDK_ROOT", "")]
    places = [f"{root}/{_JAR}" for root in roots if root]
    if os.environ.get("CLOUDSDK_ROOT"):
        places.append(f"{os.environ['CLOUDSDK_ROOT']}/{_JAR.partition('/')[2]}")
    jars = sorted(jar for place in places for jar in glob.glob(place))
    if not jars:
        pytest.skip("Google's Pub/Sub emulator is not installed: nothing to compare ours with")
    if shutil.which("java") is None:
        pytest.skip("Google's Pub/Sub emulator needs java, which is not on PATH")
    log = tmp_path_factory.mktemp("google") / "emulator.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                "java",
                "-XX:TieredStopAtLevel=1",
                "-jar",
                jars[-1],
                "--host=127.0.0.1",
                f"--port={port}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        try:
            grpc.channel_ready_future(channel).result(120)
        except futures.TimeoutError:
            pytest.fail(f"Google's emulator did not answer within 120 s:\n{log.read_text()}")
        channel.close()
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(params=["ours", pytest.param("google", marks=pytest.mark.slow)])
def server_kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cloud(server_kind: str, request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """A fresh project on each server in turn."""
    cloud = Cloud(request.getfixturevalue(f"{server_kind}_address"))
    yield cloud
    cloud.close()
