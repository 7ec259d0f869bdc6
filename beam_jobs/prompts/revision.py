"""A prompt as a custom function has changed it: what can change, and what it is told by then.

Pure. What a function returns goes the way of a message: to JSON, and through the parser's checks.
So it can ask for nothing that a sender could not ask for, whatever objects it is made of.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from beam_jobs.prompts.body import InvalidPromptError
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.fields import DECIDING
from beam_jobs.prompts.identity import digest_of, made_id
from beam_jobs.prompts.parse import Prompt, prompt_of
from beam_jobs.prompts.templates import FindTemplate, PromptTemplate, no_templates

# What tells a prompt and its delivery. The job decides it.
FIXED = (
    *("prompt_id", "digest", "body", "attributes", "origin", "fresh"),
    *("model_endpoint", "template", "postprocess"),
)


def fields_of_revision(original: Prompt, revision: Prompt) -> dict[str, Any]:
    """Return the fields of a changed prompt, as JSON has them; those without a value are left out.

    Args:
        original: what the function was given.
        revision: what it returned.

    Raises:
        InvalidPromptError: it changed what only the job decides, or a field holds what is no JSON.
    """
    for name in FIXED:
        if getattr(revision, name) != getattr(original, name):
            raise InvalidPromptError(
                f"{name} was changed, which the job decides; change only fields such as text"
            )
    values = {
        field.name: getattr(revision, "text" if field.name == "prompt" else field.name)
        for field in DECIDING
    }
    if isinstance(shown := values["references"], tuple | list):
        values["references"] = [
            {"uri": each.path, "role": each.role} if each.role else each.path for each in shown
        ]
    given = {name: value for name, value in values.items() if value not in (None, [])}
    try:
        fields: dict[str, Any] = json.loads(json.dumps(given, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise InvalidPromptError("a field holds a value that is no JSON") from None
    return fields


def revised(
    original: Prompt,
    fields: Mapping[str, Any],
    defaults: PromptDefaults,
    *,
    number: int | None = None,
) -> Prompt:
    """Return the prompt that changed fields describe.

    Its body, attributes and origin are those of the message. One of several gets an id that no
    sender can give, because none has a `#`: that of the message, `#` and its number. So the ids,
    and the keys that consumers deduplicate on, are distinct, and the same whenever the function
    returns the same.

    Args:
        original: what the function was given.
        fields: of the changed prompt.
        defaults: what the job's options set for its prompts.
        number: which of several prompts it is that the function made, from 1; None: the only one.

    Raises:
        InvalidPromptError: they describe no prompt that the job accepts; names the field.
    """
    find: FindTemplate = no_templates
    given = dict(fields)
    if original.template and given.get("prompt") == original.text:
        # The text of a template may be what a sender could not write, such as an object in braces.
        filled = PromptTemplate(original.template, ((given.pop("prompt"), None),))
        given["template"], find = "filled", lambda _: filled
    prompt = prompt_of(
        given,
        original.body,
        original.attributes,
        origin=original.origin,
        defaults=dataclasses.replace(defaults, template=None),
        find_template=find,
    )
    fresh = original.fresh
    if fresh is not None and number is not None:
        fresh = f"{fresh}#{number}"
    digest = digest_of(prompt.digested, fresh=fresh)
    prompt_id = original.prompt_id
    if number is not None:
        prompt_id = f"{prompt_id}#{number}"
    elif prompt_id == made_id(original.digest):
        prompt_id = made_id(digest)
    return dataclasses.replace(
        prompt, prompt_id=prompt_id, digest=digest, fresh=fresh, template=original.template
    )
