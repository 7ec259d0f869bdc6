"""What Pub/Sub promises, asked through Google's clients of our server and of Google's emulator.

The two must answer alike. Where Google's emulator is known to differ from the service as it is
documented, ours follows the service, and the difference stands in DIFFERENCES: the test is then
expected to fail against the emulator, and is reported if one day it does not.
"""

import contextlib
import threading
import time
from typing import Any

import pytest
from google.api_core import exceptions
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

pytestmark = pytest.mark.slow

FILTER_DOCS = "https://cloud.google.com/pubsub/docs/subscription-message-filter"
QUOTAS = "https://cloud.google.com/pubsub/quotas#resource_limits"
RPC = "https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1"

DIFFERENCES = {
    "test_a_filtered_subscription_gets_what_matches": (
        f"The emulator (0.8.20) stores filters and ignores them. {FILTER_DOCS}"
    ),
    "test_a_filter_that_makes_no_sense_is_refused": (
        f"The emulator (0.8.20) accepts any text as a filter. {FILTER_DOCS}"
    ),
    "test_attributes_beyond_the_limits_are_refused": (
        f"The emulator (0.8.20) does not check attributes. {QUOTAS}"
    ),
    "test_a_request_beyond_ten_megabytes_is_refused": (
        f"The emulator (0.8.20) takes 10 MiB, and never answers a larger request. {QUOTAS}"
    ),
    "test_a_stream_holds_no_more_than_it_asked_for": (
        f"The emulator (0.8.20) ignores max_outstanding_messages. {RPC}#streamingpullrequest"
    ),
    "test_labels_can_be_updated": (
        f"The emulator (0.8.20) knows no labels in an update. {RPC}#updatesubscriptionrequest"
    ),
    "test_the_subscriptions_of_a_missing_topic_are_not_found": (
        "The emulator (0.8.20) gives an empty list; listing the subscriptions of a topic that is "
        f"not there is NOT_FOUND. {RPC}#listtopicsubscriptionsrequest"
    ),
    "test_a_nacked_message_waits_for_the_retry_policy": (
        f"The emulator (0.8.20) keeps a retry policy and ignores it. {RPC}#retrypolicy"
    ),
    "test_a_nack_redelivers_an_ordering_key_in_order": (
        "The emulator (0.8.20) redelivers 2, 3, 0, 1. https://cloud.google.com/pubsub/docs/ordering"
    ),
    "test_an_ack_deadline_below_ten_seconds_is_refused": (
        f'The emulator (0.8.20) accepts it; "the minimum is 10". {RPC}#subscription'
    ),
    "test_a_lease_longer_than_ten_minutes_is_refused": (
        f"The emulator (0.8.20) accepts it. {RPC}#modifyackdeadlinerequest"
    ),
}


@pytest.fixture(autouse=True)
def _known_differences(server_kind: str, request: pytest.FixtureRequest) -> None:
    reason = DIFFERENCES.get(request.node.originalname)
    if server_kind == "google" and reason is not None:
        request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def bodies(received: list[Any]) -> list[bytes]:
    return [each.message.data for each in received]


def test_a_message_arrives_as_it_was_published(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    body = bytes(range(256))
    attributes = {"schlüssel": "Œuvre 図 🎨", "empty": ""}
    before = time.time()
    (message_id,) = cloud.publish(topic, {"data": body, "attributes": attributes})
    (received,) = cloud.pull(subscription, 1)
    assert received.message.data == body
    assert dict(received.message.attributes) == attributes
    assert received.message.message_id == message_id
    assert before - 1 < received.message.publish_time.timestamp() < time.time() + 1
    assert received.delivery_attempt == 0


def test_attributes_alone_make_a_message(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, {"attributes": {"canary": "1"}})
    (received,) = cloud.pull(subscription, 1)
    assert (received.message.data, dict(received.message.attributes)) == (b"", {"canary": "1"})


def test_the_batching_client_gets_every_message_through(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic, ack_deadline_seconds=60)
    futures = [cloud.publisher.publish(topic, b"%d" % index) for index in range(300)]
    ids = {future.result(240) for future in futures}
    assert len(ids) == 300
    received = cloud.pull(subscription, 300)
    assert {each.message.message_id for each in received} == ids


def test_message_ids_increase(cloud: Any) -> None:
    topic = cloud.topic()
    ids = [*cloud.publish(topic, b"a", b"b"), *cloud.publish(topic, b"c")]
    assert sorted(ids, key=int) == ids
    assert len(set(ids)) == 3


def test_every_subscription_gets_every_message(cloud: Any) -> None:
    topic = cloud.topic()
    first, second = cloud.subscription(topic, "first"), cloud.subscription(topic, "second")
    cloud.publish(topic, b"a", b"b")
    received = cloud.pull(first, 2)
    cloud.ack(first, *received)
    assert sorted(bodies(received)) == [b"a", b"b"]
    assert sorted(bodies(cloud.pull(second, 2))) == [b"a", b"b"]


def test_a_subscription_sees_only_what_comes_after_it(cloud: Any) -> None:
    topic = cloud.topic()
    cloud.publish(topic, b"before")
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"after")
    assert bodies(cloud.pull(subscription, 1)) == [b"after"]
    assert cloud.stays_empty(subscription)


def test_a_pull_returns_at_most_what_it_asked_for(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, *[b"x"] * 10)
    assert len(cloud.pull(subscription, 1)) == 1
    assert len(cloud.pull_now(subscription, 3)) <= 3


def test_a_pull_waits_for_a_message(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    publish = threading.Timer(0.4, cloud.publish, (topic, b"late"))
    publish.start()
    request = {"subscription": subscription, "max_messages": 5}
    response = cloud.subscriber.pull(request=request, timeout=60, retry=None)
    publish.join()
    assert bodies(response.received_messages) == [b"late"]


def test_an_unsuccessful_pull_returns_empty_before_its_deadline(cloud: Any) -> None:
    subscription = cloud.subscription(cloud.topic())
    request = {"subscription": subscription, "max_messages": 5}
    # On a busy machine an answer may be late though it was given in good time; not each time.
    for timeout_s in (2.5, 5, 5, 5):
        began = time.monotonic()
        with contextlib.suppress(exceptions.DeadlineExceeded):
            response = cloud.subscriber.pull(request=request, timeout=timeout_s, retry=None)
            break
    else:
        pytest.fail("no answer before the deadline")
    assert not response.received_messages
    assert time.monotonic() - began > 0.5


def test_a_pull_that_may_not_wait_returns_at_once(cloud: Any) -> None:
    subscription = cloud.subscription(cloud.topic())
    began = time.monotonic()
    assert cloud.pull_now(subscription) == []
    # One that waited would have come back a second before its deadline.
    assert time.monotonic() - began < 30


def test_a_backlog_larger_than_one_response_comes_in_several(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic, ack_deadline_seconds=60)
    for index in range(3):
        cloud.publish(topic, bytes([index]) * 1_300_000)
    received: list[Any] = []
    for _ in range(3):
        received += cloud.pull(subscription, 1)
    assert sorted(body[0] for body in bodies(received)) == [0, 1, 2]


def test_an_acked_message_does_not_come_back(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"done")
    (received,) = cloud.pull(subscription, 1)
    cloud.lease(subscription, 1, received)
    cloud.ack(subscription, received)
    assert cloud.stays_empty(subscription, 1.6)
    cloud.ack(subscription, received)


def test_an_unacked_message_comes_back_after_its_deadline(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"again")
    (received,) = cloud.pull(subscription, 1)
    began = time.monotonic()
    cloud.lease(subscription, 1, received)
    (again,) = cloud.pull(subscription, 1)
    assert time.monotonic() - began > 0.8
    assert again.message == received.message
    assert again.ack_id != received.ack_id


def test_a_leased_message_is_kept_from_others(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic, ack_deadline_seconds=60)
    cloud.publish(topic, b"mine")
    cloud.pull(subscription, 1)
    assert cloud.stays_empty(subscription, 0.5)


def test_a_nacked_message_comes_back_at_once(cloud: Any) -> None:
    topic = cloud.topic()
    # So that it cannot be the end of the lease that brings it back.
    subscription = cloud.subscription(topic, ack_deadline_seconds=120)
    cloud.publish(topic, b"again")
    (received,) = cloud.pull(subscription, 1)
    cloud.lease(subscription, 0, received)
    (again,) = cloud.pull(subscription, 1, within_s=30)
    assert again.message.message_id == received.message.message_id


def test_extending_a_lease_keeps_the_message_away(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"mine")
    (received,) = cloud.pull(subscription, 1)
    cloud.lease(subscription, 2, received)
    cloud.lease(subscription, 60, received)
    assert cloud.stays_empty(subscription, 2.8)


def test_an_ack_after_the_deadline_counts_unless_the_message_has_gone_out_again(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"slow")
    (received,) = cloud.pull(subscription, 1)
    cloud.lease(subscription, 1, received)
    time.sleep(1.5)  # Nobody pulls while the lease expires.
    cloud.ack(subscription, received)
    assert cloud.stays_empty(subscription, 0.5)


def test_an_ack_of_an_earlier_delivery_does_not_count(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"twice")
    (first,) = cloud.pull(subscription, 1)
    cloud.lease(subscription, 0, first)
    (second,) = cloud.pull(subscription, 1)
    cloud.ack(subscription, first)
    cloud.lease(subscription, 0, second)
    assert bodies(cloud.pull(subscription, 1)) == [b"twice"]


def test_an_ack_after_a_nack_does_not_count(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"given back")
    (received,) = cloud.pull(subscription, 1)
    cloud.lease(subscription, 0, received)
    cloud.ack(subscription, received)
    assert bodies(cloud.pull(subscription, 1)) == [b"given back"]


def test_a_waiting_pull_gets_a_message_whose_lease_ends(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"again")
    cloud.lease(subscription, 1, *cloud.pull(subscription, 1))
    request = {"subscription": subscription, "max_messages": 5}
    response = cloud.subscriber.pull(request=request, timeout=60, retry=None)
    assert bodies(response.received_messages) == [b"again"]


def test_a_lease_longer_than_ten_minutes_is_refused(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"x")
    (received,) = cloud.pull(subscription, 1)
    with pytest.raises(exceptions.InvalidArgument):
        cloud.lease(subscription, 601, received)


def test_one_invalid_ack_id_refuses_the_whole_request(cloud: Any) -> None:
    topic = cloud.topic()
    mine, other = cloud.subscription(topic, "mine"), cloud.subscription(topic, "other")
    cloud.publish(topic, b"x")
    (received,), (foreign,) = cloud.pull(mine, 1), cloud.pull(other, 1)
    for wrong in ("bogus", foreign.ack_id):
        with pytest.raises(exceptions.InvalidArgument):
            cloud.ack(mine, received, wrong)
        with pytest.raises(exceptions.InvalidArgument):
            cloud.lease(mine, 10, received, wrong)
    with pytest.raises(exceptions.InvalidArgument):
        cloud.ack(mine)
    cloud.lease(mine, 0, received)
    assert bodies(cloud.pull(mine, 1)) == [b"x"]


def test_seeking_to_the_future_purges_a_backlog(cloud: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    cloud.publish(topic, b"old", b"older")
    cloud.pull(subscription, 1)
    later = timestamp_pb2.Timestamp()
    later.FromSeconds(int(time.time()) + 3600)
    cloud.subscriber.seek(request={"subscription": subscription, "time": later}, timeout=60)
    assert cloud.stays_empty(subscription)
    cloud.publish(topic, b"new")
    assert bodies(cloud.pull(subscription, 1)) == [b"new"]


def test_the_streaming_client_delivers_and_acks(cloud: Any, wait_until: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    seen: list[bytes] = []

    def callback(message: Any) -> None:
        seen.append(message.data)
        message.ack()

    future = cloud.subscriber.subscribe(subscription, callback)
    try:
        cloud.publish(topic, *[b"%d" % index for index in range(50)])
        wait_until(lambda: len(seen) >= 50)
    finally:
        future.cancel()
        future.result(240)
    assert sorted(seen) == sorted(b"%d" % index for index in range(50))
    assert cloud.stays_empty(subscription, 0.5)


def test_the_streaming_client_gets_a_nacked_message_again(cloud: Any, wait_until: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    seen: list[str] = []

    def callback(message: Any) -> None:
        seen.append(message.message_id)
        (message.ack if len(seen) > 1 else message.nack)()

    future = cloud.subscriber.subscribe(subscription, callback)
    try:
        cloud.publish(topic, b"poison")
        wait_until(lambda: len(seen) >= 2)
    finally:
        future.cancel()
        future.result(240)
    assert len(set(seen)) == 1


def test_two_streams_share_a_subscription_without_duplicates(cloud: Any, wait_until: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    streams = [cloud.stream(subscription, stream_ack_deadline_seconds=60) for _ in range(2)]
    for start in range(0, 400, 100):
        cloud.publish(topic, *[b"%d" % index for index in range(start, start + 100)])
    wait_until(lambda: sum(len(stream.received) for stream in streams) >= 400)
    assert cloud.stays_empty(subscription)
    seen = [each.message.data for stream in streams for each in stream.received]
    assert sorted(seen) == sorted(b"%d" % index for index in range(400))


def test_an_ack_on_the_stream_counts(cloud: Any, wait_until: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    stream = cloud.stream(subscription)
    cloud.publish(topic, b"done", b"left")
    wait_until(lambda: len(stream.received) == 2)
    by_body = {each.message.data: each.ack_id for each in stream.received}
    stream.send(
        ack_ids=[by_body[b"done"]],
        modify_deadline_ack_ids=[by_body[b"left"]],
        modify_deadline_seconds=[0],
    )
    wait_until(lambda: len(stream.received) == 3)
    assert stream.received[2].message.data == b"left"


def test_messages_of_a_broken_stream_come_back_at_their_deadline(
    cloud: Any, wait_until: Any
) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    stream = cloud.stream(subscription)
    cloud.publish(topic, b"a", b"b")
    wait_until(lambda: len(stream.received) == 2)
    cloud.lease(subscription, 1, *stream.received)
    stream.cancel()
    assert sorted(bodies(cloud.pull(subscription, 2))) == [b"a", b"b"]


def test_a_stream_holds_no_more_than_it_asked_for(cloud: Any, wait_until: Any) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic, ack_deadline_seconds=60)
    cloud.publish(topic, *[b"%d" % index for index in range(10)])
    stream = cloud.stream(subscription, max_outstanding_messages=4, stream_ack_deadline_seconds=60)
    wait_until(lambda: len(stream.received) >= 4)
    assert len(cloud.pull_now(subscription, 3)) == 3
    assert len(stream.received) == 4
    stream.send(ack_ids=[stream.received[0].ack_id])
    wait_until(lambda: len(stream.received) == 5)
    # An ack by another way makes room as well.
    cloud.ack(subscription, *stream.received[1:3])
    wait_until(lambda: len(stream.received) == 7)


def test_an_empty_request_keeps_the_stream_alive(cloud: Any, wait_until: Any) -> None:
    topic = cloud.topic()
    stream = cloud.stream(cloud.subscription(topic))
    stream.send()
    stream.send(stream_ack_deadline_seconds=20)
    cloud.publish(topic, b"x")
    wait_until(lambda: stream.received)
    assert stream.error is None


@pytest.mark.parametrize("deadline_s", [0, 9, 601])
def test_a_stream_needs_a_deadline_between_10_and_600_seconds(cloud: Any, deadline_s: int) -> None:
    subscription = cloud.subscription(cloud.topic())
    stream = cloud.stream(subscription, stream_ack_deadline_seconds=deadline_s)
    assert stream.ended.wait(240)
    assert isinstance(stream.error, exceptions.InvalidArgument)


@pytest.mark.parametrize(
    "request_fields",
    [
        {"ack_ids": ["bogus"]},
        {"modify_deadline_ack_ids": ["a"], "modify_deadline_seconds": [1, 2]},
        {"subscription": "projects/p/subscriptions/again"},
    ],
    ids=["bogus ack id", "lengths differ", "subscription again"],
)
def test_a_wrong_request_ends_the_stream(cloud: Any, request_fields: dict[str, Any]) -> None:
    stream = cloud.stream(cloud.subscription(cloud.topic()))
    stream.send(**request_fields)
    assert stream.ended.wait(240)
    assert isinstance(stream.error, exceptions.InvalidArgument)


def test_a_stream_ends_when_its_subscription_is_deleted(cloud: Any) -> None:
    subscription = cloud.subscription(cloud.topic())
    stream = cloud.stream(subscription)
    stream.send()
    cloud.subscriber.delete_subscription(request={"subscription": subscription}, timeout=60)
    assert stream.ended.wait(240)
    assert isinstance(stream.error, exceptions.NotFound)


def test_a_stream_ends_cleanly_when_the_client_closes_its_side(cloud: Any) -> None:
    stream = cloud.stream(cloud.subscription(cloud.topic()))
    stream._requests.put(None)
    assert stream.ended.wait(240)
    assert stream.error is None


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("attributes:canary", [b"canary"]),
        ("NOT attributes:canary", [b"en", b"plain"]),
        ("-attributes:canary", [b"en", b"plain"]),
        ('attributes.lang = "en"', [b"en"]),
        ('attributes.lang != "en"', [b"canary", b"plain"]),
        ('hasPrefix(attributes.lang, "e")', [b"en"]),
        ('attributes:canary OR attributes.lang = "en"', [b"canary", b"en"]),
    ],
)
def test_a_filtered_subscription_gets_what_matches(
    cloud: Any, text: str, matching: list[bytes]
) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic, filter=text)
    cloud.publish(
        topic,
        {"data": b"plain"},
        {"data": b"canary", "attributes": {"canary": "1"}},
        {"data": b"en", "attributes": {"lang": "en"}},
    )
    received = cloud.pull(subscription, len(matching))
    assert sorted(bodies(received)) == matching
    assert cloud.stays_empty(subscription)


@pytest.mark.parametrize("text", ["bogus", "attributes:", "attributes.a = b", "attributes:a AND"])
def test_a_filter_that_makes_no_sense_is_refused(cloud: Any, text: str) -> None:
    topic = cloud.topic()
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(topic, filter=text)


def test_a_filter_is_kept_and_cannot_be_changed(cloud: Any) -> None:
    subscription = cloud.subscription(cloud.topic(), filter="attributes:canary")
    found = cloud.subscriber.get_subscription(request={"subscription": subscription}, timeout=60)
    assert found.filter == "attributes:canary"
    with pytest.raises(exceptions.InvalidArgument):
        _update(cloud, subscription, {"filter": "attributes:x"}, "filter")


def test_a_request_holds_up_to_a_thousand_messages(cloud: Any) -> None:
    topic = cloud.topic()
    assert len(cloud.publish(topic, *[b"x"] * 1000)) == 1000
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publish(topic, *[b"x"] * 1001)
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publish(topic)


@pytest.mark.parametrize("message", [{}, {"ordering_key": "k"}], ids=["nothing", "only a key"])
def test_an_empty_message_refuses_the_whole_request(cloud: Any, message: dict[str, Any]) -> None:
    topic = cloud.topic()
    subscription = cloud.subscription(topic)
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publish(topic, b"fine", message)
    assert cloud.stays_empty(subscription)


@pytest.mark.parametrize(
    "attributes",
    [
        {str(index): "v" for index in range(101)},
        {"k" * 257: "v"},
        {"": "v"},
        {"google": "v"},
        {"k": "v" * 1025},
        {"k": "é" * 513},
    ],
    ids=["101", "long key", "empty key", "reserved key", "long value", "long in bytes"],
)
def test_attributes_beyond_the_limits_are_refused(cloud: Any, attributes: dict[str, str]) -> None:
    topic = cloud.topic()
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publish(topic, {"data": b"x", "attributes": attributes})


def test_attributes_at_the_limits_are_accepted(cloud: Any) -> None:
    topic = cloud.topic()
    attributes = {str(index): "v" * 1024 for index in range(99)} | {"k" * 256: "é" * 512}
    assert cloud.publish(topic, {"attributes": attributes})


def test_a_request_beyond_ten_megabytes_is_refused(cloud: Any) -> None:
    topic = cloud.topic()
    with pytest.raises(exceptions.InvalidArgument):
        cloud.publish(topic, b"x" * 10_000_001)


def test_a_message_of_almost_ten_megabytes_is_accepted(cloud: Any) -> None:
    topic = cloud.topic()
    assert cloud.publish(topic, b"x" * 9_999_000)


def test_a_missing_topic_or_subscription_is_not_found(cloud: Any) -> None:
    topic = cloud.topic_name("nowhere")
    subscription = cloud.subscription_name("nowhere")
    there = cloud.topic()
    calls = [
        lambda: cloud.topics.get_topic(request={"topic": topic}, timeout=60),
        lambda: cloud.topics.delete_topic(request={"topic": topic}, timeout=60),
        lambda: cloud.publish(topic, b"x"),
        lambda: cloud.subscription(topic),
        lambda: cloud.subscription(there, dead_letter_policy={"dead_letter_topic": topic}),
        lambda: cloud.pull_now(subscription),
        lambda: cloud.ack(subscription, "x"),
        lambda: cloud.lease(subscription, 10, "x"),
        lambda: _update(cloud, subscription, {"ack_deadline_seconds": 20}, "ack_deadline_seconds"),
        lambda: cloud.subscriber.get_subscription(request={"subscription": subscription}),
        lambda: cloud.subscriber.delete_subscription(request={"subscription": subscription}),
    ]
    for call in calls:
        with pytest.raises(exceptions.NotFound):
            call()
    stream = cloud.stream(subscription)
    assert stream.ended.wait(240)
    assert isinstance(stream.error, exceptions.NotFound)


def test_a_name_can_be_used_only_once(cloud: Any) -> None:
    topic = cloud.topic()
    cloud.subscription(topic)
    with pytest.raises(exceptions.AlreadyExists):
        cloud.topic()
    with pytest.raises(exceptions.AlreadyExists):
        cloud.subscription(topic)


@pytest.mark.parametrize("name", ["ab", "1abc", "google", "a b c", "a" * 256, "ab/c"])
def test_a_bad_name_is_refused(cloud: Any, name: str) -> None:
    topic = cloud.topic()
    with pytest.raises(exceptions.InvalidArgument):
        cloud.topic(name)
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(topic, name)


@pytest.mark.parametrize(
    "fields",
    [
        {"ack_deadline_seconds": 601},
        {"message_retention_duration": duration_pb2.Duration(seconds=599)},
        {"retry_policy": {"minimum_backoff": duration_pb2.Duration(seconds=601)}},
    ],
    ids=["long deadline", "short retention", "long backoff"],
)
def test_a_setting_out_of_bounds_is_refused(cloud: Any, fields: dict[str, Any]) -> None:
    topic = cloud.topic()
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(topic, **fields)


def test_an_ack_deadline_below_ten_seconds_is_refused(cloud: Any) -> None:
    topic = cloud.topic()
    with pytest.raises(exceptions.InvalidArgument):
        cloud.subscription(topic, ack_deadline_seconds=9)


def test_a_subscription_has_the_documented_defaults(cloud: Any) -> None:
    topic = cloud.topic()
    name = cloud.subscription(topic)
    found = cloud.subscriber.get_subscription(request={"subscription": name}, timeout=60)
    assert (found.topic, found.ack_deadline_seconds) == (topic, 10)
    assert found.message_retention_duration.total_seconds() == 7 * 86_400
    assert not found.push_config.push_endpoint


def test_settings_can_be_updated_one_by_one(cloud: Any) -> None:
    topic = cloud.topic()
    name = cloud.subscription(topic)
    retention = duration_pb2.Duration(seconds=1200)
    _update(cloud, name, {"message_retention_duration": retention}, "message_retention_duration")
    updated = _update(
        cloud,
        name,
        {"ack_deadline_seconds": 33, "message_retention_duration": duration_pb2.Duration()},
        "ack_deadline_seconds",
    )
    assert updated.ack_deadline_seconds == 33
    assert updated.message_retention_duration.total_seconds() == 1200


def test_labels_can_be_updated(cloud: Any) -> None:
    topic = cloud.topic(labels={"team": "images"})
    name = cloud.subscription(topic)
    assert dict(_update(cloud, name, {"labels": {"a": "b"}}, "labels").labels) == {"a": "b"}
    updated = cloud.topics.update_topic(
        request={"topic": {"name": topic, "labels": {"c": "d"}}, "update_mask": _mask("labels")}
    )
    assert dict(updated.labels) == {"c": "d"}


def test_a_topics_retention_can_be_updated(cloud: Any) -> None:
    topic = cloud.topic()
    retention = duration_pb2.Duration(seconds=700)
    updated = cloud.topics.update_topic(
        request={
            "topic": {"name": topic, "message_retention_duration": retention},
            "update_mask": _mask("message_retention_duration"),
        }
    )
    assert updated.message_retention_duration.total_seconds() == 700


@pytest.mark.parametrize("paths", [(), ("bogus",), ("topic",), ("enable_message_ordering",)])
def test_an_update_of_what_cannot_be_updated_is_refused(cloud: Any, paths: tuple[str, ...]) -> None:
    name = cloud.subscription(cloud.topic())
    with pytest.raises(exceptions.InvalidArgument):
        _update(cloud, name, {}, *paths)


def test_lists_come_in_pages_and_by_project(cloud: Any) -> None:
    topics = [cloud.topic(f"topic-{index}") for index in range(5)]
    subscriptions = [cloud.subscription(topics[0], f"sub-{index}") for index in range(3)]
    project = f"projects/{cloud.project}"
    pager = cloud.topics.list_topics(request={"project": project, "page_size": 2}, timeout=60)
    pages = [[topic.name for topic in page.topics] for page in pager.pages]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(name for page in pages for name in page) == topics
    pager = cloud.subscriber.list_subscriptions(request={"project": project, "page_size": 2})
    assert sorted(each.name for each in pager) == subscriptions
    attached = cloud.topics.list_topic_subscriptions(request={"topic": topics[0]}, timeout=60)
    assert sorted(attached) == subscriptions
    assert list(cloud.topics.list_topic_subscriptions(request={"topic": topics[1]})) == []
    assert list(cloud.topics.list_topics(request={"project": "projects/of-nobody"})) == []


def test_the_subscriptions_of_a_missing_topic_are_not_found(cloud: Any) -> None:
    with pytest.raises(exceptions.NotFound):
        list(cloud.topics.list_topic_subscriptions(request={"topic": cloud.topic_name("gone")}))


def test_a_deleted_topic_leaves_its_subscriptions_with_their_backlog(cloud: Any) -> None:
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic, b"kept")
    cloud.topics.delete_topic(request={"topic": topic}, timeout=60)
    with pytest.raises(exceptions.NotFound):
        cloud.publish(topic, b"refused")
    found = cloud.subscriber.get_subscription(request={"subscription": name}, timeout=60)
    assert found.topic == "_deleted-topic_"
    cloud.topic()
    cloud.publish(topic, b"not for the old subscription")
    received = cloud.pull(name, 1)
    assert bodies(received) == [b"kept"]
    cloud.ack(name, *received)
    assert cloud.stays_empty(name)


def test_a_subscription_that_is_made_again_starts_empty(cloud: Any) -> None:
    topic = cloud.topic()
    name = cloud.subscription(topic)
    cloud.publish(topic, b"old")
    cloud.subscriber.delete_subscription(request={"subscription": name}, timeout=60)
    cloud.subscription(topic)
    assert cloud.stays_empty(name)


def test_a_message_that_nobody_acks_becomes_a_dead_letter(cloud: Any, wait_until: Any) -> None:
    topic, dead = cloud.topic(), cloud.topic("dead")
    dead_sub = cloud.subscription(dead, "dead-sub")
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
    name = cloud.subscription(topic, dead_letter_policy=policy)
    cloud.publish(topic, {"data": b"poison", "attributes": {"a": "1"}})
    attempts = []
    for _ in range(5):
        (received,) = cloud.pull(name, 1)
        attempts.append(received.delivery_attempt)
        cloud.lease(name, 0, received)
    assert attempts == [1, 2, 3, 4, 5]
    # The emulator forwards a message when somebody pulls where it was.
    (letter,) = wait_until(lambda: cloud.pull_now(name) or cloud.pull_now(dead_sub))
    assert letter.message.data == b"poison"
    attributes = dict(letter.message.attributes)
    assert attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime").endswith("Z")
    assert attributes == {
        "a": "1",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "prompts-sub",
        "CloudPubSubDeadLetterSourceSubscriptionProject": cloud.project,
    }
    assert cloud.stays_empty(name)


@pytest.mark.parametrize("attempts", [4, 101])
def test_delivery_attempts_have_bounds(cloud: Any, attempts: int) -> None:
    topic = cloud.topic()
    policy = {"dead_letter_topic": topic, "max_delivery_attempts": attempts}
    with pytest.raises(exceptions.OutOfRange):
        cloud.subscription(topic, dead_letter_policy=policy)


def test_a_nacked_message_waits_for_the_retry_policy(cloud: Any) -> None:
    topic = cloud.topic()
    backoff = duration_pb2.Duration(seconds=1)
    name = cloud.subscription(topic, retry_policy={"minimum_backoff": backoff})
    cloud.publish(topic, b"later")
    (received,) = cloud.pull(name, 1)
    began = time.monotonic()
    cloud.lease(name, 0, received)
    assert bodies(cloud.pull(name, 1)) == [b"later"]
    assert time.monotonic() - began >= 1.0


def test_an_ordering_key_is_delivered_in_order_and_one_batch_at_a_time(cloud: Any) -> None:
    topic = cloud.topic()
    name = cloud.subscription(topic, enable_message_ordering=True, ack_deadline_seconds=60)
    cloud.publish(topic, *[{"data": b"%d" % index, "ordering_key": "k"} for index in range(4)])
    first = cloud.pull(name, 2)
    assert bodies(first) == [b"0", b"1"]
    assert cloud.stays_empty(name)
    cloud.ack(name, *first)
    assert bodies(cloud.pull(name, 2)) == [b"2", b"3"]


def test_a_nack_redelivers_an_ordering_key_in_order(cloud: Any) -> None:
    topic = cloud.topic()
    name = cloud.subscription(topic, enable_message_ordering=True)
    cloud.publish(topic, *[{"data": b"%d" % index, "ordering_key": "k"} for index in range(4)])
    cloud.lease(name, 0, *cloud.pull(name, 2))
    assert bodies(cloud.pull(name, 4)) == [b"0", b"1", b"2", b"3"]


def _mask(*paths: str) -> Any:
    return field_mask_pb2.FieldMask(paths=paths)


def _update(cloud: Any, name: str, fields: dict[str, Any], *paths: str) -> Any:
    request = {"subscription": {"name": name, **fields}, "update_mask": _mask(*paths)}
    return cloud.subscriber.update_subscription(request=request, timeout=60)
