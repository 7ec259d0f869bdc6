import pytest

from imagen_ops.errors import NO_ANSWER, ApiError


@pytest.mark.parametrize(
    ("status", "advice", "passing"),
    [
        (400, "form or a setting", False),
        (401, "connection", False),
        (403, "roles", False),
        (404, "IMAGEN_PROJECT", False),
        (409, "name is in use", False),
        (429, "tried again", True),
        (500, "tried again", True),
        (503, "tried again", True),
        (NO_ANSWER, "network", True),
    ],
)
def test_an_error_says_what_was_asked_what_came_back_and_what_to_do(
    status: int, advice: str, passing: bool
) -> None:
    error = ApiError("launching imagen-stream", status, "in Google's words")
    assert "launching imagen-stream" in str(error)
    assert "in Google's words" in str(error)
    assert advice in str(error)
    assert error.passing is passing
