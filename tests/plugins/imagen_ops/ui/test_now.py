"""The state of the stream now: the last health check's, and what was done since."""

import types
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.jobs.job import Job, JobState
from imagen_ops.records.actions import Stage, action_record
from imagen_ops.ui.panels.health_history import HealthCheck
from imagen_ops.ui.panels.now import Now, state_now
from imagen_ops.ui.panels.steps import DRAIN, HEALTH, START, EndedRun, Step, by_time, steps
from tests.plugins.imagen_ops.ui.test_health_history import NOW, record


def check(**fields: Any) -> HealthCheck:
    """Return a check five minutes ago of a stream that runs, or with other fields in its record."""
    well = {"status": "HEALTHY", "reasons": []}
    by = {"verdict": well, "wanted_by": f"{START} manual__0 (ada)", "wanted_since": NOW.isoformat()}
    found = HealthCheck.from_record({**record(), **by, **fields})
    assert found is not None
    return found


STOPPED = {
    "wanted": False,
    "job": None,
    "verdict": {"status": "HEALTHY", "reasons": []},
    "wanted_by": f"{DRAIN} manual__0 (grace)",
    "last_job": {"id": "job-1", "state": "DRAINED", "since": None},
}
DEAD = {"job": None, "verdict": {"status": "DOWN", "reasons": []}}


def step(
    stage: Stage,
    dag: str = START,
    *,
    after: float = 1,
    job: tuple[str, JobState] | None = None,
    run: str = "manual__1",
    **facts: Any,
) -> Step:
    """Return what a run did some minutes after the check, from the record that it leaves."""
    at = NOW + timedelta(minutes=after)
    dag_run = types.SimpleNamespace(
        dag_id=dag, run_id=run, run_type="manual", triggering_user_name="bob"
    )
    its_job = Job(job[0], "imagen-stream", job[1], at) if job else None
    line = action_record(dag_run, stage, job=its_job, **facts)
    [found] = steps(iter([{**line, "at": at.isoformat()}]))
    return found


def now(last: HealthCheck | None, *done: Step, ended: tuple[EndedRun, ...] = ()) -> Now:
    found = state_now(last, list(done), list(ended), NOW + timedelta(minutes=5))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("fields", "word"), [({}, "HEALTHY"), (STOPPED, "STOPPED"), (DEAD, "DOWN")], ids=str
)
def test_without_a_step_since_the_health_check_holds(fields: dict[str, Any], word: str) -> None:
    earlier = step(Stage.STOPPING, DRAIN, after=-1, job=("job-0", JobState.RUNNING))
    found = now(check(**fields), earlier)
    assert (found.word, found.checked, found.start) == (word, True, None)


def test_a_stream_stopped_on_purpose_that_is_not_well_is_still_said_to_be_unwell() -> None:
    unwell = {**STOPPED, "verdict": {"status": "DEGRADED", "reasons": []}}
    assert now(check(**unwell)).word == "DEGRADED"


def test_a_drain_is_seen_at_once_and_so_is_its_end() -> None:
    asked = step(Stage.STOPPING, DRAIN, after=1, job=("job-1", JobState.RUNNING))
    found = now(check(), asked)
    assert (found.word, found.checked, found.wanted) == ("STOPPING", False, False)
    assert found.job == {"id": "job-1", "state": "DRAINING", "since": asked.at.isoformat()}
    assert found.asked == asked.asked
    assert found.asked is not None
    assert found.asked["by"] == "bob"
    assert found.asked["url"] == "dags/imagen_stream_drain/runs/manual__1"

    cancelled = step(Stage.CANCELLING, DRAIN, after=2, job=("job-1", JobState.DRAINING))
    found = now(check(), asked, cancelled)
    assert found.job is not None
    assert (found.word, found.job["state"]) == ("STOPPING", "CANCELLING")
    assert found.asked == asked.asked, "the request, not the impatience"

    gone = step(
        Stage.ENDED,
        DRAIN,
        after=3,
        job=("job-1", JobState.DRAINED),
        backlog_size=7,
        backlog_age=None,
    )
    found = now(check(), asked, cancelled, gone)
    assert (found.word, found.job, found.waiting) == ("STOPPED", None, {"backlog_size": 7})
    assert found.last_job is not None
    assert found.last_job["state"] == "DRAINED"


def test_a_relaunch_is_seen_at_once() -> None:
    """Thirty seconds after it, the page used to say that no job was active."""
    requested = step(Stage.REQUESTED, after=0.2)
    found = now(check(**STOPPED), requested)
    assert (found.word, found.start) == ("STARTING", requested.asked)
    launched = step(Stage.LAUNCHED, after=0.5, job=("job-2", JobState.QUEUED), form={"model": "m"})
    found = now(check(**STOPPED), requested, launched)
    assert (found.word, found.wanted, found.form) == ("STARTING", True, {"model": "m"})
    assert found.job is not None
    assert found.job["id"] == "job-2"
    running = step(Stage.RUNNING, after=4, job=("job-2", JobState.RUNNING))
    found = now(check(**STOPPED), requested, launched, running)
    assert (found.word, found.checked, found.start) == ("RUNNING", False, None)
    # Before the first health check of all, as well.
    assert now(None, requested, launched, running).word == "RUNNING"


# A launch is answered without a state.
@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.UNKNOWN])
def test_a_restart_is_seen_at_once(state: JobState) -> None:
    restarted = step(Stage.LAUNCHED, HEALTH, job=("job-2", state))
    assert now(check(**DEAD), restarted).word == "STARTING"


def test_a_start_that_keeps_the_job_changes_nothing() -> None:
    kept = step(Stage.LAUNCHED, job=("job-1", JobState.RUNNING))
    found = now(check(), step(Stage.REQUESTED, after=0.5), kept)
    assert (found.word, found.checked) == ("HEALTHY", True)


def test_a_replaced_job_drains_although_the_stream_should_run() -> None:
    way = step(Stage.STOPPING, job=("job-1", JobState.RUNNING))
    found = now(check(), step(Stage.REQUESTED, after=0.5), way)
    assert (found.word, found.wanted) == ("STOPPING", True)
    assert found.start is not None


@pytest.mark.parametrize(
    "over",
    [
        lambda: (step(Stage.STOPPING, DRAIN, after=2), ()),
        lambda: (step(Stage.RUNNING, after=2, job=("job-1", JobState.RUNNING)), ()),
        lambda: (None, (EndedRun(NOW + timedelta(minutes=2), START, "manual__1", True),)),
    ],
    ids=["drained", "running", "the run failed"],
)
def test_a_start_is_under_way_until_it_is_over(over: Any) -> None:
    another, ended = over()
    requested = step(Stage.REQUESTED)
    assert now(check(**STOPPED), requested).start is not None
    done = [requested, *([another] if another else [])]
    assert now(check(**STOPPED), *done, ended=ended).start is None


def test_nothing_known_is_nothing() -> None:
    assert state_now(None, [], [], NOW) is None


def test_a_stage_that_was_tried_again_counts_once_and_what_is_no_step_not_at_all() -> None:
    tries = [step(Stage.REQUESTED, after=minutes) for minutes in (1, 3)]
    assert by_time([tries[1:], tries[:1]]) == tries[1:]
    odd = [{}, {"at": 7}, {"at": NOW.isoformat(), "stage": "requested"}, {"stage": ["launched"]}]
    assert steps(iter(odd)) == []
    at = datetime.now(UTC).isoformat()
    half = {"at": at, "stage": "flown", "dag_id": "d", "dag_run_id": "r", "job": [], "form": 7}
    assert now(check(), *steps(iter([half]))).word == "HEALTHY"


def test_a_job_that_ended_although_the_stream_should_run_is_not_a_stop() -> None:
    gone = step(Stage.ENDED, DRAIN, job=("job-1", JobState.DRAINED))
    found = now(check(), gone)
    assert (found.word, found.wanted, found.job) == ("UNKNOWN", True, None)
