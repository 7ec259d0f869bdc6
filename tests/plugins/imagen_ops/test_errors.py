import pytest

from imagen_ops.errors import NO_ANSWER, ApiError


@pytest.mark.parametrize(
    ("status", "advice", "transient"),
    [
        (400, "a form field, a setting, or a key", False),
        (401, "connection", False),
        (403, "roles", False),
        (404, "IMAGEN_PROJECT", False),
        (408, "Airflow retries the task", True),
        (409, "active job with this name", False),
        (412, "organization policy", False),
        (418, "would be refused again", False),
        (429, "Airflow retries the task", True),
        (500, "Airflow retries the task", True),
        (503, "Airflow retries the task", True),
        (NO_ANSWER, "network", True),
    ],
)
def test_an_error_names_the_call_the_response_and_what_to_do(
    status: int, advice: str, transient: bool
) -> None:
    error = ApiError("launching imagen-stream", status, "in Google's words")
    assert "launching imagen-stream" in str(error)
    assert "in Google's words" in str(error)
    assert advice in str(error)
    assert error.transient is transient
