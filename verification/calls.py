"""The calls by which checks find out what a service account may do.

Each is made as an account, returns what it saw, and raises what Google's client raises. What it
makes is taken away at the end, by whoever runs the checks.
"""

import contextlib
from collections.abc import Callable
from typing import Any

from google.api_core import exceptions as api_exceptions

from beam_jobs.outcomes import CANARY_ATTRIBUTE
from verification.access import TIMEOUT_S
from verification.check import DiffersError
from verification.metrics import newest_points
from verification.visit import Visit

# Given the visit, and `composer`, `worker`, or `build`.
Call = Callable[[Visit, str], str]


def _folder(visit: Visit, below: str) -> str:
    return f"{below}{visit.mark}/"


def _blob(visit: Visit, name: str, account: str | None) -> Any:
    return visit.access.storage(account).bucket(visit.deployment.bucket).blob(name)


def _gone(visit: Visit, name: str) -> None:
    """Have an object deleted at the end, by whoever runs this."""

    def delete() -> None:
        with contextlib.suppress(api_exceptions.NotFound):
            _blob(visit, name, None).delete(timeout=TIMEOUT_S)

    visit.at_the_end(f"delete gs://{visit.deployment.bucket}/{name}", delete)


def _create(visit: Visit, name: str, account: str | None) -> None:
    _gone(visit, name)
    _blob(visit, name, account).upload_from_string(
        b"made by scripts/02_verify_deployment.sh",
        if_generation_match=0,
        timeout=TIMEOUT_S,
        retry=None,
    )


def reads(below: str) -> Call:
    """Return a call that lists a folder, and reads an object of it that is there or not."""

    def call(visit: Visit, account: str) -> str:
        name = f"{_folder(visit, below)}read-by-{account}.txt"
        _create(visit, name, None)
        client = visit.access.storage(account)
        found = client.list_blobs(
            visit.deployment.bucket, prefix=_folder(visit, below), timeout=TIMEOUT_S, retry=None
        )
        listed = [blob.name for blob in found]
        size = len(_blob(visit, name, account).download_as_bytes(timeout=TIMEOUT_S, retry=None))
        if name not in listed:
            raise DiffersError(f"{name} is not in the list of its folder")
        return f"listed {below}, and read {size} bytes"

    return call


def creates(below: str) -> Call:
    """Return a call that creates an object."""

    def call(visit: Visit, account: str) -> str:
        _create(visit, f"{_folder(visit, below)}created-by-{account}.txt", account)
        return f"created an object below {below}"

    return call


def keeps(below: str, ending: str = ".txt") -> Call:
    """Return a call that creates an object, replaces it, and deletes it."""

    def call(visit: Visit, account: str) -> str:
        name = f"{_folder(visit, below)}kept-by-{account}{ending}"
        _create(visit, name, account)
        blob = _blob(visit, name, account)
        blob.upload_from_string(b"replaced", timeout=TIMEOUT_S, retry=None)
        blob.delete(timeout=TIMEOUT_S, retry=None)
        return f"created, replaced, and deleted an object below {below}"

    return call


def sees_bucket(visit: Visit, account: str) -> str:
    """Look the bucket up."""
    client = visit.access.storage(account)
    bucket = client.get_bucket(visit.deployment.bucket, timeout=TIMEOUT_S, retry=None)
    return f"{bucket.name}, in {bucket.location or 'a region that it does not say'}"


def sees(topic: str = "", subscription: str = "") -> Call:
    """Return a call that looks up a topic, a subscription, or both, by their fields' names."""

    def call(visit: Visit, account: str) -> str:
        where, found = visit.deployment, []
        if topic:
            name = where.topic(getattr(where, topic))
            client = visit.access.publisher(account)
            found.append(client.get_topic(topic=name, timeout=TIMEOUT_S, retry=None).name)
        if subscription:
            name = where.subscription(getattr(where, subscription))
            reader = visit.access.subscriber(account)
            answer = reader.get_subscription(subscription=name, timeout=TIMEOUT_S, retry=None)
            found.append(answer.name)
        return ", ".join(found)

    return call


def takes(field: str) -> Call:
    """Return a call that takes a message from a subscription, and gives it back at once."""

    def call(visit: Visit, account: str) -> str:
        name = visit.deployment.subscription(getattr(visit.deployment, field))
        client = visit.access.subscriber(account)
        try:
            answer = client.pull(
                subscription=name, max_messages=1, timeout=visit.pull_s, retry=None
            )
        except api_exceptions.DeadlineExceeded:
            return "may pull; nothing waits"
        ids = [each.ack_id for each in answer.received_messages]
        if ids:
            client.modify_ack_deadline(
                subscription=name,
                ack_ids=ids,
                ack_deadline_seconds=0,
                timeout=TIMEOUT_S,
                retry=None,
            )
        return f"pulled {len(ids)}, and gave it back"

    return call


def publishes(field: str) -> Call:
    """Return a call that publishes what no consumer gets: a canary that nobody has signed."""

    def call(visit: Visit, account: str) -> str:
        topic = visit.deployment.topic(getattr(visit.deployment, field))
        client = visit.access.publisher(account)
        attributes = {CANARY_ATTRIBUTE: visit.mark}
        sent = client.publish(topic, b"", retry=None, timeout=TIMEOUT_S, **attributes)
        return f"published {sent.result(timeout=TIMEOUT_S)}"

    return call


def counts_tokens(visit: Visit, account: str) -> str:
    """Count tokens with the default model, which needs the permission to call it and is free."""
    where = visit.deployment
    answer = visit.access.call(
        "vertex",
        "POST",
        f"/v1/projects/{where.project}/locations/global/publishers/google/models/"
        f"{where.model}:countTokens",
        account=account,
        json={"contents": [{"role": "user", "parts": [{"text": "a fox"}]}]},
    )
    return f"{where.model} counts {answer.get('totalTokens')} tokens"


def lists_jobs(visit: Visit, account: str) -> str:
    """List Dataflow's jobs."""
    where = visit.deployment
    path = f"/v1b3/projects/{where.project}/locations/{where.region}/jobs"
    answer = visit.access.call("dataflow", "GET", path, account=account, params={"pageSize": 1})
    return f"{len(answer.get('jobs', []))} jobs on the first page"


def reads_metrics(visit: Visit, account: str) -> str:
    """Read a metric."""
    metric = "pubsub.googleapis.com/subscription/num_undelivered_messages"
    name = visit.deployment.prompts_subscription
    points = newest_points(visit, metric, {"resource.labels.subscription_id": name}, account)
    return f"{len(points)} series"
