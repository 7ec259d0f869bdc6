"""Which prompts batch inference can make. Pure, and the only place that decides it."""

from enum import StrEnum

from beam_jobs.catalog import CATALOG, GLOBAL, locations_in
from beam_jobs.prompts.parse import Prompt


class LeftOut(StrEnum):
    """Why a prompt is left to the backfill's own job."""

    MODEL = "model"  # batch inference doesn't serve it, as far as the catalog knows
    ENDPOINT = "endpoint"  # something of your own serves the model
    SIZE = "size"  # batch inference makes no images of this size with the model
    LOCATION = "location"  # the job keeps its calls at locations that have no batch inference


def left_out(prompt: Prompt, model_location: str | None) -> LeftOut | None:
    """Return why batch inference can't make a prompt's images; None if it can.

    Args:
        prompt: the prompt.
        model_location: where the backfill's job may call models, as its option says, separated by
            commas; empty for the default. Whoever names places wants prompts to stay there.
    """
    row = CATALOG.get(prompt.model)
    if prompt.model_endpoint:
        return LeftOut.ENDPOINT
    if row is None or row.batch is None:
        return LeftOut.MODEL
    if (prompt.image_size or row.default_size) not in row.batch.sizes:
        return LeftOut.SIZE
    if not set(row.batch.locations) & set(locations_in(model_location) or (GLOBAL,)):
        return LeftOut.LOCATION
    # One that asks for new images is told by its file and line, or its id: the job finds them.
    return None
