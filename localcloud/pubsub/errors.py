"""The errors of the service.

The broker does not know gRPC, so that it can be tested without it; `service` turns a `PubSubError`
into the gRPC status of the same name. Messages use the wording of Google's service where it is
known, because people search for it and programs match on it.
"""

from enum import Enum


class Status(Enum):
    """The gRPC status codes that Pub/Sub returns, by name."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    UNAVAILABLE = "UNAVAILABLE"


class PubSubError(Exception):
    """A request was rejected. None of it has been carried out."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def invalid(message: str) -> PubSubError:
    """Return an error for a request that is wrong regardless of the server's state."""
    return PubSubError(Status.INVALID_ARGUMENT, message)


def not_found(name: str) -> PubSubError:
    """Return an error for a missing resource; `name` is its full name.

    As in the service's message, only the last part of the name is shown.
    """
    return PubSubError(
        Status.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]})."
    )


def already_exists(name: str) -> PubSubError:
    """Return an error for a resource that exists; `name` is its full name.

    As in the service's message, only the last part of the name is shown.
    """
    return PubSubError(
        Status.ALREADY_EXISTS,
        f"Resource already exists in the project (resource={name.rpartition('/')[2]}).",
    )


def unimplemented(what: str) -> PubSubError:
    """Return an error for a feature of Google's service that this one lacks."""
    return PubSubError(
        Status.UNIMPLEMENTED, f"{what} is not available in localcloud's Pub/Sub; leave it out."
    )
