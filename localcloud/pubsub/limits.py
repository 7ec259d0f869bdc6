"""The size limits of a publish request and its messages.

The limits are from https://cloud.google.com/pubsub/quotas#resource_limits. The service measures the
encoded size of a request, in decimal megabytes, as google-cloud-pubsub does before sending one.
"""

from collections.abc import Mapping
from typing import Any

from localcloud.pubsub.errors import PubSubError, invalid
from localcloud.pubsub.message import Draft

MAX_MESSAGES = 1_000
MAX_REQUEST_BYTES = 10_000_000
MAX_ATTRIBUTES = 100
MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 1_024
MAX_ORDERING_KEY_BYTES = 1_024


def parse_publish(request: Any) -> list[Draft]:
    """Return the messages of a `PublishRequest`.

    Raises:
        PubSubError: INVALID_ARGUMENT; the request or one of its messages exceeds a limit.
    """
    count = len(request.messages)
    if not count:
        raise _out_of_bounds("message_count", "small", 0, "minimum value is 1")
    if count > MAX_MESSAGES:
        raise _out_of_bounds("message_count", "large", count, f"maximum value is {MAX_MESSAGES}")
    size = request.ByteSize()
    if size > MAX_REQUEST_BYTES:
        raise _out_of_bounds("request_size", "large", size, f"maximum value is {MAX_REQUEST_BYTES}")
    return [_parse(index, pb) for index, pb in enumerate(request.messages)]


def _parse(index: int, pb: Any) -> Draft:
    attributes = dict(pb.attributes)
    if not pb.data and not attributes:
        raise invalid(
            f"Message {index} of the request is empty. Give it a non-empty data field or at least "
            "one attribute."
        )
    _check_attributes(index, attributes)
    if len(pb.ordering_key.encode()) > MAX_ORDERING_KEY_BYTES:
        raise invalid(
            f"Message {index}: the ordering key has {len(pb.ordering_key.encode())} bytes; at most "
            f"{MAX_ORDERING_KEY_BYTES} are allowed."
        )
    return Draft(pb.data, attributes, pb.ordering_key)


def _check_attributes(index: int, attributes: Mapping[str, str]) -> None:
    if len(attributes) > MAX_ATTRIBUTES:
        raise invalid(
            f"Message {index} has {len(attributes)} attributes; at most {MAX_ATTRIBUTES} are "
            "allowed."
        )
    for key, value in attributes.items():
        # A character has at most 4 bytes, so most keys and values need not be encoded here.
        if not key or (len(key) * 4 > MAX_KEY_BYTES and len(key.encode()) > MAX_KEY_BYTES):
            raise invalid(
                f"Message {index}: an attribute key has {len(key.encode())} bytes; 1 to "
                f"{MAX_KEY_BYTES} are allowed ({key[:40]!r})."
            )
        if key.startswith("goog"):
            raise invalid(
                f"Message {index}: the attribute key {key[:40]!r} begins with goog, which is "
                "reserved."
            )
        if len(value) * 4 > MAX_VALUE_BYTES and len(value.encode()) > MAX_VALUE_BYTES:
            raise invalid(
                f"Message {index}: the value of the attribute {key[:40]!r} has "
                f"{len(value.encode())} bytes; at most {MAX_VALUE_BYTES} are allowed."
            )


def _out_of_bounds(name: str, side: str, value: int, limit: str) -> PubSubError:
    return invalid(
        f"The value for {name} is too {side}. You passed {value} in the request, but the {limit}."
    )
