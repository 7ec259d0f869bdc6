"""What was done, by whom and with which form."""

from datetime import timedelta
from typing import Any

import pytest

from imagen_ops.jobs.job import JobState
from imagen_ops.records.actions import Stage
from imagen_ops.ui.panels.done import read_done, what_runs_did
from imagen_ops.ui.panels.steps import DRAIN, HEALTH, START, EndedRun
from tests.plugins.imagen_ops.ui.conftest import Stored
from tests.plugins.imagen_ops.ui.test_health_history import NOW
from tests.plugins.imagen_ops.ui.test_now import step

BACKFILL = "imagen_backfill"


def did(*taken: Any, ended: tuple[EndedRun, ...] = (), hours: float = 1) -> list[dict[str, Any]]:
    return what_runs_did(list(taken), list(ended), NOW + timedelta(hours=hours))


def end(dag: str, *, failed: bool = False, after: float = 30) -> EndedRun:
    return EndedRun(NOW + timedelta(minutes=after), dag, "manual__1", failed)


def test_a_run_is_one_line_with_its_form_its_job_and_its_result() -> None:
    form = {"on_active": "keep", "max_workers": 2}
    start = (
        step(Stage.REQUESTED, after=1, form=form),
        step(Stage.LAUNCHED, after=2, job=("job-1", JobState.QUEUED), form={"max_workers": 2}),
        step(Stage.RUNNING, after=3, job=("job-1", JobState.RUNNING)),
    )
    later = step(Stage.REQUESTED, BACKFILL, after=20, form={"max_images": 4})
    backfill, line = did(*start, later, ended=(end(START),))
    assert line == {
        "what": "start",
        "run_id": "manual__1",
        "at": start[0].at.isoformat(),
        "by": "bob",
        "url": "dags/imagen_stream_start/runs/manual__1",
        "form": form,
        "job": "job-1",
        "result": "done",
    }
    assert (backfill["what"], backfill["result"]) == ("backfill", "under way")


@pytest.mark.parametrize(
    ("dag", "ended", "hours", "result"),
    [
        (DRAIN, (), 1, "under way"),
        (DRAIN, (), 300, None),
        (DRAIN, (end(DRAIN, failed=True),), 1, "failed"),
        (DRAIN, (end(DRAIN, failed=True), end(DRAIN, after=40)), 1, "done"),
        (DRAIN, (end(DRAIN, failed=True, after=0.5),), 1, "under way"),
        (HEALTH, (), 100, "launched"),
    ],
    ids=["runs", "never ended", "failed", "cleared, done", "cleared, runs", "a restart"],
)
def test_a_result_is_that_of_the_last_try(
    dag: str, ended: tuple[EndedRun, ...], hours: float, result: str | None
) -> None:
    [line] = did(step(Stage.STOPPING, dag), ended=ended, hours=hours)
    assert line["result"] == result


def test_it_is_read_from_what_dags_write_whatever_else_is_there(
    stored: Stored, storage: Any
) -> None:
    assert read_done(storage, NOW) == {"runs": []}
    at = NOW.isoformat()
    line = {"at": at, "stage": "requested", "dag_id": "other", "dag_run_id": "a/b"}
    run = {"at": at, "dag_id": "other", "run_id": "other/a/b", "state": "failed"}
    stored.put(f"records/actions/ds={at[:10]}.jsonl", [7, None, {"at": at}, line])
    stored.put(f"records/runs/ds={at[:10]}.jsonl", [[], {"at": at, "state": 7}, run])
    [shown] = read_done(storage, NOW)["runs"]
    expected = {"what": "other", "url": "dags/other/runs/a%2Fb", "result": "failed", "form": {}}
    assert expected.items() <= shown.items()
