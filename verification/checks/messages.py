"""Subscriptions: their topics and filters, how long they keep messages, and what filters do."""

import functools
from collections.abc import Iterator

from google.api_core import exceptions as api_exceptions
from google.cloud import pubsub_v1

from beam_jobs.outcomes import CANARY_ATTRIBUTE
from verification.access import TIMEOUT_S
from verification.check import Check, DiffersError, Seen
from verification.visit import Visit

_CANARIES, _NO_CANARIES = f"attributes:{CANARY_ATTRIBUTE}", f"NOT attributes:{CANARY_ATTRIBUTE}"
# Each subscription and its topic by their fields' names, with the filter, and the least number of
# days that it keeps messages.
_EXPECTED = (
    ("prompts_subscription", "prompts_topic", "", 31),
    ("predictions_subscription", "predictions_topic", _NO_CANARIES, 7),
    ("canary_subscription", "predictions_topic", _CANARIES, 1),
    ("dead_letters_subscription", "dead_letters_topic", "", 31),
)


def _subscriptions(visit: Visit) -> Seen:
    where, client = visit.deployment, visit.access.subscriber()
    problems = []
    for field, topic_field, expected_filter, days in _EXPECTED:
        name, topic = getattr(where, field), where.topic(getattr(where, topic_field))
        try:
            found = client.get_subscription(
                subscription=where.subscription(name), timeout=TIMEOUT_S, retry=None
            )
        except api_exceptions.NotFound:
            problems.append(f"{name} does not exist, so nobody gets messages of {topic}")
            continue
        kept = found.message_retention_duration.total_seconds() / 86400
        if found.topic != topic:
            problems.append(f"{name} belongs to {found.topic}, not to {topic}")
        if found.filter != expected_filter:
            problems.append(f"{name} has the filter {found.filter!r}, not {expected_filter!r}")
        if kept < days:
            problems.append(f"{name} keeps messages for {kept:g} days, not {days}")
        if found.expiration_policy.ttl:
            problems.append(f"{name} expires after {found.expiration_policy.ttl}")
        if found.push_config.push_endpoint or found.bigquery_config.table:
            problems.append(f"{name} sends its messages elsewhere, so nobody can pull them")
    if problems:
        raise DiffersError("; ".join(problems))
    return Seen(f"{len(_EXPECTED)} subscriptions")


def _filters(visit: Visit) -> Seen:
    """Try both filters on a topic of its own, as consumers would get what is published."""
    where = visit.deployment
    publisher, subscriber = visit.access.publisher(), visit.access.subscriber()
    topic = where.topic(visit.mark)
    publisher.create_topic(name=topic, timeout=TIMEOUT_S, retry=None)
    visit.at_the_end(f"delete the topic {visit.mark}", lambda: publisher.delete_topic(topic=topic))
    got = {}
    for end, text in (("canaries", _CANARIES), ("others", _NO_CANARIES)):
        name = where.subscription(f"{visit.mark}-{end}")
        subscriber.create_subscription(
            request={"name": name, "topic": topic, "filter": text}, timeout=TIMEOUT_S, retry=None
        )
        visit.at_the_end(
            f"delete the subscription {visit.mark}-{end}",
            functools.partial(subscriber.delete_subscription, subscription=name),
        )
    publisher.publish(topic, b"canary", **{CANARY_ATTRIBUTE: "1"}).result(timeout=TIMEOUT_S)
    publisher.publish(topic, b"other").result(timeout=TIMEOUT_S)
    for end in ("canaries", "others"):
        got[end] = _pulled(visit, subscriber, where.subscription(f"{visit.mark}-{end}"))
    if got != {"canaries": [b"canary"], "others": [b"other"]}:
        raise DiffersError(f"got {got}")
    return Seen("each message arrived at one subscription of the two")


def _pulled(visit: Visit, client: pubsub_v1.SubscriberClient, name: str) -> list[bytes]:
    """Return what arrives first; then wait a little for what should not arrive."""
    found: list[bytes] = []

    def pull() -> bool:
        try:
            answer = client.pull(
                subscription=name, max_messages=9, timeout=visit.pull_s, retry=None
            )
        except api_exceptions.DeadlineExceeded:
            return False
        messages = answer.received_messages
        if messages:
            client.acknowledge(subscription=name, ack_ids=[each.ack_id for each in messages])
        found.extend(each.message.data for each in messages)
        return bool(found)

    visit.wait_for(pull)
    return found


def checks() -> Iterator[Check]:
    """Yield them."""
    yield Check(
        name="subscriptions",
        believed="Each topic has its subscriptions, which keep what nobody has acknowledged.",
        where="composer.tf",
        expected="topics, filters, and retention as in composer.tf; no expiry",
        ask=_subscriptions,
    )
    yield Check(
        name="filters",
        believed="Pub/Sub takes the filters for canaries, and they part messages.",
        where="composer.tf",
        expected="canaries at one subscription, all others at the other",
        ask=_filters,
        limit_s=90.0,
    )
