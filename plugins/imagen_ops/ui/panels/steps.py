"""What runs have done to the stream, from the records that they leave at each stage."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from imagen_ops.records.actions import Stage
from imagen_ops.ui.panels.health_history import job_of
from imagen_ops.ui.untrusted import mapping, moment, numbers, text

START, DRAIN, HEALTH = "imagen_stream_start", "imagen_stream_drain", "imagen_stream_health"
# How `requester_of` in imagen_ops.stream.wanted writes who asked for something.
_REQUESTER = re.compile(r"(imagen_\w+) (\S+)(?: \((.+)\))?")


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A stage that a run has reached.

    Attributes:
        at: when, in UTC.
        stage: which.
        dag_id: of the run.
        run_id: of the run.
        by: the user who triggered the run; None if it was scheduled.
        job: the job that it is about, `{"id", "state", "since"}`.
        form: the form of the run, or of its job.
        image: what the job runs, if the step says so.
        numbers: what else it says, such as how many prompts wait.
    """

    at: datetime
    stage: str
    dag_id: str
    run_id: str
    by: str | None
    job: Mapping[str, str | None] | None
    form: Mapping[str, Any]
    image: str | None
    numbers: Mapping[str, float | int]

    @property
    def asked(self) -> dict[str, Any]:
        """Who did it and when, and the run's address in Airflow."""
        return {"at": self.at.isoformat(), "by": self.by, "url": run_url(self.dag_id, self.run_id)}


@dataclasses.dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that has ended."""

    at: datetime
    dag_id: str
    run_id: str
    failed: bool


def run_url(dag_id: str, run_id: str) -> str:
    """Return the address of a DAG run in Airflow's UI, relative to Airflow's root."""
    return f"dags/{quote(dag_id, '')}/runs/{quote(run_id, '')}"


def requester(value: str | None) -> dict[str, Any] | None:
    """Return the user and the run's address in what the Variable says about who asked for it."""
    if not (found := _REQUESTER.fullmatch(value or "")):
        return {"by": value, "url": None} if value else None
    dag_id, run_id, user = found.groups()
    return {"by": user, "url": run_url(dag_id, run_id)}


def steps(records: Iterator[dict[str, Any]]) -> list[Step]:
    """Return the steps in a day's records. Skips records that are none."""
    found = []
    for record in records:
        at, stage = moment(record.get("at")), text(record.get("stage"))
        dag_id, run_id = text(record.get("dag_id")), text(record.get("dag_run_id"))
        if at and stage and dag_id and run_id:
            found.append(
                Step(
                    at=at,
                    stage=stage,
                    dag_id=dag_id,
                    run_id=run_id,
                    by=text(record.get("triggered_by")),
                    job=job_of(record.get("job")),
                    form=mapping(record.get("form")),
                    image=text(record.get("image")),
                    numbers=numbers(record),
                )
            )
    return found


def ended_runs(records: Iterator[dict[str, Any]]) -> list[EndedRun]:
    """Return the runs that have ended in a day's records, but not those of health checks."""
    found = []
    for record in records:
        at, dag_id = moment(record.get("at")), text(record.get("dag_id"))
        run_id = (text(record.get("run_id")) or "").removeprefix(f"{dag_id}/")
        if at and dag_id and dag_id != HEALTH and run_id:
            found.append(EndedRun(at, dag_id, run_id, record.get("state") == "failed"))
    return found


def by_time(days: list[list[Step]]) -> list[Step]:
    """Return the steps of several days, oldest first. Of each stage of a run the last counts."""
    ordered = sorted(itertools.chain.from_iterable(days), key=lambda step: step.at)
    latest = {(step.dag_id, step.run_id, step.stage): step for step in ordered}
    return sorted(latest.values(), key=lambda step: step.at)


def start_under_way(steps: list[Step], ended: list[EndedRun]) -> Step | None:
    """Return the first step of a run that is starting the stream, if there is one."""
    over = {(run.dag_id, run.run_id): run.at for run in ended}
    under_way: Step | None = None
    for step in steps:
        if step.dag_id == DRAIN and step.stage == Stage.STOPPING:
            under_way = None  # a drain overrides a start
        if step.dag_id != START:
            continue
        if step.stage == Stage.RUNNING:
            under_way = None
        elif under_way is None or under_way.run_id != step.run_id:
            under_way = step
    if under_way is None or over.get((START, under_way.run_id), under_way.at) > under_way.at:
        return None
    return under_way
