"""Looks, before a job starts, whether what its options name is there.

A streaming job that cannot find its subscription fails minutes later, on a worker, in a stack
trace; here it is one line at once.
"""

import functools
from collections.abc import Callable

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from google.api_core import exceptions as api_exceptions
from google.api_core.retry import Retry
from google.auth import exceptions as auth_exceptions
from google.cloud import pubsub_v1, storage

from beam_jobs.config.options import JobConfig

# Long enough for a cold start of a client's channel, short enough to be told at once.
TIMEOUT_S = 20.0
# An answer of 429, 500 or 503 that passes is no reason not to start.
_again = Retry(initial=0.3, maximum=1.0, timeout=5.0)


class PreflightError(RuntimeError):
    """Something that the options name is not there; the message lists everything."""


def check(
    config: JobConfig, *, subscription: str | None = None, prompts: str | None = None
) -> None:
    """Look for the topics, the bucket, and the subscription or the prompt files.

    What the caller's credentials may not look at is taken for there: a launcher needs no more
    rights than the job.

    Raises:
        PreflightError: not all is there, or the services cannot be reached.
    """
    publisher = pubsub_v1.PublisherClient()
    subscriber = pubsub_v1.SubscriberClient()
    missing = []
    for option, topic in (
        ("--responses_topic", config.responses_topic),
        ("--dead_letter_topic", config.dead_letter_topic),
    ):
        missing += _look(
            f"{option}: topic {topic}",
            functools.partial(publisher.get_topic, topic=topic, timeout=TIMEOUT_S, retry=None),
        )
    if subscription:
        missing += _look(
            f"--messages_subscription: subscription {subscription}",
            lambda: subscriber.get_subscription(
                subscription=subscription, timeout=TIMEOUT_S, retry=None
            ),
        )
    bucket = config.location.bucket
    missing += _look(
        f"--images_output_location: bucket gs://{bucket}",
        lambda: storage.Client(project=config.project).get_bucket(
            bucket, timeout=TIMEOUT_S, retry=None
        ),
    )
    if prompts:
        missing += _look(f"--prompts: {prompts}", lambda: _match(prompts))
    if missing:
        raise PreflightError("\n".join(missing))


def _look(what: str, look: Callable[[], object]) -> list[str]:
    try:
        _again(look)()
    except api_exceptions.RetryError as error:
        return [f"{what} cannot be looked at: {_told(error.cause)}"]
    except api_exceptions.Forbidden:
        return []
    except (api_exceptions.NotFound, FileNotFoundError):
        return [f"{what} is not there; create it, or correct the option"]
    except (api_exceptions.GoogleAPIError, auth_exceptions.GoogleAuthError, OSError) as error:
        return [f"{what} cannot be looked at: {_told(error)}"]
    return []


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


def _match(pattern: str) -> None:
    try:
        found = FileSystems.match([pattern], limits=[1])
    except BeamIOError as error:
        cause = _cause(error)
        raise cause if isinstance(cause, api_exceptions.GoogleAPIError) else error from None
    if not found[0].metadata_list:
        raise FileNotFoundError(pattern)


def _cause(error: Exception) -> Exception:
    """Return what the storage answered, out of the errors that Beam puts around it."""
    inner = list((getattr(error, "exception_details", None) or {}).values())
    return _cause(inner[0]) if inner else error
