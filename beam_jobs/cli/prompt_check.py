"""What no job accepts, found before it is sent. What depends on settings is left to the job."""

import re
from collections.abc import Iterator, Mapping

from beam_jobs.catalog import MODEL_PATTERN
from beam_jobs.outcomes import CANARY_ATTRIBUTE, Failure
from beam_jobs.prompts.body import InvalidPromptError, fields_of
from beam_jobs.prompts.defaults import prompt_defaults
from beam_jobs.prompts.fields import FIELDS, Kind
from beam_jobs.prompts.parse import parse
from beam_jobs.prompts.templates import PromptTemplate

# Problems that an error shows; a large file can have one in each row.
MAX_SHOWN = 20
# Stand for the models of a job, of which only the API matters. One that takes the prompt is enough.
_ANY_MODELS = ("gemini-*", "*")
_ANY_TEMPLATE = "any"


class _UnreadTemplate(PromptTemplate):
    """A template that takes all values: which ones it needs is known where it is."""

    def filled(self, values: Mapping[str, str]) -> str:
        return "a text"


def problem_of(
    body: bytes, attributes: Mapping[str, str], *, templated: bool = False
) -> str | None:
    """Return why no job can make images of a message or row; None if one may.

    Args:
        body: of the message or row.
        attributes: of the message.
        templated: whether it has a template even if it names none.
    """
    if CANARY_ATTRIBUTE in attributes:
        return None  # the job has the key
    problem = None
    for model, has_template in _possible(body, templated=templated):
        item = parse(
            body,
            attributes,
            origin="",
            defaults=prompt_defaults(
                model=model,
                source="",
                prompt_template=_ANY_TEMPLATE if has_template else None,
            ),
            find_template=lambda name: _UnreadTemplate(version=name, parts=()),
        )
        if not isinstance(item, Failure):
            return None
        problem = problem or item.detail
    return problem


def _possible(body: bytes, *, templated: bool) -> Iterator[tuple[str, bool]]:
    """Yield the models that may serve a prompt, and whether it may have a template."""
    try:
        fields = fields_of(body)
    except InvalidPromptError:
        fields = {}
    # Values are for a template, which may be that of the job.
    has_template = templated or any(
        fields.get(field.name) is not None for field in FIELDS if field.kind is Kind.VALUES
    )
    named = fields.get("model")
    if isinstance(named, str) and re.fullmatch(MODEL_PATTERN, named):
        yield named, has_template
    else:
        for model in _ANY_MODELS:
            yield model, has_template


def refusal(problems: list[str], *, advice: str) -> ValueError:
    """Return the error for problems of a file's rows, one line for each, and what to do."""
    if len(problems) == 1:
        return ValueError(f"{problems[0]}; {advice}")
    more = len(problems) - MAX_SHOWN
    rest = [f"and {more:,} more"] if more > 0 else []
    return ValueError("\n".join([*problems[:MAX_SHOWN], *rest, advice]))
