"""The rows of prompt files for commands, as the jobs read them, without Beam: it takes seconds."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from google.cloud import storage

from beam_jobs.cli.gallery import PATIENCE
from beam_jobs.cli.prompt_check import problem_of, refusal
from beam_jobs.outcomes import Failure
from beam_jobs.prompts.body import fields_of
from beam_jobs.prompts.contents import Stored
from beam_jobs.prompts.globs import PromptGlob
from beam_jobs.prompts.incoming import RawPrompt
from beam_jobs.prompts.listing import list_files
from beam_jobs.prompts.rows import PromptFileReader
from beam_jobs.prompts.stored_object import StoredObject

_CLOUD = "gs://"


def rows_of(path: str, *, source: str, templated: bool = False) -> Iterator[RawPrompt | Failure]:
    """Yield the rows of a prompt file; an unreadable row is a `Failure`.

    Args:
        path: a local path or `gs://` URL.
        source: the source that the failures name.
        templated: whether its prompts have a template even if they name none.

    Raises:
        ValueError: there is no such local file, or it may not be read.
        google.api_core.exceptions.GoogleAPIError: there is no such object, or Cloud Storage does
            not answer.
    """
    if not path.startswith(_CLOUD):
        _require_file(path)
    yield from PromptFileReader(path, source, templated=templated).read(_opener(path))


def _require_file(path: str) -> None:
    file = Path(path)
    if not file.exists():
        raise ValueError(f"{path}: does not exist; name a prompt file that does")
    if file.is_dir():
        raise ValueError(f"{path}: is a folder; name the prompt files in it")
    if not os.access(file, os.R_OK):
        raise ValueError(f"{path}: may not be read by this user; change its permissions")


def _opener(path: str) -> Callable[[], AbstractContextManager[Stored]]:
    if not path.startswith(_CLOUD):
        return lambda: Path(path).open("rb")
    bucket_name, _, name = path.removeprefix(_CLOUD).partition("/")
    # Access to objects depends on the bucket, so no project is needed.
    bucket = storage.Client(project=None).bucket(bucket_name)
    blob = bucket.blob(name)
    blob.reload(**PATIENCE)
    return lambda: StoredObject(bucket.blob(name, generation=blob.generation), blob.size)


def expanded(path: str) -> Iterator[str]:
    """Yield a local path, or what a `gs://` glob matches, as a backfill finds it.

    Raises:
        ValueError: the glob is malformed, or matches nothing.
        google.api_core.exceptions.GoogleAPIError: Cloud Storage refuses, or does not answer.
    """
    if not path.startswith(_CLOUD):
        yield path
        return
    glob = PromptGlob.parse(path)
    files = list(list_files(storage.Client(project=None), glob, **PATIENCE))
    if not files:
        raise ValueError(f"{path}: matches no file")
    yield from (glob.object_url(file.name) for file in files)


def bodies_of_file(
    path: str, *, template: str | None = None, read: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """Yield the message bodies for the prompts in a prompt file, local or `gs://`.

    Args:
        path: a local path or `gs://` URL.
        template: that of prompts that name none; None: they have none of their own.
        read: called after each row.

    Raises:
        ValueError: no job could make images of some rows; raised before the first body, with one
            line for each of the first ones.
    """
    bodies, problems = [], []
    for row in rows_of(path, source="publish", templated=template is not None):
        if problem := problem_of_row(row, templated=template is not None):
            problems.append(problem)
        elif isinstance(row, RawPrompt):
            bodies.append(row.body if template is None else _with_template(row.body, template))
        read()
    if problems:
        raise refusal(problems, advice="nothing was published")
    yield from bodies


def problem_of_row(row: RawPrompt | Failure, *, templated: bool) -> str | None:
    """Return why no job can make images of a row, as `FILE:LINE: what is wrong`; None if one may.

    Args:
        row: of a prompt file.
        templated: whether it has a template even if it names none.
    """
    if isinstance(row, Failure):
        return row.detail
    problem = problem_of(row.body, {}, templated=templated)
    return f"{row.origin}: {problem}" if problem else None


def _with_template(body: bytes, template: str) -> bytes:
    fields = {"template": template, **fields_of(body)}
    return json.dumps(fields, ensure_ascii=False).encode("utf-8")
