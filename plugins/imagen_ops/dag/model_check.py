"""Asks the model of a form before a job is launched with it."""

import logging
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from beam_jobs.catalog import GLOBAL, Family, family_of, locations_in
from imagen_ops.errors import ApiError
from imagen_ops.jobs.model_answer import ModelAnswer, judge
from imagen_ops.jobs.params import JobForm
from imagen_ops.settings import Settings

if TYPE_CHECKING:
    from imagen_ops.google.clients import Clients

_log = logging.getLogger(__name__)
_NOT_FOUND = 404


def check_model(settings: Settings, clients: "Clients", form: JobForm) -> None:
    """Make sure that the model of a form exists, and that the project may call it.

    Without an answer, because Vertex AI is overloaded for instance, the launch goes on.

    Raises:
        AirflowFailException: it doesn't, or may not; says which models are known.
    """
    asked = form.model_endpoint or form.model
    error = None
    try:
        if form.model_endpoint:
            location = form.model_endpoint.split("/")[3]
            clients.models(location).endpoint(form.model_endpoint)
        elif family_of(form.model) is Family.GEMINI:
            # Of several, one that lacks the model does not stop a job.
            clients.models((locations_in(form.model_location) or (GLOBAL,))[0]).count_tokens(
                form.model
            )
        else:
            clients.models(form.model_location or settings.region).publisher_model(form.model)
    except ApiError as refused:
        error = refused
    answer = judge(asked, error)
    if answer.problem and error and error.status != _NOT_FOUND and not _asked_as_a_job(form):
        # Whoever may call a model need not be allowed to read about it.
        answer = ModelAnswer(doubt=str(error))
    if answer.problem:
        raise AirflowFailException(f"the model does not answer: {answer.problem}")
    if answer.doubt:
        _log.warning("whether %s is there is unknown: %s", asked, answer.doubt)
    else:
        _log.info("%s answers", asked)


def _asked_as_a_job(form: JobForm) -> bool:
    """Whether the question needs the rights that a job needs, or that composer.tf grants."""
    return bool(form.model_endpoint) or family_of(form.model) is Family.GEMINI
