"""What only our server promises: state that survives, clear refusals, quiet when idle."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import uvloop
from google.api_core import exceptions

from localcloud.pubsub import PubSubServer

SERVE = """
import asyncio, sys
from pathlib import Path
from localcloud.pubsub import PubSubServer

async def main():
    print(await PubSubServer(Path(sys.argv[1])).start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_state_survives_a_stop_and_a_start(start_server: Any, connect: Any, tmp_path: Path) -> None:
    server = start_server(tmp_path)
    cloud = connect(server.address)
    topic = cloud.topic(labels={"team": "images"})
    name = cloud.subscription(topic, ack_deadline_seconds=30, filter="-attributes:canary")
    cloud.publish(topic, b"done", b"leased", b"waiting")
    done, _ = cloud.pull(name, 2)
    cloud.ack(name, done)
    server.stop()

    server = start_server(tmp_path)
    again = connect(server.address, cloud.project)
    assert dict(again.topics.get_topic(request={"topic": topic}).labels) == {"team": "images"}
    assert server.stats(name).num_undelivered == 2
    assert sorted(each.message.data for each in again.pull(name, 2)) == [b"leased", b"waiting"]
    again.publish(topic, {"data": b"x", "attributes": {"canary": "1"}})
    assert again.stays_empty(name)


@pytest.mark.slow
def test_acknowledged_requests_survive_sigkill(connect: Any, tmp_path: Path) -> None:
    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert process.stdout is not None
        return process, f"127.0.0.1:{int(process.stdout.readline())}"

    process, address = start()
    cloud = connect(address)
    topic = cloud.topic()
    name = cloud.subscription(topic)
    published: set[str] = set()
    acked: set[str] = set()

    def publish_and_ack_forever() -> None:
        """Until the server dies under it; only what was answered counts."""
        while True:
            published.update(cloud.publish(topic, *[b"x"] * 20))
            received = cloud.pull_now(name, 10)
            asked = {each.message.message_id for each in received}
            try:
                cloud.ack(name, *received)
            except exceptions.GoogleAPICallError:
                # Whether these were acknowledged is anybody's guess.
                published.difference_update(asked)
                raise
            acked.update(asked)
            if len(acked) >= 30 and killer.ident is None:
                killer.start()

    # In the middle of whatever is asked by then.
    killer = threading.Timer(0.3, process.send_signal, (signal.SIGKILL,))
    with pytest.raises(exceptions.GoogleAPICallError):
        publish_and_ack_forever()
    process.wait(60)
    assert acked

    process, address = start()
    try:
        again = connect(address, cloud.project)
        found: set[str] = set()
        while received := again.pull_now(name, 1000):
            found |= {each.message.message_id for each in received}
        assert not found & acked
        assert published - acked <= found
    finally:
        process.kill()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def test_a_waiting_pull_and_a_stream_end_when_the_server_stops(
    start_server: Any, connect: Any, wait_until: Any
) -> None:
    server = start_server()
    cloud = connect(server.address)
    topic = cloud.topic()
    name = cloud.subscription(topic)
    stream = cloud.stream(name)
    cloud.publish(topic, b"x")
    wait_until(lambda: stream.received)
    # Which they could take, and do not.
    server.stop(grace_s=600)
    assert stream.ended.wait(60)
    assert isinstance(stream.error, exceptions.ServiceUnavailable)


def test_the_wording_of_refusals_is_the_services(start_server: Any, connect: Any) -> None:
    cloud = connect(start_server().address)
    with pytest.raises(exceptions.NotFound, match=r"Resource not found \(resource=prompts\)\."):
        cloud.topics.get_topic(request={"topic": cloud.topic_name("prompts")})
    topic = cloud.topic()
    with pytest.raises(exceptions.AlreadyExists, match=r"project \(resource=prompts\)\."):
        cloud.topic()
    with pytest.raises(exceptions.InvalidArgument, match="You passed 1001 in the request"):
        cloud.publish(topic, *[b"x"] * 1001)


@pytest.mark.parametrize(
    "fields",
    [
        {"push_config": {"push_endpoint": "http://127.0.0.1:1/"}},
        {"enable_exactly_once_delivery": True},
        {"retain_acked_messages": True},
    ],
    ids=["push", "exactly once", "retain"],
)
def test_unsupported_features_are_refused(
    start_server: Any, connect: Any, fields: dict[str, Any]
) -> None:
    cloud = connect(start_server().address)
    topic = cloud.topic()
    with pytest.raises(exceptions.MethodNotImplemented, match="not available in localcloud"):
        cloud.subscription(topic, **fields)


def test_an_unsupported_method_says_so(start_server: Any, connect: Any) -> None:
    cloud = connect(start_server().address)
    snapshot = f"projects/{cloud.project}/snapshots/snapshot"
    request = {"name": snapshot, "subscription": cloud.subscription(cloud.topic())}
    with pytest.raises(exceptions.MethodNotImplemented, match="Subscriber/CreateSnapshot is not"):
        cloud.subscriber.create_snapshot(request=request)


def test_a_request_of_more_than_a_response_holds_comes_in_several(
    start_server: Any, connect: Any, wait_until: Any
) -> None:
    cloud = connect(start_server().address)
    topic = cloud.topic()
    name = cloud.subscription(topic)
    for _ in range(4):
        cloud.publish(topic, b"x" * 2_000_000)
    assert len(cloud.pull_now(name)) == 1
    stream = cloud.stream(name)
    wait_until(lambda: len(stream.received) == 3)


def test_a_taken_port_is_refused(start_server: Any) -> None:
    first = start_server()
    with pytest.raises(RuntimeError, match=str(first.port)):
        start_server(port=first.port)


def test_a_second_server_on_the_same_state_is_refused(start_server: Any, tmp_path: Path) -> None:
    start_server(tmp_path)
    with pytest.raises(RuntimeError, match="state folder of its own"):
        start_server(tmp_path)


def test_it_runs_under_uvloop_and_starts_again(connect: Any, tmp_path: Path) -> None:
    async def main() -> None:
        server = PubSubServer(tmp_path)
        loop = asyncio.get_running_loop()
        cloud = connect(f"127.0.0.1:{await server.start()}")
        topic = await loop.run_in_executor(None, cloud.topic)
        name = await loop.run_in_executor(None, cloud.subscription, topic)
        await loop.run_in_executor(None, cloud.publish, topic, b"x")
        assert server.broker.subscription_stats(name).num_undelivered == 1
        await server.stop(0.1)
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.broker
        cloud = connect(f"127.0.0.1:{await server.start()}", cloud.project)
        assert len(await loop.run_in_executor(None, cloud.pull, name, 1)) == 1
        await server.stop(0.1)

    uvloop.run(main())


@pytest.mark.slow
def test_it_costs_no_cpu_while_clients_wait(
    start_server: Any, connect: Any, wait_until: Any
) -> None:
    server = start_server()
    cloud = connect(server.address)
    topic = cloud.topic()
    streams = [cloud.stream(cloud.subscription(topic, f"idle-{index}")) for index in range(5)]
    cloud.publish(topic, b"x")
    wait_until(lambda: all(stream.received for stream in streams))

    def server_thread_cpu() -> float:
        async def now() -> float:
            return time.thread_time()

        spent: float = server.run(now())
        return spent

    def spent_in_a_second() -> float:
        before = server_thread_cpu()
        time.sleep(1.0)  # Leases are held and streams are open meanwhile.
        return server_thread_cpu() - before

    # A client that pings, or a collection of garbage, costs some in one second and not in each.
    assert any(spent_in_a_second() < 0.03 for _ in range(4))
