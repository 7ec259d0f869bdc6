"""Looking up, before a night, whether the references that its prompts show are there.

A missing one costs nothing: its prompts become dead letters, which can be replayed. But who sees it
in the plan can still put it there. So a look at some of them is enough.
"""

from typing import TYPE_CHECKING

from beam_jobs.shown import shown

if TYPE_CHECKING:
    from google.cloud.storage import Client

# The first different ones of a plan. They take some 10 seconds, and a request each.
MAX_LOOKED_UP = 1_000
_SHOWN_CHARS = 300


def reference_problem(client: "Client", path: str) -> str | None:
    """Return what is wrong with a reference, as "path: what is wrong"; None if it is there.

    Whether its content is a picture is for the job to find out. One that Airflow may not read, as
    in another bucket, is taken to be there.

    Args:
        client: looks it up.
        path: gs://BUCKET/NAME, as `beam_jobs.prompts.references` has checked it.

    Raises:
        google.api_core.exceptions.GoogleAPICallError, google.auth.exceptions.GoogleAuthError,
        OSError: Cloud Storage does not answer, or refuses for another reason.
    """
    from google.api_core.exceptions import Forbidden

    bucket, _, name = path.removeprefix("gs://").partition("/")
    try:
        if client.bucket(bucket).blob(name).exists():
            return None
    except Forbidden:
        return None
    return shown(
        f"{path}: a reference that is not there; put it there, or its prompts become dead letters",
        _SHOWN_CHARS,
    )
