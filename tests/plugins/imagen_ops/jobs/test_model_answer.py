"""What Vertex AI's answer about a model means."""

import pytest

from imagen_ops.errors import NO_ANSWER, ApiError
from imagen_ops.jobs.model_answer import ModelAnswer, judge

MODEL = "gemini-3.1-flash-imagee"


def refused(status: int, code: str = "") -> ApiError:
    return ApiError(f"asking {MODEL} at global", status, "in Google's words.", code)


def test_a_model_that_answers_is_fine() -> None:
    assert judge(MODEL, None) == ModelAnswer()


def test_an_unknown_model_is_a_problem_with_the_nearest_and_all_known_ones() -> None:
    problem = judge(MODEL, refused(404)).problem
    assert problem.startswith(f"asking {MODEL} at global: HTTP 404: in Google's words. Did you ")
    assert "Did you mean gemini-3.1-flash-image? " in problem
    assert "gemini-nano-banana-2.1" in problem
    assert "Did you mean" not in judge("my-own", refused(404)).problem


def test_an_unknown_endpoint_is_a_problem_without_models() -> None:
    problem = judge("projects/p/locations/l/endpoints/7", refused(404)).problem
    assert "Check the endpoint's id" in problem
    assert "gemini" not in problem.replace(MODEL, "")


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (400, "FAILED_PRECONDITION")],
)
def test_a_model_that_the_project_may_not_use_is_a_problem(status: int, code: str) -> None:
    assert "Model Garden" in judge(MODEL, refused(status, code)).problem


@pytest.mark.parametrize("status", [NO_ANSWER, 400, 408, 429, 500, 503])
def test_what_says_nothing_about_the_model_is_a_doubt(status: int) -> None:
    answer = judge(MODEL, refused(status, "INVALID_ARGUMENT"))
    assert not answer.problem
    assert answer.doubt
