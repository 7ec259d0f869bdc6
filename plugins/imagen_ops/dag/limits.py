"""Refuses a form that goes beyond the deployment's limits, before anything is read or launched."""

from airflow.sdk.exceptions import AirflowFailException

from imagen_ops.jobs.limits import Template, not_allowed
from imagen_ops.jobs.params import JobForm
from imagen_ops.settings import Settings


def refuse_not_allowed(settings: Settings, form: JobForm, template: Template) -> None:
    """Make sure that a form uses and offers no more than the settings allow.

    Args:
        settings: of the deployment.
        form: the job fields of a trigger form.
        template: the name of the setting that has the job's template.

    Raises:
        AirflowFailException: it does; the message names each setting that could allow it.
    """
    if problems := not_allowed(settings, form, template):
        raise AirflowFailException(
            "\n".join(["this deployment doesn't allow what the run would use:", *problems])
        )
