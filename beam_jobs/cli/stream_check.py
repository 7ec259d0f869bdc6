"""Asks Dataflow which jobs of a name are active, as whoever runs the command."""

from typing import Any

from google.api_core import exceptions as api_exceptions
from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession

_STATE_PREFIX = "JOB_STATE_"


def active_jobs(
    name: str, *, project: str, region: str, url: str, credentials: Credentials, timeout_s: float
) -> list[str]:
    """Return what there is to say about each active job of a name, such as `RUNNING (job 2026-…)`.

    Args:
        name: the jobs' name.
        project: the Google Cloud project.
        region: the region that the jobs run in.
        url: the URL of Dataflow.
        credentials: sent with the request.
        timeout_s: the request's timeout, in seconds.

    Raises:
        google.api_core.exceptions.GoogleAPIError: Dataflow refused.
        requests.RequestException: it did not answer.
        google.auth.exceptions.GoogleAuthError: the credentials do not work.
    """
    with AuthorizedSession(credentials) as session:
        response = session.get(
            f"{url.rstrip('/')}/v1b3/projects/{project}/locations/{region}/jobs",
            params={"filter": "ACTIVE", "name": name},
            timeout=timeout_s,
            max_allowed_time=timeout_s,
        )
        if response.status_code != 200:
            raise api_exceptions.from_http_response(response)
        jobs: list[dict[str, Any]] = response.json().get("jobs", [])
    # The name is compared here too: should the service ignore it, all jobs are in the answer.
    return [
        f"{job['currentState'].removeprefix(_STATE_PREFIX)} (job {job['id']})"
        for job in jobs
        if job["name"] == name
    ]
