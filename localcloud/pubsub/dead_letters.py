"""Builds the dead letter for a message whose delivery attempts are used up."""

from datetime import UTC, datetime

from localcloud.pubsub import names
from localcloud.pubsub.message import Draft, Message

_PREFIX = "CloudPubSubDeadLetterSource"


def dead_letter(subscription: str, message: Message, attempts: int) -> Draft:
    """Return `message` as the service forwards it: its attributes also tell its origin."""
    published = datetime.fromtimestamp(message.publish_ns / 1e9, UTC).replace(tzinfo=None)
    origin = {
        f"{_PREFIX}Subscription": subscription.rpartition("/")[2],
        f"{_PREFIX}SubscriptionProject": names.project_of(subscription),
        f"{_PREFIX}DeliveryCount": str(attempts),
        f"{_PREFIX}TopicPublishTime": published.isoformat(timespec="milliseconds") + "Z",
    }
    return Draft(message.data, {**message.attributes, **origin}, message.ordering_key)
