"""Checks a prompt file and uploads it."""

from pathlib import Path

from google.api_core import exceptions as api_exceptions
from google.cloud import storage

from beam_jobs.cli.gallery import PATIENCE
from beam_jobs.cli.prompt_check import refusal
from beam_jobs.cli.prompt_rows import problem_of_row, rows_of
from beam_jobs.shown import is_safe

# Signs of a glob: a name with one of them would match others, too.
_WILDCARDS = frozenset("*?[]")


def check(path: Path, *, anyway: bool, templated: bool = False) -> int:
    """Return how many prompts a local file has.

    Args:
        path: of the file.
        anyway: whether some rows may be invalid.
        templated: whether its prompts have a template even if they name none.

    Raises:
        ValueError: it has none, rows of it are invalid, or its name would be hard to read back;
            with a line for each problem.
    """
    if not is_safe(path.name) or _WILDCARDS.intersection(path.name):
        raise ValueError(
            f"{path}: expected a name without {' '.join(sorted(_WILDCARDS))} and without invisible "
            "characters; rename it"
        )
    count, invalid = 0, []
    for row in rows_of(str(path), source="put", templated=templated):
        count += 1
        if problem := problem_of_row(row, templated=templated):
            invalid.append(problem)
    if not count:
        raise ValueError(f"{path}: has no prompts")
    if len(invalid) == count:
        raise refusal(invalid, advice="nothing was put: no row is a prompt")
    if invalid and not anyway:
        raise refusal(invalid, advice="nothing was put: correct these rows, or pass --anyway")
    return count - len(invalid)


def upload(path: Path, *, bucket: str, folder: str, project: str, replace: bool) -> str:
    """Upload a file and return its `gs://` path.

    Args:
        path: the local file.
        bucket: the bucket's name, without `gs://`.
        folder: in the bucket, without a slash at its end.
        project: the Google Cloud project.
        replace: whether it may replace one of the same name.

    Raises:
        ValueError: one of the same name is there.
        google.api_core.exceptions.GoogleAPIError: Cloud Storage refuses, or does not answer.
    """
    blob = storage.Client(project=project).bucket(bucket).blob(f"{folder}/{path.name}")
    url = f"gs://{bucket}/{blob.name}"
    try:
        blob.upload_from_filename(str(path), if_generation_match=None if replace else 0, **PATIENCE)
    except api_exceptions.PreconditionFailed:
        raise ValueError(
            f"{url}: is there already; pass --replace, or give your file another name"
        ) from None
    return url
