"""Ack ids: what a subscriber sends to acknowledge one delivery of one message."""

from collections.abc import Iterable

from localcloud.pubsub.errors import invalid


def format_ack_id(subscription: str, message_id: int, lease: int) -> str:
    """Return the ack id of a delivery. It is valid for this subscription only."""
    return f"{subscription}:{message_id}:{lease}"


def parse_ack_ids(subscription: str, ack_ids: Iterable[str]) -> list[tuple[int, int]]:
    """Return the message id and the lease number of each ack id.

    Raises:
        PubSubError: INVALID_ARGUMENT; one of them is not an ack id of `subscription`.
    """
    parsed = []
    for ack_id in ack_ids:
        # Split from the right: a project id can contain a colon (example.com:project).
        rest, _, lease = ack_id.rpartition(":")
        name, _, message_id = rest.rpartition(":")
        if not (message_id.isdecimal() and lease.isdecimal()) or name != subscription:
            raise invalid(f"You have passed an invalid ack ID to the service (ack_id={ack_id}).")
        parsed.append((int(message_id), int(lease)))
    return parsed
