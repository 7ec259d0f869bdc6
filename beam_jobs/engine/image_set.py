"""A prompt's images: which to ask for with which call, and what their errors mean together.

Pure.
"""

from typing import NamedTuple

from beam_jobs.images.receipt import Receipt
from beam_jobs.models.base import CallError
from beam_jobs.models.bill import is_version_of, row_of
from beam_jobs.outcomes import Reason
from beam_jobs.prompts.alternative import renamed
from beam_jobs.prompts.parse import Prompt


class ImageSet(NamedTuple):
    """The images of a prompt.

    Attributes:
        paths: `gs://` paths.
        digest: under which they are stored.
        model: the model that made them.
        reused: whether all of them existed already.
        receipt: what was paid for them; None if that is not known.
    """

    paths: list[str]
    digest: str
    model: str
    reused: bool
    receipt: Receipt | None = None


class AnsweredByAnotherModelError(Exception):
    """Another model answered than the one that was asked. What it made is stored as its own.

    Attributes:
        prompt: the prompt for that model.
    """

    def __init__(self, prompt: Prompt) -> None:
        super().__init__(f"model {prompt.model} answered")
        self.prompt = prompt


def by_another_model(model_version: str, prompt: Prompt) -> Prompt | None:
    """Return the prompt for the model that answered; None if that is the one that was asked.

    Args:
        model_version: the model that answered, as its answer names it; empty if it does not.
        prompt: the prompt that was sent.
    """
    if not model_version or is_version_of(model_version, prompt.model):
        return None
    row = row_of(model_version)
    return renamed(prompt, row.name if row else model_version)


def call_ranges(missing: list[int], images_per_call: int) -> list[range]:
    """Return the ranges of indices to ask for, one per call, from the `missing` indices."""
    ranges: list[range] = []
    for index in missing:
        if ranges and ranges[-1].stop == index and len(ranges[-1]) < images_per_call:
            ranges[-1] = range(ranges[-1].start, index + 1)
        else:
            ranges.append(range(index, index + 1))
    return ranges


def raise_deciding(errors: list[BaseException], *, stored: int, wanted: int) -> None:
    """Raise the error that decides the prompt's outcome, if there is one.

    If some images exist and the others were refused for their content, the prompt has all it can
    get, so nothing is raised. Any other error may go away and makes the prompt a failure to replay;
    the replay reuses the images that exist.

    Args:
        errors: those of the prompt's calls.
        stored: how many of its images exist.
        wanted: how many it asks for.
    """
    passing = [error for error in errors if not _is(error, Reason.BLOCKED)]
    if not errors or (stored and not passing):
        return
    # An answer without an image decides least.
    error = min(passing or errors, key=lambda each: _is(each, Reason.NO_IMAGE))
    if stored and isinstance(error, CallError):
        raise CallError(
            error.reason,
            f"{stored} of {wanted} images came, and a replay asks only for the others: "
            f"{error.detail}",
            retry=error.retry,
            retryable=error.retryable,
            of_model=error.of_model,
        ) from error
    raise error


def _is(error: BaseException, reason: Reason) -> bool:
    return isinstance(error, CallError) and error.reason is reason
