"""Converts a delivery to the `ReceivedMessage` that subscribers get."""

from typing import Any

from localcloud.pubsub import protobuf
from localcloud.pubsub.message import Delivery


def received_pb(delivery: Delivery) -> Any:
    """Return a `ReceivedMessage` for a delivery."""
    message = delivery.message
    pb = protobuf.ReceivedMessage(ack_id=delivery.ack_id, delivery_attempt=delivery.attempt)
    pb.message.data = message.data
    pb.message.message_id = str(message.id)
    pb.message.ordering_key = message.ordering_key
    if message.attributes:
        pb.message.attributes.update(message.attributes)
    pb.message.publish_time.seconds, pb.message.publish_time.nanos = divmod(
        message.publish_ns, 1_000_000_000
    )
    return pb
