"""Converts topics and subscriptions between protobuf and settings.

Resources are validated and defaults are filled in here. Fields that this server does not implement
are rejected when set, so that nobody relies on them. Fields that are only informative (labels,
expiration) are stored and returned.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from localcloud.pubsub import names, protobuf
from localcloud.pubsub.errors import PubSubError, Status, invalid, unimplemented
from localcloud.pubsub.filters import compile_filter
from localcloud.pubsub.settings import (
    DAY_S,
    DeadLetterPolicy,
    RetryPolicy,
    SubscriptionSettings,
    TopicSettings,
)

_MAX_LABELS = 64
_TOPIC_REFUSED = (
    "message_storage_policy",
    "kms_key_name",
    "schema_settings",
    "ingestion_data_source_settings",
    "message_transforms",
    "tags",
)
_SUBSCRIPTION_REFUSED = (
    "bigquery_config",
    "cloud_storage_config",
    "bigtable_config",
    "retain_acked_messages",
    "enable_exactly_once_delivery",
    "message_transforms",
    "tags",
    "detached",
)
_SUBSCRIPTION_FIXED = ("name", "topic", "filter", "enable_message_ordering")


def parse_topic(pb: Any) -> TopicSettings:
    """Return the settings of a `google.pubsub.v1.Topic`.

    Raises:
        PubSubError: INVALID_ARGUMENT, a field is invalid; UNIMPLEMENTED, a field is not supported.
    """
    names.check_topic(pb.name)
    _refuse(pb, _TOPIC_REFUSED)
    retention_s = None
    if pb.HasField("message_retention_duration"):
        retention_s = _seconds(pb, "message_retention_duration", 600, 31 * DAY_S)
    return TopicSettings(pb.name, _labels(pb), retention_s)


def topic_pb(topic: TopicSettings) -> Any:
    """Return a `google.pubsub.v1.Topic` with these settings."""
    pb = protobuf.Topic(name=topic.name, labels=topic.labels)
    if topic.retention_s is not None:
        _set_seconds(pb.message_retention_duration, topic.retention_s)
    return pb


def updated_topic(old: TopicSettings, pb: Any, paths: list[str]) -> TopicSettings:
    """Return `old` with the fields in `paths` replaced by those of `pb`."""
    new = parse_topic(_masked("Topic", pb, paths, fixed=("name",)))
    changes: dict[str, Any] = {}
    for path in paths:
        match path:
            case "labels":
                changes["labels"] = new.labels
            case "message_retention_duration":
                changes["retention_s"] = new.retention_s
    return replace(old, **changes)


def parse_subscription(pb: Any) -> SubscriptionSettings:
    """Return the settings of a `google.pubsub.v1.Subscription`, with defaults filled in.

    Raises:
        PubSubError: INVALID_ARGUMENT or OUT_OF_RANGE, a field is invalid; UNIMPLEMENTED, a field is
            not supported.
    """
    names.check_subscription(pb.name)
    names.check_topic(pb.topic)
    compile_filter(pb.filter)
    return replace(_mutable(pb), filter=pb.filter, ordered=pb.enable_message_ordering)


def subscription_pb(settings: SubscriptionSettings) -> Any:
    """Return a `google.pubsub.v1.Subscription` with these settings."""
    pb = protobuf.Subscription(
        name=settings.name,
        topic=settings.topic,
        ack_deadline_seconds=settings.ack_deadline_s,
        labels=settings.labels,
        filter=settings.filter,
        enable_message_ordering=settings.ordered,
        state=protobuf.Subscription.State.ACTIVE,
    )
    pb.push_config.SetInParent()
    pb.expiration_policy.SetInParent()
    _set_seconds(pb.message_retention_duration, settings.retention_s)
    if settings.expiration_s is not None:
        _set_seconds(pb.expiration_policy.ttl, settings.expiration_s)
    if settings.dead_letter is not None:
        pb.dead_letter_policy.dead_letter_topic = settings.dead_letter.topic
        pb.dead_letter_policy.max_delivery_attempts = settings.dead_letter.max_attempts
    if settings.retry is not None:
        _set_seconds(pb.retry_policy.minimum_backoff, settings.retry.minimum_s)
        _set_seconds(pb.retry_policy.maximum_backoff, settings.retry.maximum_s)
    return pb


def updated_subscription(
    old: SubscriptionSettings, pb: Any, paths: list[str]
) -> SubscriptionSettings:
    """Return `old` with the fields in `paths` replaced by those of `pb`."""
    new = _mutable(_masked("Subscription", pb, paths, fixed=_SUBSCRIPTION_FIXED))
    changes: dict[str, Any] = {}
    for path in paths:
        match path:
            case "ack_deadline_seconds":
                changes["ack_deadline_s"] = new.ack_deadline_s
            case "message_retention_duration":
                changes["retention_s"] = new.retention_s
            case "labels":
                changes["labels"] = new.labels
            case "expiration_policy":
                changes["expiration_s"] = new.expiration_s
            case "dead_letter_policy":
                changes["dead_letter"] = new.dead_letter
            case "retry_policy":
                changes["retry"] = new.retry
    return replace(old, **changes)


def _mutable(pb: Any) -> SubscriptionSettings:
    _refuse(pb, _SUBSCRIPTION_REFUSED)
    if pb.push_config.push_endpoint:
        raise unimplemented("Push delivery (push_config)")
    settings = SubscriptionSettings(pb.name, pb.topic, labels=_labels(pb))
    if pb.ack_deadline_seconds:
        if not 10 <= pb.ack_deadline_seconds <= 600:
            raise invalid(
                f"Invalid ack deadline given (ack_deadline={pb.ack_deadline_seconds}). "
                "The ack deadline must be between 10 and 600 seconds."
            )
        settings = replace(settings, ack_deadline_s=pb.ack_deadline_seconds)
    if pb.HasField("message_retention_duration"):
        # The API reference says 31 days; Google's emulator allows only 7.
        retention_s = _seconds(pb, "message_retention_duration", 600, 31 * DAY_S)
        settings = replace(settings, retention_s=retention_s)
    if pb.HasField("expiration_policy"):
        ttl_s = None
        if pb.expiration_policy.HasField("ttl"):
            ttl_s = _seconds(pb.expiration_policy, "ttl", DAY_S, None)
        settings = replace(settings, expiration_s=ttl_s)
    return replace(settings, dead_letter=_dead_letter(pb), retry=_retry(pb))


def _dead_letter(pb: Any) -> DeadLetterPolicy | None:
    if not pb.HasField("dead_letter_policy"):
        return None
    policy = pb.dead_letter_policy
    attempts = policy.max_delivery_attempts or 5
    if not 5 <= attempts <= 100:
        side, limit = (
            ("small", "minimum value is 5") if attempts < 5 else ("large", "maximum value is 100")
        )
        raise PubSubError(
            Status.OUT_OF_RANGE,
            f"The value for max_delivery_attempts is too {side}. You passed {attempts} in the "
            f"request, but the {limit}.",
        )
    return DeadLetterPolicy(names.check_topic(policy.dead_letter_topic), attempts)


def _retry(pb: Any) -> RetryPolicy | None:
    if not pb.HasField("retry_policy"):
        return None
    policy, retry = pb.retry_policy, RetryPolicy()
    if policy.HasField("minimum_backoff"):
        retry = replace(retry, minimum_s=_seconds(policy, "minimum_backoff", 0, 600))
    if policy.HasField("maximum_backoff"):
        retry = replace(retry, maximum_s=_seconds(policy, "maximum_backoff", 0, 600))
    if retry.maximum_s < retry.minimum_s:
        raise invalid(
            f"The value for maximum_backoff is too small. You passed {retry.maximum_s:g}s in the "
            f"request, but the minimum value is {retry.minimum_s:g}s."
        )
    return retry


def _refuse(pb: Any, fields: tuple[str, ...]) -> None:
    for descriptor, _ in pb.ListFields():
        if descriptor.name in fields:
            raise unimplemented(descriptor.name)


def _labels(pb: Any) -> Mapping[str, str]:
    if len(pb.labels) > _MAX_LABELS:
        raise invalid(f"{len(pb.labels)} labels were given; at most {_MAX_LABELS} are allowed.")
    return dict(pb.labels)


def _masked(kind: str, pb: Any, paths: list[str], fixed: tuple[str, ...]) -> Any:
    """Return `pb` with only its name and the fields in `paths`, after validating `paths`."""
    where = f"update_mask provided in the Update{kind}Request"
    if not paths:
        raise invalid(
            f"The update_mask in the Update{kind}Request must be set, and must contain a non-empty "
            "paths list."
        )
    for path in paths:
        if path in fixed:
            raise invalid(f"Invalid {where}: the {path} field in the {kind} is not mutable.")
        if path not in pb.DESCRIPTOR.fields_by_name:
            raise invalid(
                f"Invalid {where}: {path} is not a known {kind} field. Note that field paths must "
                "be of the form 'retry_policy' rather than 'retryPolicy'."
            )
    masked = type(pb)()
    masked.CopyFrom(pb)
    for field in pb.DESCRIPTOR.fields:
        if field.name != "name" and field.name not in paths:
            masked.ClearField(field.name)
    return masked


def _seconds(pb: Any, name: str, minimum: float, maximum: float | None) -> float:
    duration = getattr(pb, name)
    seconds = float(duration.seconds + duration.nanos / 1e9)
    if seconds < minimum or (maximum is not None and seconds > maximum):
        upper = "" if maximum is None else f" and at most {maximum:g}s"
        raise invalid(
            f"The value for {name} is out of bounds. You passed {seconds:g}s in the request, but "
            f"the value must be at least {minimum:g}s{upper}."
        )
    return seconds


def _set_seconds(duration: Any, seconds: float) -> None:
    duration.seconds = int(seconds)
    duration.nanos = round((seconds - int(seconds)) * 1e9)
    duration.SetInParent()
