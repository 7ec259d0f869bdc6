"""Which prompts batch inference can make, by what the catalog says. Pure."""

from collections.abc import Sequence
from enum import StrEnum

from beam_jobs.catalog import CATALOG, GLOBAL, locations_in
from beam_jobs.prompts.parse import Prompt


class LeftOut(StrEnum):
    """Why a row of a prompt file is left to the backfill's own job."""

    INVALID = "invalid"  # which the job reports
    CUSTOM = "custom"  # custom functions change prompts or images in the job
    ENDPOINT = "endpoint"  # something else than Google serves the model
    MODEL = "model"  # batch inference does not serve it, as far as the catalog knows
    LOCATION = "location"  # batch inference serves the model at none of the job's locations
    SIZE = "size"  # batch inference makes no image of that size
    REFERENCES = "references"  # one is not there, or no picture that a model takes
    EQUAL = "equal"  # an earlier row asks for the same images
    STORED = "stored"  # at least in part; the job makes what is missing
    BUDGET = "budget"  # it would not fit any more


def batch_locations(model_location: str | None) -> tuple[str, ...]:
    """Return where a job may call models, in the order of preference.

    Args:
        model_location: the job's option, separated by commas; empty for the default.
    """
    return locations_in(model_location) or (GLOBAL,)


def location_of(model: str, locations: Sequence[str]) -> str | None:
    """Return where batch inference serves a model; None if nowhere among `locations`."""
    row = CATALOG.get(model)
    served = row.batch.locations if row and row.batch else ()
    return next((name for name in locations if name in served), None)


def why_not(
    model: str, size: str | None, *, endpoint: str | None, locations: Sequence[str]
) -> LeftOut | None:
    """Return why batch inference cannot make what a prompt asks for; None if it can.

    Everything else that a prompt can ask for is in its request, as in that of a call. A prompt that
    wants no reuse has a digest of its own, which its delivery finds again.

    Args:
        model: the prompt's.
        size: the size that it asks for; None for the model's own.
        endpoint: what serves the model, if it isn't Google's own.
        locations: where the job may call models.
    """
    if endpoint is not None:
        return LeftOut.ENDPOINT
    row = CATALOG.get(model)
    if row is None or row.batch is None:
        return LeftOut.MODEL
    if location_of(model, locations) is None:
        return LeftOut.LOCATION
    if (size or row.default_size) not in row.batch.sizes:
        return LeftOut.SIZE
    return None


def why_not_prompt(
    prompt: Prompt, locations: Sequence[str], *, changed: bool = False
) -> LeftOut | None:
    """Return why batch inference cannot make a prompt's images; None if it can.

    Args:
        prompt: the prompt.
        locations: where the job may call models.
        changed: whether custom functions change prompts or images in the job. The images would not
            be those that it looks for.
    """
    if changed or prompt.postprocess is not None:
        return LeftOut.CUSTOM
    return why_not(
        prompt.model,
        prompt.image_size,
        endpoint=prompt.model_endpoint,
        locations=locations,
    )
