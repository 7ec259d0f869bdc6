"""What the service refuses, as the rest of the package raises it.

The broker knows no gRPC, so that it can be tested without; `service` turns a `PubSubError` into the
gRPC status of the same name. Where the wording of Google's service is known, it is used as it is,
because people search for it and programs match on it.
"""

from enum import Enum


class Status(Enum):
    """The gRPC status codes that Pub/Sub answers with, by name."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    UNAVAILABLE = "UNAVAILABLE"


class PubSubError(Exception):
    """A request that was understood and refused. Nothing of it has been carried out."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def invalid(message: str) -> PubSubError:
    """The request itself is wrong, whatever the state of the server."""
    return PubSubError(Status.INVALID_ARGUMENT, message)


def not_found(name: str) -> PubSubError:
    """`name` is the full resource name; the service's message shows its last part only."""
    return PubSubError(
        Status.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]})."
    )


def already_exists(name: str) -> PubSubError:
    """`name` is the full resource name; the service's message shows its last part only."""
    return PubSubError(
        Status.ALREADY_EXISTS,
        f"Resource already exists in the project (resource={name.rpartition('/')[2]}).",
    )


def unimplemented(what: str) -> PubSubError:
    """Google's service can do `what`, this one cannot: better said than silently left out."""
    return PubSubError(
        Status.UNIMPLEMENTED, f"{what} is not available in localcloud's Pub/Sub; leave it out."
    )
