"""What becomes of a message whose delivery attempts are used up."""

from datetime import UTC, datetime

from localcloud.pubsub import names
from localcloud.pubsub.message import Draft, Message

_PREFIX = "CloudPubSubDeadLetterSource"


def dead_letter(subscription: str, message: Message, attempts: int) -> Draft:
    """`message` as the service forwards it: with where it came from in its attributes."""
    published = datetime.fromtimestamp(message.publish_ns / 1e9, UTC).replace(tzinfo=None)
    origin = {
        f"{_PREFIX}Subscription": subscription.rpartition("/")[2],
        f"{_PREFIX}SubscriptionProject": names.project_of(subscription),
        f"{_PREFIX}DeliveryCount": str(attempts),
        f"{_PREFIX}TopicPublishTime": published.isoformat(timespec="milliseconds") + "Z",
    }
    return Draft(message.data, {**message.attributes, **origin}, message.ordering_key)
