"""What the answer to a question about a model means for a launch: a decision, without calls."""

import difflib
from dataclasses import dataclass

from beam_jobs.catalog import KNOWN_MODELS
from imagen_ops.errors import ApiError


@dataclass(frozen=True)
class ModelAnswer:
    """Whether a job with this model can succeed.

    Attributes:
        problem: why it can't; empty if nothing is known against it.
        doubt: why that could not be found out; empty if it could.
    """

    problem: str = ""
    doubt: str = ""


def judge(model: str, error: ApiError | None) -> ModelAnswer:
    """Judge the answer to a question about a model.

    Only what an operator has to mend counts against it. A model that is overloaded is none of that:
    a job retries.

    Args:
        model: the id of a model, or the name of an endpoint.
        error: what Vertex AI answered instead of an answer; None if it answered.
    """
    if error is None:
        return ModelAnswer()
    if error.status == 404:
        return ModelAnswer(problem=f"{error.summary}. {_suggestion(model)}")
    # A model that a project may not use: any of these three, by the API's error reference
    # (https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors).
    if error.status in (401, 403) or error.code == "FAILED_PRECONDITION":
        return ModelAnswer(
            problem=f"{error.summary}. Enable the model for the project in Model Garden, and grant "
            "the roles that composer.tf lists: Airflow's account asks the model before a start"
        )
    return ModelAnswer(doubt=str(error))


def _suggestion(model: str) -> str:
    if "/" in model:
        return "Check the endpoint's id and location in the console, or leave model_endpoint empty"
    known = ", ".join(KNOWN_MODELS)
    nearest = difflib.get_close_matches(model.lower(), KNOWN_MODELS, n=1)
    meant = f"Did you mean {nearest[0]}? " if nearest else ""
    return f"{meant}The known models are {known}"
