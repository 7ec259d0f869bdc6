"""What a command says when a service doesn't answer, or refuses: what is not there, and what to do.

The clients' own errors are long, and their own patience is a minute or more. Somebody who waits at
a terminal is told within `PATIENCE_S`.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, TypeVar

import grpc
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from requests import exceptions as requests_exceptions

from beam_jobs.cli.endpoints import PUBSUB, STORAGE, endpoints
from beam_jobs.cli.remedies import remedy

# Of connecting to a service, or of one request with all its tries.
PATIENCE_S = 7.0
_MISSING = "create it, or name one that exists"

Client = TypeVar("Client", bound=Any)


class CommandError(ValueError):
    """What is wrong, and what to do: one line for each problem."""


@contextlib.contextmanager
def asking(service: str, *, role: str, what: str = "", missing: str = _MISSING) -> Iterator[None]:
    """Say what the errors of a service's client mean.

    Args:
        service: `PUBSUB` or `STORAGE`.
        role: what the account needs for what the block does.
        what: what is asked for, if it is one thing; the error says that it does not exist.
        missing: what to do if what is asked for does not exist.

    Raises:
        CommandError: the block raised an error of the client.
    """
    try:
        yield
    except (
        api_exceptions.GoogleAPIError,
        auth_exceptions.GoogleAuthError,
        requests_exceptions.RequestException,
        TimeoutError,
    ) as error:
        if what and isinstance(error, api_exceptions.NotFound):
            raise CommandError(f"{what} does not exist; {missing}") from error
        at = f"{service} at {endpoints(os.environ, 'global')[service].address}"
        denied = f"grant this account {role}"
        raise CommandError(remedy(error, at=at, missing=missing, denied=denied)) from error


def asking_pubsub(role: str, *, what: str = "") -> contextlib.AbstractContextManager[None]:
    """Return `asking` for Pub/Sub."""
    return asking(PUBSUB, role=role, what=what)


def asking_storage(
    role: str, *, what: str = "", missing: str = _MISSING
) -> contextlib.AbstractContextManager[None]:
    """Return `asking` for Cloud Storage."""
    return asking(STORAGE, role=role, what=what, missing=missing)


def connected(client: Client) -> Client:
    """Return a client of Pub/Sub once it is connected. Its calls would wait for a minute.

    Raises:
        TimeoutError: nothing answers at its address.
    """
    try:
        grpc.channel_ready_future(client.transport.grpc_channel).result(timeout=PATIENCE_S)
    except grpc.FutureTimeoutError:
        raise TimeoutError(f"no connection within {PATIENCE_S:g} s") from None
    return client
