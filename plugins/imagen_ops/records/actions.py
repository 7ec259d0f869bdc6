"""What runs have done: a record of each stage, written when it is reached.

A health check looks at the stream every five minutes. What is done in between, and by whom, is only
known from these records.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from imagen_ops.jobs.job import Job

SCHEMA = "imagen.action/1"


class Stage(StrEnum):
    """How far a run has got."""

    REQUESTED = "requested"  # it has begun, with a form
    LAUNCHED = "launched"  # a job of it is active: a new one, or one that was active already
    RUNNING = "running"  # its job is
    STOPPING = "stopping"  # it has asked a job to end, if there was one
    CANCELLING = "cancelling"  # it has lost patience with that job
    ENDED = "ended"  # that job has


def action_record(
    dag_run: Any,
    stage: Stage,
    *,
    job: Job | None = None,
    form: Mapping[str, Any] | None = None,
    **facts: Any,
) -> dict[str, Any]:
    """Return the record of a stage, `imagen.action/1`.

    Its `run_id` is `<dag_id>/<run_id>/<step>`: a task that is tried again replaces its record.
    `triggered_by` is a user, or None for a scheduled run.

    Args:
        dag_run: the run.
        stage: how far it has got.
        job: the job that it does it to.
        form: the form of the run, or of the job. The forms of these DAGs hold no prompts.
        facts: more, such as how many prompts wait.
    """
    run_type = getattr(dag_run, "run_type", None)
    return {
        "schema": SCHEMA,
        "run_id": f"{dag_run.dag_id}/{dag_run.run_id}/{stage}",
        "at": datetime.now(UTC).isoformat(),
        "stage": stage.value,
        "dag_id": dag_run.dag_id,
        "dag_run_id": dag_run.run_id,
        "run_type": None if run_type is None else str(getattr(run_type, "value", run_type)),
        "triggered_by": getattr(dag_run, "triggering_user_name", None),
        "job": job and job_facts(job),
        "form": None if form is None else dict(form),
        **facts,
    }


def job_facts(job: Job) -> dict[str, Any]:
    """Return what records say of a job: its id, its state and since when it has been in it."""
    since = job.state_since or job.created
    return {
        "id": job.id,
        "state": job.state.value,
        "since": since.isoformat() if since else None,
    }
