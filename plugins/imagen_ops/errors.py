"""What goes wrong between Airflow and Google, in words that say what to do about it."""

from airflow.sdk.exceptions import AirflowException

_ADVICE = {
    400: "the request is wrong, see above; a form or a setting holds what the service refuses",
    401: "no valid credentials; look at the Airflow connection",
    403: "the environment's service account may not do this; composer.tf lists the roles it needs",
    404: "not there; check IMAGEN_PROJECT and IMAGEN_REGION, and that composer.tf has been applied",
    409: "the name is in use by a job that is active",
    429: "the quota of the API is used up for now; the task is tried again",
}
_UNAVAILABLE = "the service has trouble of its own; the task is tried again"
_SILENT = "no answer; look at the network and at api_endpoints in the Airflow connection"

NO_ANSWER = 0


class ApiError(AirflowException):
    """A call to a Google API failed, for good or after its retries.

    Args:
        what: what was asked, for people.
        status: the HTTP status, or NO_ANSWER.
        detail: the service's own words.
    """

    def __init__(self, what: str, status: int, detail: str) -> None:
        self.status = status
        advice = _ADVICE.get(status, _UNAVAILABLE if status >= 500 else _SILENT)
        answer = f"HTTP {status}" if status else "nothing came back"
        super().__init__(f"{what}: {answer}: {detail.rstrip('.')}. What to do: {advice}")

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later, with nobody doing anything."""
        return self.status in (NO_ANSWER, 408, 429) or self.status >= 500
