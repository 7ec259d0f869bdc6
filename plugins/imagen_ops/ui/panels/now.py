"""The state of the stream now: what the last health check found, and what was done since. Pure."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from imagen_ops.jobs.job import JobState
from imagen_ops.records.actions import Stage
from imagen_ops.ui.panels.health_history import HealthCheck
from imagen_ops.ui.panels.steps import DRAIN, EndedRun, Step, requester, start_under_way

# A run of the start DAG is ended after 18 hours.
_START_LASTS = timedelta(hours=18)


@dataclasses.dataclass(frozen=True)
class Now:
    """The state of the stream.

    Attributes:
        word: the verdict, or STOPPED, STOPPING, STARTING, RUNNING (not checked yet).
        checked: whether the verdict of the last health check still holds.
        wanted: whether the stream should run.
        asked: who decided that and when, and the run's address: `{"at", "by", "url"}`.
        job: the active job, `{"id", "state", "since"}`.
        last_job: the one that has ended, if none is active.
        start: the run that is starting the stream, as `asked`.
        form: the form that the stream was last started with.
        waiting: how many prompts wait and how old the oldest is, as a drain has found it since the
            last health check: `{"backlog_size", "backlog_age"}`.
    """

    word: str
    checked: bool
    wanted: bool | None
    asked: Mapping[str, Any] | None
    job: Mapping[str, str | None] | None
    last_job: Mapping[str, str | None] | None
    start: Mapping[str, Any] | None
    form: Mapping[str, Any]
    waiting: Mapping[str, float | int]


def state_now(
    check: HealthCheck | None, steps: list[Step], ended: list[EndedRun], now: datetime
) -> Now | None:
    """Return the state of the stream; None if nothing is known of it.

    Args:
        check: the last health check.
        steps: what was done, oldest first, also before that check.
        ended: the runs that have ended.
        now: the current time.
    """
    start = start_under_way([step for step in steps if step.at > now - _START_LASTS], ended)
    job, last_job, wanted, waiting = None, None, None, {}
    form: Mapping[str, Any] = check.form if check else {}
    asked: dict[str, Any] | None = None
    if check is not None:
        job, last_job, wanted = check.job, check.last_job, check.wanted
        if by := requester(check.wanted_by):
            since = check.wanted_since.isoformat() if check.wanted_since else None
            asked = {"at": since, **by}
    found = (job and job["id"], wanted)
    changed = False
    for step in steps:
        if check is not None and step.at <= check.at:
            continue
        if step.stage in (Stage.LAUNCHED, Stage.RUNNING) and step.job:
            same = job is not None and job["id"] == step.job["id"]
            changed = changed or not same or (job or {})["state"] != step.job["state"]
            job, last_job = step.job, None
            if step.stage == Stage.LAUNCHED:
                wanted, asked, form = True, step.asked, step.form or form
        elif step.stage in (Stage.STOPPING, Stage.CANCELLING):
            changed = True
            job = _stopping(step)
            if step.dag_id == DRAIN and step.stage == Stage.STOPPING:
                wanted, asked = False, step.asked
        elif step.stage == Stage.ENDED:
            changed, last_job, job = True, step.job, None
            names = ("backlog_size", "backlog_age")
            waiting = {name: step.numbers[name] for name in names if name in step.numbers}
    if check is None and not changed and start is None:
        return None
    changed = changed or found != (job and job["id"], wanted)
    return Now(
        word=_word(check, job, wanted, start, changed=changed),
        checked=check is not None and not changed,
        wanted=wanted,
        asked=asked,
        job=job,
        last_job=last_job,
        start=start.asked if start else None,
        form=form,
        waiting=waiting,
    )


def _stopping(step: Step) -> dict[str, str | None] | None:
    """Return the job that a step asks to end. One that has not started yet is cancelled."""
    if step.job is None:
        return None
    cancelled = step.stage == Stage.CANCELLING or JobState.parse(step.job["state"]).starting
    state = JobState.CANCELLING if cancelled else JobState.DRAINING
    return {**step.job, "state": state.value, "since": step.at.isoformat()}


def _word(
    check: HealthCheck | None,
    job: Mapping[str, str | None] | None,
    wanted: bool | None,
    start: Step | None,
    *,
    changed: bool,
) -> str:
    state = JobState.parse(job["state"]) if job else None
    if check is not None and not changed and (wanted is not False or check.status != "HEALTHY"):
        return check.status or "UNKNOWN"
    if state is None:
        return "STARTING" if start else "UNKNOWN" if wanted else "STOPPED"
    if state.stopping:
        return "STOPPING"
    # A launch is answered without a state.
    return "STARTING" if state.starting or state is JobState.UNKNOWN else state.value
