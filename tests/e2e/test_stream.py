"""The stream, operated through a real Airflow."""

import base64
import json
import os
import signal
import urllib.request
from typing import Any

import pytest

from localcloud.airflow import AirflowApiError
from tests.canaries import THEIRS, canary
from tests.conftest import eventually
from tests.e2e.conftest import A_FAULT, Operated

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

START, HEALTH, DRAIN = "imagen_stream_start", "imagen_stream_health", "imagen_stream_drain"


def codes(verdict: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in verdict["reasons"]]


def test_a_stream_is_started_used_watched_restarted_and_drained(operated: Operated) -> None:
    lane, published = operated.lane, 0

    # Started, with a canary there and back; its links lead to the job.
    start = operated.run(START, {"max_in_flight": 32})
    job = operated.client.xcom(START, start, "launch")
    assert operated.active_jobs() == [job]
    for name, address in operated.client.extra_links(START, start, "wait_until_running").items():
        assert address, name
        with urllib.request.urlopen(address, timeout=120) as page:
            assert job in page.read().decode(), name
    assert operated.desired()["form"]["max_in_flight"] == 32

    # HEALTHY, with prompts of every kind behind it.
    lane.publish(*(f"picture {number}" for number in range(30)), "   ", '{"prompt": 7}')
    published += 32
    lane.predictions(30)
    lane.dead_letters(2)
    state, verdict, _ = operated.health()
    assert (state, verdict["status"]) == ("success", "HEALTHY"), verdict

    # DEGRADED: half of the prompts since the last look are no prompts.
    lane.publish(*(f"another picture {number}" for number in range(20)), *[b"\xff"] * 20)
    published += 40
    lane.predictions(20)
    lane.dead_letters(20)
    state, verdict, _ = operated.health()
    assert (state, verdict["status"]) == ("success", "DEGRADED"), verdict
    assert codes(verdict) == ["FAILURE_RATIO"]

    # And no better for lack of traffic.
    state, verdict, _ = operated.health()
    assert (state, verdict["status"], codes(verdict)) == ("success", "DEGRADED", ["FAILURE_RATIO"])

    # DOWN: its process is killed with prompts in flight; one restart, and no prompt is lost.
    operated.cloud.models(hold=True)
    lane.publish(*(f"picture in flight {number}" for number in range(40)))
    published += 40
    eventually(lambda: operated.cloud.models()["in_flight"] >= 16, what="prompts in flight")
    operated.kill(job)
    state, verdict, down_run = operated.health()
    assert (state, verdict["status"]) == ("failed", "DOWN"), verdict
    assert codes(verdict)[0] == "NO_JOB"
    assert operated.task(HEALTH, down_run, "restart").state == "success"
    (second,) = operated.active_jobs()
    assert second != job
    assert [record["refused"] for record in operated.records("restarts")] == [False]
    operated.cloud.models(hold=False)
    lane.predictions(40)
    state, verdict, _ = operated.health()
    assert (state, verdict["status"]) == ("success", "HEALTHY"), verdict
    assert operated.active_jobs() == [second]
    # The counts of the new job are no gap in the rates.
    newest = operated.records("health")[-1]
    assert [p["prompts"] for p in newest["periods"] if p["at"] == newest["at"]] == [40]

    # Drained with slow prompts in flight; meanwhile no worker slot is held.
    operated.cloud.models(hold=True)
    lane.publish(*(f"last picture {number}" for number in range(8)))
    published += 8
    eventually(lambda: operated.cloud.models()["in_flight"] == 8, what="slow calls")
    drain = operated.client.trigger(DRAIN)
    eventually(lambda: operated.job_state(second) == "JOB_STATE_DRAINING", what="DRAINING")
    eventually(
        lambda: (
            operated.task(DRAIN, drain, "wait_until_drained").state == "up_for_reschedule"
            and operated.client.slots_taken() == 0
        ),
        what="a drain that waits without a slot",
    )
    assert operated.job_state(second) == "JOB_STATE_DRAINING"
    operated.cloud.models(hold=False)
    operated.client.wait_for_run(DRAIN, drain, within_s=400)
    report = operated.client.xcom(DRAIN, drain, "report")
    assert (report["state"], report["backlog"]) == ("DRAINED", 0)
    lane.predictions(8)

    # What was drained stays drained.
    state, verdict, run_id = operated.health()
    assert (state, verdict["status"], codes(verdict)) == ("success", "HEALTHY", ["DRAINED"])
    assert operated.task(HEALTH, run_id, "restart").state == "skipped"
    assert operated.active_jobs() == []

    # No task warns of what nobody can change.
    for dag_id, run in ((START, start), (HEALTH, run_id), (DRAIN, drain)):
        for task in operated.client.task_instances(dag_id, run):
            if task.state == "success":
                log = operated.log(dag_id, run, task.task_id)
                assert "per-request timeout" not in log, task.task_id

    # Every prompt is accounted for, and the history tells the story.
    assert published == 30 + 2 + 20 + 20 + 40 + 8
    assert lane.nothing_left("prompts")
    assert lane.nothing_left("dead-letters")
    records = [r for r in operated.records("health") if r["run_id"].startswith("manual")]
    story = [record["verdict"]["status"] for record in records]
    assert story == ["HEALTHY", "DEGRADED", "DEGRADED", "DOWN", "HEALTHY", "HEALTHY"]


@A_FAULT
def test_strangers_canaries_change_neither_the_verdict_nor_the_bill(operated: Operated) -> None:
    lane, each = operated.lane, 1_000
    operated.run(START)
    calls = operated.cloud.models()["calls"]
    key = base64.b64encode(b"\x03" * 32).decode()
    operated.client.set_variable("imagen_canary_private_key", key)  # as somebody who rotates it

    futures = []
    for _ in range(each):
        futures += [
            lane.publisher.publish(lane.topic(topic), body, **attributes)
            for topic, body, attributes in (
                ("prompts", b"", {"canary": "12000"}),
                ("prompts", b"", canary(key=THEIRS)),
                ("prompts", b"a fox", {"canary": "0a" * 16}),
                ("predictions", b"{}", {"canary": "from before there were signatures"}),
            )
        ]
    for future in futures:
        future.result(timeout=60)
    state, verdict, run_id = operated.health()
    assert (state, verdict["status"], codes(verdict)) == ("success", "HEALTHY", ["RUNNING"])
    assert operated.records("health")[-1]["canary_seconds"] < 60
    refused = lane.dead_letters(3 * each)
    assert {one["reason"] for one in refused} == {"INVALID_PROMPT"}
    assert operated.cloud.models()["calls"] == calls
    assert lane.nothing_left("canary")

    for task_id in ("send_canary", "wait_for_canary"):
        told = operated.log(HEALTH, run_id, task_id)
        told += json.dumps(operated.client.xcom(HEALTH, run_id, task_id))
        assert key not in told
        assert "sent_at" in told


def test_a_health_check_without_storage_says_so_within_a_minute(operated: Operated) -> None:
    operated.cloud.storage(error_rate=1.0, error_status=503)
    run_id = operated.client.trigger(HEALTH)

    def has_failed() -> bool:
        return operated.task(HEALTH, run_id, "assess").state in ("failed", "up_for_retry")

    eventually(has_failed, within_s=60, what="a failed health check")
    error = operated.first_error(HEALTH, run_id, "assess")
    operated.cloud.storage(error_rate=0.0)
    assert "503" in error
    assert "storage" in error.lower()
    assert len(error.splitlines()) == 1


def test_two_starts_at_once_make_one_job_and_no_start_ends_it(operated: Operated) -> None:
    runs = [operated.client.trigger(START) for _ in range(2)]
    for run_id in runs:
        operated.client.wait_for_run(START, run_id, within_s=400)
    (job,) = operated.active_jobs()
    assert {operated.client.xcom(START, run_id, "launch") for run_id in runs} == {job}

    # Marking it failed, or clearing it, is about the DAG run, never about the job.
    operated.client.mark(START, runs[0], "launch", "failed")
    operated.client.clear(START, runs[1], ["launch"], downstream=True)
    operated.client.wait_for_run(START, runs[1], within_s=400)
    assert operated.active_jobs() == [job]
    assert operated.job_state(job) == "JOB_STATE_RUNNING"
    assert len(operated.jobs()) == len(set(operated.jobs()))


@A_FAULT
def test_a_start_whose_scheduler_was_killed_in_mid_launch_ends_with_one_job(
    operated: Operated,
) -> None:
    before = set(operated.jobs())
    operated.cloud.dataflow(latency_s=2.0)
    run_id = operated.client.trigger(START)
    eventually(
        lambda: operated.task(START, run_id, "launch").state == "running",
        what="launch",
    )
    os.kill(operated.airflow.components()["scheduler"], signal.SIGKILL)
    operated.airflow.restart("scheduler")  # and with it, what the old one left running
    operated.cloud.dataflow(latency_s=0.0)
    operated.client.clear(START, run_id, ["launch"], downstream=True)
    operated.client.wait_for_run(START, run_id, within_s=400)
    (job,) = operated.active_jobs()
    assert operated.client.xcom(START, run_id, "launch") == job
    assert set(operated.jobs()) - before == {job}


@A_FAULT
def test_a_job_that_fails_each_time_is_left_to_a_person(operated: Operated) -> None:
    # What a start remembers, with a model that is deployed nowhere: the job ends at once.
    form = {"model": "my-flux", "max_workers": 1}
    remembered = {"wanted": True, "by": "a test", "at": "2026-11-22T00:00:00+00:00", "form": form}
    operated.client.set_variable("imagen_stream", json.dumps(remembered))

    def no_job() -> bool:
        return operated.active_jobs() == []

    for _ in range(2):
        eventually(no_job, what="the job's failure")
        state, verdict, run_id = operated.health()
        assert (state, verdict["restart"]) == ("failed", True)
        assert operated.task(HEALTH, run_id, "restart").state == "success"
    eventually(no_job, what="the job's failure")
    jobs = operated.jobs()
    state, verdict, run_id = operated.health()
    assert state == "failed"
    assert "--model_endpoint" in verdict["reasons"][0]["text"], "the job's own words"
    assert operated.task(HEALTH, run_id, "restart").state == "failed"
    assert "IMAGEN_RESTARTS_PER_HOUR allows 2" in operated.log(HEALTH, run_id, "restart")
    assert operated.jobs() == jobs, "nothing was started"


@A_FAULT
def test_a_stuck_start_is_not_waited_for_and_a_drain_wins_over_one_that_is_under_way(
    operated: Operated,
) -> None:
    # The stream has died, and the start that somebody triggered is stuck in a paused DAG.
    form = {"model": "gemini-3.1-flash-image", "max_workers": 1}
    remembered = {"wanted": True, "by": "a test", "at": "2026-11-22T00:00:00+00:00", "form": form}
    operated.client.set_variable("imagen_stream", json.dumps(remembered))
    operated.client.pause(START)
    try:
        stuck = operated.client.trigger(START)
        state, verdict, run_id = operated.health()
    finally:
        operated.client.pause(START, paused=False)
    assert (state, codes(verdict)) == ("failed", ["NO_JOB", "START_STUCK"])
    assert operated.task(HEALTH, run_id, "restart").state == "success"
    (job,) = operated.active_jobs()
    operated.client.wait_for_run(START, stuck, within_s=400)
    assert operated.client.xcom(START, stuck, "launch") == job, "it keeps the job of the restart"

    # A replacement is queued, in no listing yet, when somebody drains the stream.
    operated.cloud.dataflow(queued_s=600.0, unlisted_s=600.0)
    replacing = operated.client.trigger(START, {"on_active": "replace"})

    def launched() -> str | None:
        tasks = operated.client.task_instances(START, replacing)
        done = next(task for task in tasks if task.task_id == "launch").state == "success"
        return str(operated.client.xcom(START, replacing, "launch")) if done else None

    new = eventually(launched, within_s=200, what="the launch")
    assert operated.active_jobs() == [], "as a listing has it"
    drain = operated.run(DRAIN)
    assert operated.client.xcom(DRAIN, drain, "drain") == new
    assert operated.job_state(new) == "JOB_STATE_CANCELLED"
    assert operated.ended(START, replacing) == "failed"
    assert operated.desired()["wanted"] is False


def test_what_cannot_work_is_refused_by_the_first_task_with_the_nearest_that_can(
    operated: Operated,
) -> None:
    jobs, before = operated.jobs(), operated.cloud.models()
    others = {"model": "flux-1", "model_endpoint": "projects/another/locations/l/endpoints/1"}
    refused = [
        (START, {"model": "gemini-3.1-flash-imagee"}, "check_prerequisites", "flash-image?"),
        (START, others, "check_prerequisites", "IMAGEN_ALLOWED_PROJECTS doesn't list it"),
        ("imagen_backfill", {"day": "2026-01-01", **others}, "plan", "IMAGEN_ALLOWED_PROJECTS"),
        (DRAIN, {"cancel_after": 5}, "drain", "did you mean cancel_after_minutes?"),
        (HEALTH, {"dry_run": True}, "send_canary", "imagen_stream_health has no fields"),
    ]
    runs = [operated.client.trigger(dag_id, form) for dag_id, form, _, _ in refused]
    for run_id, (dag_id, _, task_id, expected) in zip(runs, refused, strict=True):
        assert operated.ended(dag_id, run_id) == "failed"
        assert expected in operated.log(dag_id, run_id, task_id)
        assert operated.task(dag_id, run_id, task_id).try_number == 1, "no retry can help"
    assert operated.jobs() == jobs
    after = operated.cloud.models()
    assert [after[name] - before[name] for name in ("calls", "images", "endpoint_reads")] == [0] * 3
    assert operated.desired() == {}, "nobody has asked for anything"


@pytest.mark.parametrize(
    ("dag_id", "form"),
    [
        (START, {"max_in_flight": 0}),
        (START, {"on_active": "kill"}),
        (START, {"model": "no such thing"}),
        (DRAIN, {"cancel_after_minutes": -5}),
    ],
)
def test_an_impossible_form_is_refused_before_a_run_starts(
    operated: Operated, dag_id: str, form: dict[str, Any]
) -> None:
    runs = operated.client.run_ids(dag_id)
    with pytest.raises(AirflowApiError, match=next(iter(form))) as refused:
        operated.client.trigger(dag_id, form)
    assert refused.value.status in (400, 422)
    assert operated.client.run_ids(dag_id) == runs
