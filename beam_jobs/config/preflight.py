"""Checks, before a job starts, that the resources its options name exist.

A streaming job that cannot find its subscription fails minutes later, in a stack trace on a worker.
This check fails at once, with one line for each missing resource.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from apache_beam.io.filesystems import FileSystems
from google.api_core import exceptions as api_exceptions
from google.api_core.retry import Retry
from google.auth import exceptions as auth_exceptions
from google.cloud import pubsub_v1, storage

from beam_jobs.config.job_config import JobConfig
from beam_jobs.prompts.globs import (
    GlobError,
    PromptGlob,
    refuse_if_ambiguous,
    too_costly,
    whole_folder,
)
from beam_jobs.prompts.template_folder import TemplateFolder
from beam_jobs.prompts.templates import TemplateError

# Long enough to open a client's first connection, short enough to fail without a long wait.
TIMEOUT_S = 10.0
# A 429, 500 or 503 that goes away must not keep a job from starting.
_retry = Retry(initial=0.3, maximum=1.0, timeout=5.0)


class PreflightError(RuntimeError):
    """A resource that the options name is missing. The message has one line for each problem."""


def check(
    config: JobConfig,
    *,
    subscription: str | None = None,
    prompts: str | None = None,
    plan: str | None = None,
) -> None:
    """Check that the topics, the bucket, the template, and the subscription or the files exist.

    A resource that the caller's credentials may not look up counts as existing, so that a launcher
    needs no more permissions than the job.

    Args:
        config: the job's checked options; names the topics and the bucket.
        subscription: for the stream, `projects/PROJECT/subscriptions/NAME`.
        prompts: for a backfill, the path or glob of its prompt files.
        plan: for a backfill with a plan, its gs:// path. Then the files need not exist: those that
            are gone become dead letters.

    Raises:
        PreflightError: a resource is missing, a service cannot be reached, or nobody is logged in.
    """
    with logged_in():
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
        client = storage.Client(project=config.project)
    requests: list[tuple[str, Callable[[], object]]] = [
        (
            f"{option}: topic {topic}",
            functools.partial(publisher.get_topic, topic=topic, timeout=TIMEOUT_S, retry=None),
        )
        for option, topic in (
            ("--responses_topic", config.responses_topic),
            ("--dead_letter_topic", config.dead_letter_topic),
        )
    ]
    if subscription:
        requests.append(
            (
                f"--messages_subscription: subscription {subscription}",
                lambda: subscriber.get_subscription(
                    subscription=subscription, timeout=TIMEOUT_S, retry=None
                ),
            )
        )
    bucket = config.images_location.bucket
    requests.append(
        (
            f"--images_output_location: bucket gs://{bucket}",
            lambda: client.get_bucket(bucket, timeout=TIMEOUT_S, retry=None),
        )
    )
    if template := config.defaults.template:
        folder = TemplateFolder(lambda: client, bucket)
        requests.append(
            (f"--prompt_template: {folder.url(template)}", lambda: folder.find(template))
        )
    if plan:
        requests.append((f"--plan: {plan}", lambda: find_object(plan, client)))
    elif prompts:
        requests.append((f"--prompts: {prompts}", lambda: _find_files(prompts, client)))
    look_up(requests)


@contextlib.contextmanager
def logged_in() -> Iterator[None]:
    """Say what to do if clients cannot be made because nobody is logged in.

    Raises:
        PreflightError: there are no credentials.
    """
    try:
        yield
    except auth_exceptions.DefaultCredentialsError as error:
        raise PreflightError(
            f"no credentials ({error}); log in: gcloud auth application-default login"
        ) from error


def look_up(requests: Sequence[tuple[str, Callable[[], object]]]) -> None:
    """Look up resources, all at the same time: if nothing answers, each takes its whole time.

    Args:
        requests: the option and the resource in words, and what finds it or raises.

    Raises:
        PreflightError: some are missing, or cannot be looked up.
    """
    with ThreadPoolExecutor(len(requests)) as pool:
        problems = list(
            itertools.chain.from_iterable(pool.map(lambda each: _problem(*each), requests))
        )
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
    except (GlobError, TemplateError) as error:
        return [f"{resource}: {error}"]
    except (api_exceptions.NotFound, FileNotFoundError):
        return [f"{resource} does not exist; create it, or correct the option"]
    except (api_exceptions.GoogleAPIError, auth_exceptions.GoogleAuthError, OSError) as error:
        return [_unchecked(resource, error)]
    return []


def _unchecked(resource: str, error: Exception) -> str:
    return f"{resource} cannot be checked: {type(error).__name__}: {str(error)[:200]}"


def _find_files(path: str, client: storage.Client) -> None:
    """Look whether a path or glob matches any file, with one request for a list of objects.

    Beam's `FileSystems.match` reads the whole listing of a bucket, whatever its limit. A glob that
    matches nothing in the first page of a longer listing counts as matching: the job will see.

    Raises:
        FileNotFoundError: there is no file, or no bucket.
        GlobError: the path or glob is malformed, ambiguous, or too costly to match.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        # Beam could not pass it on. It reads the files that a glob matches, whatever their names.
        raise GlobError("is not UTF-8; write ? in place of each byte that is not") from None
    if problem := too_costly(path):
        raise GlobError(f"{problem}; write a shorter glob, or one with fewer wildcards")
    if path.startswith("gs://"):
        _find_objects(path, client)
        return
    try:
        FileSystems.get_filesystem(path)
    except ValueError:
        raise GlobError(
            "Beam reads no such file system; write gs:// in lower case, as in "
            "gs://my-bucket/prompts/*, or a local path"
        ) from None
    refuse_if_ambiguous(
        path, lambda glob: [file.path for file in FileSystems.match([glob])[0].metadata_list]
    )
    if not FileSystems.match([path], limits=[1])[0].metadata_list:
        raise FileNotFoundError(path)


def find_object(url: str, client: storage.Client) -> None:
    """Look an object up.

    Args:
        url: its gs:// path.
        client: reads Cloud Storage; its exceptions pass through.

    Raises:
        FileNotFoundError: it is not there.
    """
    bucket, _, name = url.removeprefix("gs://").partition("/")
    if not client.bucket(bucket).blob(name).exists(timeout=TIMEOUT_S, retry=None):
        raise FileNotFoundError(url)


def _find_objects(url: str, client: storage.Client) -> None:
    bucket, _, pattern = whole_folder(url.removeprefix("gs://")).partition("/")
    if not bucket or not pattern:
        raise GlobError("expected files in a bucket, such as gs://my-bucket/prompts/*")
    glob = PromptGlob(bucket, pattern)
    if glob.is_one_object:
        find_object(url, client)
        return

    def first_page(glob: PromptGlob) -> tuple[list[str], bool]:
        blobs = client.list_blobs(
            bucket,
            prefix=glob.prefix,
            match_glob=glob.storage_pattern,
            fields="items(name),nextPageToken",
            timeout=TIMEOUT_S,
            retry=None,
        )
        page = next(blobs.pages, ())
        names = [glob.object_url(blob.name) for blob in page if glob.matches(blob.name)]
        return names, bool(blobs.next_page_token)

    refuse_if_ambiguous(
        url, lambda other: first_page(PromptGlob(bucket, other.removeprefix(f"gs://{bucket}/")))[0]
    )
    names, has_more = first_page(glob)
    if not names and not has_more:
        raise FileNotFoundError(url)
