"""The ticket that a subscriber shows to acknowledge one delivery of one message."""

from collections.abc import Iterable

from localcloud.pubsub.errors import invalid


def format_ack_id(subscription: str, message_id: int, lease: int) -> str:
    """An ack id: opaque to subscribers, and of use for this subscription only."""
    return f"{subscription}:{message_id}:{lease}"


def parse_ack_ids(subscription: str, ack_ids: Iterable[str]) -> list[tuple[int, int]]:
    """(message id, lease) of each. INVALID_ARGUMENT for what is no ack id of `subscription`."""
    parsed = []
    for ack_id in ack_ids:
        # From the right: a project's id may hold a colon (example.com:project).
        rest, _, lease = ack_id.rpartition(":")
        name, _, message_id = rest.rpartition(":")
        if not (message_id.isdecimal() and lease.isdecimal()) or name != subscription:
            raise invalid(f"You have passed an invalid ack ID to the service (ack_id={ack_id}).")
        parsed.append((int(message_id), int(lease)))
    return parsed
