"""Checks, before a job starts, that the resources its options name exist.

A streaming job that cannot find its subscription fails minutes later, in a stack trace on a worker.
This check fails at once, with one line for each missing resource.
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

# Long enough to open a client's first connection, short enough to fail without a long wait.
TIMEOUT_S = 20.0
# A 429, 500 or 503 that goes away must not keep a job from starting.
_retry = Retry(initial=0.3, maximum=1.0, timeout=5.0)


class PreflightError(RuntimeError):
    """A resource that the options name is missing. The message has one line for each problem."""


def check(
    config: JobConfig, *, subscription: str | None = None, prompts: str | None = None
) -> None:
    """Check that the topics, the bucket, and the subscription or the prompt files exist.

    A resource that the caller's credentials may not look up counts as existing, so that a launcher
    needs no more permissions than the job.

    Args:
        config: the job's checked options; names the topics and the bucket.
        subscription: for the stream, `projects/PROJECT/subscriptions/NAME`.
        prompts: for a backfill, the path or glob of its prompt files.

    Raises:
        PreflightError: a resource is missing, or a service cannot be reached.
    """
    publisher = pubsub_v1.PublisherClient()
    subscriber = pubsub_v1.SubscriberClient()
    problems = []
    for option, topic in (
        ("--responses_topic", config.responses_topic),
        ("--dead_letter_topic", config.dead_letter_topic),
    ):
        problems += _problem(
            f"{option}: topic {topic}",
            functools.partial(publisher.get_topic, topic=topic, timeout=TIMEOUT_S, retry=None),
        )
    if subscription:
        problems += _problem(
            f"--messages_subscription: subscription {subscription}",
            lambda: subscriber.get_subscription(
                subscription=subscription, timeout=TIMEOUT_S, retry=None
            ),
        )
    bucket = config.images_location.bucket
    problems += _problem(
        f"--images_output_location: bucket gs://{bucket}",
        lambda: storage.Client(project=config.project).get_bucket(
            bucket, timeout=TIMEOUT_S, retry=None
        ),
    )
    if prompts:
        problems += _problem(f"--prompts: {prompts}", lambda: _match(prompts))
    if problems:
        raise PreflightError("\n".join(problems))


def _problem(resource: str, request: Callable[[], object]) -> list[str]:
    """Return what is wrong with `resource`, as one line; no line if `request` finds it."""
    try:
        _retry(request)()
    except api_exceptions.RetryError as error:
        return [_unchecked(resource, error.cause)]
    except api_exceptions.Forbidden:
        return []
    except (api_exceptions.NotFound, FileNotFoundError):
        return [f"{resource} does not exist; create it, or correct the option"]
    except (api_exceptions.GoogleAPIError, auth_exceptions.GoogleAuthError, OSError) as error:
        return [_unchecked(resource, error)]
    return []


def _unchecked(resource: str, error: Exception) -> str:
    return f"{resource} cannot be checked: {type(error).__name__}: {str(error)[:200]}"


def _match(pattern: str) -> None:
    try:
        matches = FileSystems.match([pattern], limits=[1])
    except BeamIOError as error:
        cause = _cause(error)
        raise cause if isinstance(cause, api_exceptions.GoogleAPIError) else error from None
    if not matches[0].metadata_list:
        raise FileNotFoundError(pattern)


def _cause(error: Exception) -> Exception:
    """Return the storage service's error without the errors that Beam wraps around it."""
    inner = list((getattr(error, "exception_details", None) or {}).values())
    return _cause(inner[0]) if inner else error
