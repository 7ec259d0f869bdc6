"""The whole text of each reason, as people on call read it: value, limit, what to do."""

from typing import Any

import pytest

from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.signals import Counts, ErrorMessage, ModelHold, Starts
from imagen_ops.health.assessment.verdict import ReasonCode, Status
from imagen_ops.jobs.job import Job, JobState
from tests.plugins.imagen_ops.health.assessment.samples import (
    LIMITS,
    LOST,
    LOST_BEFORE,
    ago,
    canary,
    job,
    reading,
    with_,
)

DRAINED: dict[str, Any] = {
    "wanted": False,
    "wanted_by": "imagen_stream_drain manual__1 (ada)",
    "wanted_since": ago(7200),
}


def pending(*, age_s: float) -> Job:
    return Job("id-1", "imagen-stream", JobState.PENDING, state_since=ago(10), created=ago(age_s))


# By name: how the signals differ from a healthy stream's, and the reason that follows.
TEXTS: dict[str, tuple[dict[str, Any], Status, ReasonCode, str]] = {
    "stopping on purpose": (
        {**DRAINED, "job": job(JobState.DRAINING, age_s=240)},
        Status.HEALTHY,
        ReasonCode.STOPPING,
        "imagen-stream (id-1) has been DRAINING for 4 min, as intended (drained by "
        "imagen_stream_drain manual__1 (ada), 2 h ago).",
    ),
    "unwanted": (
        {**DRAINED, "job": job(age_s=240)},
        Status.DEGRADED,
        ReasonCode.UNWANTED_JOB,
        "imagen-stream (id-1) has been RUNNING for 4 min, but the stream should not be "
        "running (drained by imagen_stream_drain manual__1 (ada), 2 h ago). The job is not "
        "draining. Run imagen_stream_drain to stop it, or imagen_stream_start to keep it.",
    ),
    "no job": (
        {"job": None, "last_job": job(JobState.FAILED, age_s=300)},
        Status.DOWN,
        ReasonCode.NO_JOB,
        "No job is active, but the stream should be running. The last job, imagen-stream "
        "(id-1), ended as FAILED 5 min ago. Backlog: 12 messages, the oldest 3 s old. This "
        "run's restart task launches a new job. If the new job ends too, read the new job's "
        "log.",
    ),
    "start under way": (
        {
            "job": None,
            "last_job": job(JobState.FAILED, age_s=300),
            "starts": Starts(1, paused=False),
        },
        Status.DOWN,
        ReasonCode.NO_JOB,
        "No job is active, but the stream should be running. The last job, imagen-stream "
        "(id-1), ended as FAILED 5 min ago. Backlog: 12 messages, the oldest 3 s old. A run of "
        "imagen_stream_start is under way and launches one, so this run restarts nothing.",
    ),
    "canary lost and none since": (
        {"canary": None, "previous": LOST_BEFORE},
        Status.DEGRADED,
        ReasonCode.CANARY_LOST,
        "The canary of an earlier health check was lost, and none has come back since. Wait for "
        "the next health check, and check the job's log.",
    ),
    "stopped by somebody": (
        {"job": job(JobState.DRAINING, age_s=240)},
        Status.DEGRADED,
        ReasonCode.STOPPING,
        "imagen-stream (id-1) has been DRAINING for 4 min, but the stream should be running: "
        "somebody stopped it outside these DAGs. The stream is restarted automatically once "
        "the job has ended. To keep it off, run imagen_stream_drain.",
    ),
    "paused": (
        {"job": job(JobState.PAUSED, age_s=240)},
        Status.DEGRADED,
        ReasonCode.PAUSED,
        "imagen-stream (id-1) has been PAUSED for 4 min, but the stream should be running: "
        "somebody paused it outside these DAGs. Resume it in the Dataflow console.",
    ),
    "unknown state": (
        {"job": job(JobState.UNKNOWN, age_s=240)},
        Status.DEGRADED,
        ReasonCode.UNKNOWN_STATE,
        "imagen-stream (id-1) has been UNKNOWN for 4 min, which is not a state a stream "
        "should be in. Check it in the Dataflow console.",
    ),
    "starting": (
        {"job": pending(age_s=180)},
        Status.DEGRADED,
        ReasonCode.STARTING,
        "imagen-stream (id-1) has been PENDING for 10 s. It was launched 3 min ago; up to 15 "
        "min is normal.",
    ),
    "not starting": (
        {"job": pending(age_s=1200)},
        Status.DOWN,
        ReasonCode.STARTING,
        "imagen-stream (id-1) has been PENDING for 10 s. It was launched 20 min ago; the "
        "limit is 15 min. Check the launcher's log, and the project's quota for CPUs and IP "
        "addresses in the region.",
    ),
    "unreachable": (
        {"unreachable": {"dataflow": "HTTP 403: forbidden"}},
        Status.DEGRADED,
        ReasonCode.UNREACHABLE,
        "Calls to Dataflow failed: “HTTP 403: forbidden”. The job's state is unknown, at "
        "least in part, so nothing is restarted. Check the API's endpoint, and the roles of "
        "Airflow's service account.",
    ),
    "old backlog": (
        {"backlog_age": reading(1200)},
        Status.DEGRADED,
        ReasonCode.BACKLOG_AGE,
        "The oldest prompt in the backlog (12 messages) has waited for 20 min; the limit is "
        "10 min. Check whether the model is throttling (429), and whether the job is already "
        "at its maximum number of workers.",
    ),
    "large backlog": (
        {"backlog_size": reading(3400)},
        Status.DEGRADED,
        ReasonCode.BACKLOG_SIZE,
        "The backlog has 3,400 messages; the limit is 1,000. Check who is publishing so many, "
        "and whether quota and workers can handle them.",
    ),
    "lost canary": (
        {"canary": LOST},
        Status.DEGRADED,
        ReasonCode.CANARY_LOST,
        "The canary has not come back after 2 min 1 s; the limit is 2 min. If the next canary "
        "is lost too, the stream counts as DOWN. Until then, check the job's log.",
    ),
    "two lost canaries": (
        {"canary": LOST, "previous": LOST_BEFORE},
        Status.DOWN,
        ReasonCode.CANARY_LOST,
        "The canary has not come back after 2 min 1 s; the limit is 2 min. The previous "
        "canary was lost too. But 228 prompts came through since the last health check: the "
        "stream is slow rather than stopped. Check the workers' logs. If the workers are "
        "stuck, replace the job: run imagen_stream_start with on_active=replace.",
    ),
    "late canary": (
        {"canary": canary(age_s=300, back_after_s=180)},
        Status.DEGRADED,
        ReasonCode.CANARY_LATE,
        "The canary took 3 min to come back; the limit is 2 min. Prompts take that long too: "
        "check the backlog, the system lag and the workers.",
    ),
    "late canary of a young job": (
        {"canary": LOST, "job": job(age_s=240)},
        Status.DEGRADED,
        ReasonCode.CANARY_LATE,
        "The canary has not come back after 2 min 1 s; the limit is 2 min. The job has just "
        "started, and its workers may still be coming up: wait for the next health check.",
    ),
    "failures": (
        {"counts": Counts(54, 9, {"BLOCKED": 2, "INVALID_PROMPT": 7})},
        Status.DEGRADED,
        ReasonCode.FAILURE_RATIO,
        "9 of the last 54 prompts failed (16.7%, the limit is 10%): "
        "INVALID_PROMPT 7, BLOCKED 2. Read the dead letters. Once the cause is fixed, send "
        "the retryable ones back with imagen_dead_letters_replay.",
    ),
    "system lag": (
        {"system_lag": reading(360)},
        Status.DEGRADED,
        ReasonCode.SYSTEM_LAG,
        "The system lag is 6 min; the limit is 5 min. A prompt has been in progress for that "
        "long. Check the model's latency, and look for retries in the job's log.",
    ),
    "watermark": (
        {"watermark_age": reading(1200)},
        Status.DEGRADED,
        ReasonCode.WATERMARK_AGE,
        "The watermark is 20 min old; the limit is 10 min. At least one prompt of that age is "
        "not finished. Look for a bundle that keeps failing in the job's log.",
    ),
    "one error": (
        {"errors": (ErrorMessage(ago(60), "boom"),)},
        Status.DEGRADED,
        ReasonCode.ERRORS,
        "The job logged 1 error since the last health check (1 min ago: “boom”). The job may "
        "still be working: read its log, and see whether the errors continue.",
    ),
    "several errors": (
        {"errors": (ErrorMessage(ago(60), "boom"),) * 3},
        Status.DEGRADED,
        ReasonCode.ERRORS,
        "The job logged 3 errors since the last health check. The newest (1 min ago) was “boom”. "
        "The job may still be working: read its log, and see whether the errors continue.",
    ),
    "missing": (
        {"system_lag": None, "watermark_age": None},
        Status.DEGRADED,
        ReasonCode.METRIC_MISSING,
        "No readings for: system lag, watermark age. Check whether Metrics Explorer shows "
        "them for the job and the subscription that the settings name.",
    ),
    "stale": (
        {"system_lag": reading(2, age_s=720)},
        Status.DEGRADED,
        ReasonCode.METRIC_STALE,
        "No new readings for more than 10 min: system lag (12 min old). A hung job stops "
        "reporting: check its workers and their logs.",
    ),
    "impossible": (
        {"system_lag": reading(2, age_s=-180), "backlog_size": reading(-1)},
        Status.DEGRADED,
        ReasonCode.METRIC_REFUSED,
        "Ignored impossible readings: system lag (measured 3 min in the future), backlog size "
        "(its value is -1). Compare the Airflow worker's clock with the job's, and check the "
        "metric in Metrics Explorer.",
    ),
    "a budget that is used up": (
        {"counts": Counts(100, 90, {"OVER_BUDGET": 90})},
        Status.HEALTHY,
        ReasonCode.BUDGET_USED_UP,
        "90 prompts since the last health check cost nothing and became dead letters, because the "
        "stream's budget of images (max_images_per_hour, max_images_per_day) was used up. Send "
        "them back with imagen_dead_letters_replay when it starts anew, or raise it: start the "
        "stream with update.",
    ),
    "a model that refuses every prompt": (
        {
            "holds": (ModelHold("gemini-x", ago(540), "model answered 404: NOT_FOUND"),),
            "counts": Counts(0, 0),
        },
        Status.DOWN,
        ReasonCode.MODEL_REFUSES,
        "The model gemini-x has refused every prompt for 9 min: “model answered 404: NOT_FOUND”. "
        "Its prompts wait; none is lost. Backlog: 12 messages, the oldest 3 s old. Mend what the "
        "model says, such as a role or the model's name; or run imagen_stream_start with another "
        "model and on_active=update.",
    ),
    "impossible counts": (
        {"counts": Counts(-3, 0)},
        Status.DEGRADED,
        ReasonCode.METRIC_REFUSED,
        "Ignored impossible counts since the last health check: -3 prompts, 0 failures. The "
        "job's counters went backwards. If this persists for two health checks, report it to "
        "the developers.",
    ),
}


@pytest.mark.parametrize(("changes", "status", "code", "text"), TEXTS.values(), ids=TEXTS.keys())
def test_a_reason_gives_the_value_the_limit_and_what_to_do(
    changes: dict[str, Any], status: Status, code: ReasonCode, text: str
) -> None:
    (reason,) = assess(with_(**changes), LIMITS).reasons
    assert (reason.status, reason.code, reason.text) == (status, code, text)


def test_the_text_of_every_code_is_listed_here() -> None:
    listed = {code for _, _, code, _ in TEXTS.values()}
    # In test_decide.py and test_models.py.
    elsewhere = {
        ReasonCode.RUNNING,
        ReasonCode.DRAINED,
        ReasonCode.START_STUCK,
        ReasonCode.MODEL_ENDS,
    }
    assert listed | elsewhere == {*ReasonCode} - {ReasonCode.OTHER}
