"""Errors of Google's APIs, with advice on what to do about them."""

from airflow.sdk.exceptions import AirflowException

from beam_jobs.shown import shown

NO_ANSWER = 0

_UNAVAILABLE = "wait; the service has a problem, and Airflow retries the task"
_REFUSED = "change what the service names; the same call would be refused again"
_ADVICE = {
    NO_ANSWER: "check the network, and api_endpoints in the Airflow connection",
    400: "correct what the service rejects: a form field, a setting, or a key that is disabled",
    401: "fix the credentials in the Airflow connection",
    403: "grant the environment's service account the role it lacks; composer.tf lists the roles",
    404: "check IMAGEN_PROJECT and IMAGEN_REGION, and that composer.tf has been applied",
    408: _UNAVAILABLE,
    409: "wait until the active job with this name has ended, or stop it",
    412: "change the condition or the organization policy that the service names",
    429: "wait; the quota of the API is used up for now, and Airflow retries the task",
}


class ApiError(AirflowException):
    """A call to a Google API failed, permanently or after its own retries.

    Args:
        what: the call in words, such as "launching imagen-stream".
        status: the HTTP status, or NO_ANSWER.
        detail: the service's own error message.
        code: the service's word for it, such as FAILED_PRECONDITION, if it has one.
    """

    def __init__(self, what: str, status: int, detail: str, code: str = "") -> None:
        self.status = status
        self.code = code
        advice = _ADVICE.get(status, _UNAVAILABLE if status >= 500 else _REFUSED)
        answer = f"HTTP {status}" if status else "no answer"
        # Services repeat the names that they were asked for.
        self.summary = shown(f"{what}: {answer}: {detail.rstrip('.')}")
        super().__init__(f"{self.summary}. What to do: {advice}")

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later without anybody changing anything."""
        return self.status in (NO_ANSWER, 408, 429) or self.status >= 500
