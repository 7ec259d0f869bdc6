"""The same prompt for another model, or without its custom function: its digest."""

import dataclasses

from beam_jobs.catalog import Family, Offer, family_of, offer_of
from beam_jobs.prompts.fields import FIELDS
from beam_jobs.prompts.identity import digest_of
from beam_jobs.prompts.parse import Prompt


def with_model(prompt: Prompt, model: str) -> Prompt | None:
    """Return `prompt` for another model, with that model's digest; None if it can't make it.

    Args:
        prompt: the prompt.
        model: the other model's name.
    """
    return renamed(prompt, model) if _makes(model, offer_of(model), prompt) else None


def renamed(prompt: Prompt, model: str) -> Prompt:
    """Return `prompt` for another model, with that model's digest, whether or not it can make it.

    Args:
        prompt: the prompt.
        model: the other model's name.
    """
    # An endpoint serves the job's default model alone.
    other = dataclasses.replace(prompt, model=model, model_endpoint=None)
    return dataclasses.replace(other, digest=digest_of(other.digested, fresh=prompt.fresh))


def changed_by(prompt: Prompt, postprocess: str | None) -> Prompt:
    """Return `prompt` for images that another custom function has changed, with their digest.

    Args:
        prompt: the prompt.
        postprocess: the function, as MODULE:FUNCTION@VERSION; None: for what the model makes.
    """
    other = dataclasses.replace(prompt, postprocess=postprocess)
    return dataclasses.replace(other, digest=digest_of(other.digested, fresh=prompt.fresh))


def _makes(model: str, offer: Offer, prompt: Prompt) -> bool:
    offered = (
        (prompt.aspect_ratio, offer.aspect_ratios),
        (prompt.image_size, offer.image_sizes),
        (prompt.thinking_level, offer.thinking_levels),
    )
    for value, known in offered:
        if value is not None and known is not None and value not in known:
            return False
    if offer.max_references is not None and len(prompt.references) > offer.max_references:
        return False
    if family_of(model) is not Family.GEMINI and any(
        getattr(prompt, field.name) not in (None, ()) for field in FIELDS if field.gemini_only
    ):
        return False
    return offer.negative_prompt or prompt.negative_prompt is None
