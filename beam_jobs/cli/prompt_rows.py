"""The rows of prompt files for commands, as the jobs read them, without Beam: it takes seconds."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from google.cloud import storage

from beam_jobs.cli.gallery import PATIENCE
from beam_jobs.outcomes import Failure
from beam_jobs.prompts.body import InvalidPromptError, fields_of
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
        google.api_core.exceptions.GoogleAPIError: there is no such object, or Cloud Storage does
            not answer.
    """
    yield from PromptFileReader(path, source, templated=templated).read(_opener(path))


def _opener(path: str) -> Callable[[], AbstractContextManager[Stored]]:
    if not path.startswith(_CLOUD):
        return lambda: Path(path).open("rb")
    bucket_name, _, name = path.removeprefix(_CLOUD).partition("/")
    # Access to objects depends on the bucket, so no project is needed.
    bucket = storage.Client(project=None).bucket(bucket_name)
    blob = bucket.blob(name)
    blob.reload(**PATIENCE)
    return lambda: StoredObject(bucket.blob(name, generation=blob.generation), blob.size)


def expanded(paths: Iterable[str]) -> Iterator[str]:
    """Yield paths, and in place of a `gs://` glob what it matches, as a backfill finds it.

    Raises:
        ValueError: a glob is malformed, or matches nothing.
        google.api_core.exceptions.GoogleAPIError: Cloud Storage refuses, or does not answer.
    """
    for path in paths:
        if not path.startswith(_CLOUD):
            yield path
            continue
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
        ValueError: rows are invalid; raised before the first body, with one line for each row.
    """
    bodies, problems = [], []
    for row in rows_of(path, source="publish", templated=template is not None):
        if isinstance(row, Failure):
            problems.append(row.detail)
        elif template is None:
            bodies.append(row.body)
        else:
            try:
                fields = {"template": template, **fields_of(row.body)}
            except InvalidPromptError as error:
                problems.append(f"{row.origin}: {error}")
            else:
                bodies.append(json.dumps(fields, ensure_ascii=False).encode("utf-8"))
        read()
    if problems:
        raise ValueError("\n".join(problems))
    yield from bodies
