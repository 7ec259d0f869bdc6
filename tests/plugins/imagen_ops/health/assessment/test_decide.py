"""The health decision: every rule alone, and in combination with others."""

import math
from datetime import datetime
from typing import Any

import pytest

from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.signals import (
    Counts,
    ErrorMessage,
    Signals,
    Source,
    Starts,
)
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Status, Verdict
from imagen_ops.jobs.job import Job, JobState
from tests.plugins.imagen_ops.health.assessment.samples import (
    LIMITS,
    LOST,
    LOST_BEFORE,
    NOW,
    WELL,
    ago,
    canary,
    job,
    reading,
    with_,
)

HEALTHY, DEGRADED, DOWN = Status.HEALTHY, Status.DEGRADED, Status.DOWN
NAMES = {
    "dataflow": "Dataflow",
    "monitoring": "Cloud Monitoring",
    "pubsub": "Pub/Sub",
    "storage": "Cloud Storage",
}
NO_ANSWERS = {source.value: f"{source} says 503" for source in Source}


def codes(verdict: Verdict) -> list[str]:
    return [reason.code.value for reason in verdict.reasons]


def test_a_healthy_stream_lists_its_values() -> None:
    verdict = assess(WELL, LIMITS)
    assert verdict.status is HEALTHY
    assert verdict.headline == (
        "HEALTHY: imagen-stream (id-1) has been RUNNING for 1 d: system lag 2 s; watermark age "
        "4 s; backlog 12 messages, the oldest 3 s old; 230 prompts since the last health check, 2 "
        "failed; canary back after 4 s."
    )


ALONE: dict[str, tuple[dict[str, Any], Status, list[str]]] = {
    "lag-at": ({"system_lag": reading(300)}, HEALTHY, ["RUNNING"]),
    "lag-above": ({"system_lag": reading(300.1)}, DEGRADED, ["SYSTEM_LAG"]),
    "watermark-at": ({"watermark_age": reading(600)}, HEALTHY, ["RUNNING"]),
    "watermark-above": ({"watermark_age": reading(601)}, DEGRADED, ["WATERMARK_AGE"]),
    "backlog-age-at": ({"backlog_age": reading(600)}, HEALTHY, ["RUNNING"]),
    "backlog-age-above": ({"backlog_age": reading(601)}, DEGRADED, ["BACKLOG_AGE"]),
    "backlog-age-above-down": ({"backlog_age": reading(9999)}, DEGRADED, ["BACKLOG_AGE"]),
    "backlog-size-at": ({"backlog_size": reading(1000)}, HEALTHY, ["RUNNING"]),
    "backlog-size-above": ({"backlog_size": reading(1001)}, DEGRADED, ["BACKLOG_SIZE"]),
    "ratio-at": ({"counts": Counts(100, 10)}, HEALTHY, ["RUNNING"]),
    "ratio-above": ({"counts": Counts(100, 11)}, DEGRADED, ["FAILURE_RATIO"]),
    "ratio-at-down": ({"counts": Counts(100, 95)}, DEGRADED, ["FAILURE_RATIO"]),
    "ratio-above-down": ({"counts": Counts(100, 96)}, DOWN, ["FAILURE_RATIO"]),
    "ratio-few-prompts": ({"counts": Counts(19, 19)}, DEGRADED, ["FAILURE_RATIO"]),
    "ratio-most-of-few": ({"counts": Counts(9, 8)}, DEGRADED, ["FAILURE_RATIO"]),
    "ratio-half-of-few": ({"counts": Counts(18, 9)}, HEALTHY, ["RUNNING"]),
    "ratio-three": ({"counts": Counts(3, 3)}, DEGRADED, ["FAILURE_RATIO"]),
    "ratio-two": ({"counts": Counts(2, 2)}, HEALTHY, ["RUNNING"]),
    "ratio-just-enough": ({"counts": Counts(20, 20)}, DOWN, ["FAILURE_RATIO"]),
    "ratio-more-failures": ({"counts": Counts(5, 20)}, DOWN, ["FAILURE_RATIO"]),
    "counts-unknown": ({"counts": None}, HEALTHY, ["RUNNING"]),
    "counts-backwards": ({"counts": Counts(-3, 0)}, DEGRADED, ["METRIC_REFUSED"]),
    "errors": ({"errors": (ErrorMessage(ago(60), "oh"),)}, DEGRADED, ["ERRORS"]),
    "canary-none": ({"canary": None}, HEALTHY, ["RUNNING"]),
    "canary-on-its-way": ({"canary": canary(age_s=120)}, HEALTHY, ["RUNNING"]),
    "canary-lost": ({"canary": LOST}, DEGRADED, ["CANARY_LOST"]),
    "canary-back-at": ({"canary": canary(age_s=300, back_after_s=120)}, HEALTHY, ["RUNNING"]),
    "canary-late": ({"canary": canary(age_s=300, back_after_s=121)}, DEGRADED, ["CANARY_LATE"]),
    "canary-lost-twice": ({"canary": LOST, "previous": LOST_BEFORE}, DOWN, ["CANARY_LOST"]),
    "canary-lost-before-none-now": (
        {"canary": None, "previous": LOST_BEFORE},
        DEGRADED,
        ["CANARY_LOST"],
    ),
    "canary-lost-before-on-its-way": (
        {"canary": canary(age_s=20), "previous": LOST_BEFORE},
        DEGRADED,
        ["CANARY_LOST"],
    ),
    "canary-lost-before": ({"previous": LOST_BEFORE}, HEALTHY, ["RUNNING"]),
    "canary-lost-in-first-check": ({"canary": LOST, "previous": None}, DEGRADED, ["CANARY_LOST"]),
    "canary-from-the-future": ({"canary": canary(age_s=-500)}, HEALTHY, ["RUNNING"]),
    "canary-back-before-sent": ({"canary": canary(back_after_s=-9)}, HEALTHY, ["RUNNING"]),
    "lag-missing": ({"system_lag": None}, DEGRADED, ["METRIC_MISSING"]),
    "watermark-missing": ({"watermark_age": None}, DEGRADED, ["METRIC_MISSING"]),
    "backlog-age-missing": ({"backlog_age": None}, DEGRADED, ["METRIC_MISSING"]),
    "backlog-size-missing": ({"backlog_size": None}, DEGRADED, ["METRIC_MISSING"]),
    "stale-at": ({"system_lag": reading(2, age_s=600)}, HEALTHY, ["RUNNING"]),
    "stale-above": ({"system_lag": reading(2, age_s=601)}, DEGRADED, ["METRIC_STALE"]),
    "stale-and-over-its-limit": (
        {"backlog_age": reading(9999, age_s=601), "canary": LOST},
        DEGRADED,
        ["CANARY_LOST", "METRIC_STALE"],
    ),
    "skew-at": ({"system_lag": reading(2, age_s=-60)}, HEALTHY, ["RUNNING"]),
    "skew-above": ({"system_lag": reading(2, age_s=-61)}, DEGRADED, ["METRIC_REFUSED"]),
    "nan": ({"backlog_age": reading(math.nan)}, DEGRADED, ["METRIC_REFUSED"]),
    "infinite": ({"backlog_age": reading(math.inf)}, DEGRADED, ["METRIC_REFUSED"]),
    "negative": ({"backlog_size": reading(-1)}, DEGRADED, ["METRIC_REFUSED"]),
}


@pytest.mark.parametrize(("changes", "status", "expected"), ALONE.values(), ids=ALONE.keys())
def test_each_signal_alone(changes: dict[str, Any], status: Status, expected: list[str]) -> None:
    verdict = assess(with_(**changes), LIMITS)
    assert (verdict.status, codes(verdict)) == (status, expected)
    assert not verdict.restart


STATES = {
    # state: (should run, should not)
    JobState.QUEUED: ((DEGRADED, "STARTING"), (DEGRADED, "UNWANTED_JOB")),
    JobState.PENDING: ((DEGRADED, "STARTING"), (DEGRADED, "UNWANTED_JOB")),
    JobState.STOPPED: ((DEGRADED, "STARTING"), (DEGRADED, "UNWANTED_JOB")),
    JobState.RUNNING: ((HEALTHY, "RUNNING"), (DEGRADED, "UNWANTED_JOB")),
    JobState.PAUSING: ((DEGRADED, "PAUSED"), (DEGRADED, "UNWANTED_JOB")),
    JobState.PAUSED: ((DEGRADED, "PAUSED"), (DEGRADED, "UNWANTED_JOB")),
    JobState.DRAINING: ((DEGRADED, "STOPPING"), (HEALTHY, "STOPPING")),
    JobState.CANCELLING: ((DEGRADED, "STOPPING"), (HEALTHY, "STOPPING")),
    JobState.UNKNOWN: ((DEGRADED, "UNKNOWN_STATE"), (DEGRADED, "UNWANTED_JOB")),
    JobState.RESOURCE_CLEANING_UP: ((DEGRADED, "UNKNOWN_STATE"), (DEGRADED, "UNWANTED_JOB")),
    JobState.DRAINED: ((DOWN, "NO_JOB"), (HEALTHY, "DRAINED")),
    JobState.CANCELLED: ((DOWN, "NO_JOB"), (HEALTHY, "DRAINED")),
    JobState.FAILED: ((DOWN, "NO_JOB"), (HEALTHY, "DRAINED")),
    JobState.UPDATED: ((DOWN, "NO_JOB"), (HEALTHY, "DRAINED")),
    JobState.DONE: ((DOWN, "NO_JOB"), (HEALTHY, "DRAINED")),
    None: ((DOWN, "NO_JOB"), (HEALTHY, "DRAINED")),
}


def test_the_table_of_states_is_complete() -> None:
    assert set(STATES) == {*JobState, None}


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "unwanted"])
@pytest.mark.parametrize("state", STATES, ids=str)
def test_each_state_of_the_job(state: JobState | None, wanted: bool) -> None:
    current = None if state is None else job(state, age_s=600)
    verdict = assess(with_(wanted=wanted, job=current), LIMITS)
    assert (verdict.status, verdict.reasons[0].code) == STATES[state][0 if wanted else 1]
    assert len(verdict.reasons) == 1
    assert verdict.restart is (verdict.status is DOWN)
    assert not verdict.canary_lost


def test_a_stream_drained_on_purpose_says_who_drained_it_and_what_is_waiting() -> None:
    off = with_(
        wanted=False,
        job=None,
        wanted_by="imagen_stream_drain manual__1 (ada)",
        wanted_since=ago(7200),
        backlog_age=reading(5000),
        backlog_size=reading(3400),
    )
    assert assess(off, LIMITS).headline == (
        "HEALTHY: No job is active, as intended (drained by imagen_stream_drain manual__1 (ada), "
        "2 h ago). Backlog: 3,400 messages, the oldest 1 h 23 min old. To start the stream, run "
        "imagen_stream_start."
    )


def test_a_stream_that_was_never_started_has_no_time_of_a_request() -> None:
    text = assess(
        with_(wanted=False, job=None, wanted_by="nobody yet", wanted_since=datetime(1970, 1, 1)),
        LIMITS,
    ).headline
    assert "as intended (nobody yet)." in text


def test_a_stream_that_died_quotes_its_state_and_its_newest_error() -> None:
    verdict = assess(
        with_(
            job=None,
            last_job=job(JobState.FAILED, age_s=300),
            errors=(ErrorMessage(ago(400), "older"), ErrorMessage(ago(320), "out of\nmemory")),
        ),
        LIMITS,
    )
    assert verdict.status is DOWN
    assert verdict.restart
    assert "imagen-stream (id-1), ended as FAILED 5 min ago." in verdict.headline
    assert "Its newest error message (5 min 20 s ago) was “out of memory”." in verdict.headline


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.PENDING, JobState.STOPPED], ids=str)
@pytest.mark.parametrize(("age_s", "status"), [(900, DEGRADED), (901, DOWN)])
def test_a_job_that_does_not_start_is_down_after_the_grace_and_never_doubled(
    state: JobState, age_s: float, status: Status
) -> None:
    verdict = assess(with_(job=job(state, age_s=age_s)), LIMITS)
    assert (verdict.status, codes(verdict), verdict.restart) == (status, ["STARTING"], False)


def test_pending_after_queued_does_not_restart_the_grace() -> None:
    pending = Job("id", "n", JobState.PENDING, state_since=ago(10), created=ago(1000))
    assert assess(with_(job=pending), LIMITS).status is DOWN


@pytest.mark.parametrize("start", [None, ago(-3600)], ids=["unknown", "from the future"])
def test_a_start_at_an_unknown_time_is_not_called_down(start: datetime | None) -> None:
    pending = Job("id", "n", JobState.PENDING, state_since=start, created=start)
    assert assess(with_(job=pending), LIMITS).status is DEGRADED


@pytest.mark.parametrize(
    ("age_s", "status", "expected"),
    [(900, HEALTHY, ["RUNNING"]), (901, DEGRADED, ["METRIC_STALE", "METRIC_MISSING"])],
)
def test_a_young_job_need_not_have_metrics(
    age_s: float, status: Status, expected: list[str]
) -> None:
    young = with_(job=job(age_s=age_s), system_lag=None, watermark_age=reading(1, age_s=3600))
    verdict = assess(young, LIMITS)
    assert (verdict.status, codes(verdict)) == (status, expected)


def test_a_job_that_started_in_the_future_does_not_count_as_young() -> None:
    odd = with_(job=job(age_s=-3600), system_lag=None)
    assert codes(assess(odd, LIMITS)) == ["METRIC_MISSING"]


def test_a_young_jobs_canary_is_late_but_never_lost() -> None:
    young = with_(
        job=job(age_s=600), canary=LOST, previous=LOST_BEFORE, backlog_age=reading(90_000)
    )
    verdict = assess(young, LIMITS)
    assert (verdict.status, verdict.canary_lost) == (DEGRADED, False)
    assert codes(assess(with_(young, backlog_age=reading(1)), LIMITS)) == ["CANARY_LATE"]


def test_a_young_job_is_still_held_to_its_limits() -> None:
    assert assess(with_(job=job(age_s=60), system_lag=reading(301)), LIMITS).status is DEGRADED


def test_a_canary_behind_a_backlog_is_one_reason() -> None:
    verdict = assess(with_(canary=LOST, backlog_age=reading(1200)), LIMITS)
    assert (verdict.status, codes(verdict)) == (DEGRADED, ["BACKLOG_AGE"])
    assert (
        "Canaries wait in the same queue: this one has not come back after 2 min 1 s."
        in verdict.headline
    )
    assert verdict.canary_lost
    large = assess(with_(canary=LOST, backlog_size=reading(5000)), LIMITS)
    assert codes(large) == ["BACKLOG_SIZE"]


@pytest.mark.parametrize(
    ("age_s", "lost", "status"),
    [(3600, True, DEGRADED), (3601, True, DOWN), (3601, False, DEGRADED)],
)
def test_an_old_backlog_is_down_only_if_the_canary_is_lost_too(
    age_s: float, lost: bool, status: Status
) -> None:
    signals = with_(backlog_age=reading(age_s), canary=LOST if lost else WELL.canary)
    verdict = assess(signals, LIMITS)
    assert (verdict.status, codes(verdict)) == (status, ["BACKLOG_AGE"])
    assert ("the limit is 1 h." in verdict.headline) is (status is DOWN)


def test_a_canary_lost_twice_behind_a_backlog_is_still_down_and_one_reason() -> None:
    signals = with_(canary=LOST, backlog_age=reading(1200), previous=LOST_BEFORE)
    verdict = assess(signals, LIMITS)
    assert (verdict.status, codes(verdict)) == (DOWN, ["BACKLOG_AGE"])
    assert "228 prompts came through since the last health check" in verdict.headline


def test_all_reasons_are_listed_worst_first() -> None:
    verdict = assess(
        with_(
            system_lag=reading(9999),
            watermark_age=None,
            backlog_age=reading(700),
            counts=Counts(100, 99, {"UNAVAILABLE": 90, "BLOCKED": 9}),
            errors=(ErrorMessage(ago(5), "boom"),),
        ),
        LIMITS,
    )
    assert codes(verdict) == [
        "FAILURE_RATIO",
        "BACKLOG_AGE",
        "SYSTEM_LAG",
        "ERRORS",
        "METRIC_MISSING",
    ]
    assert verdict.headline.startswith(
        "DOWN: 99 of the last 100 prompts failed (99%, the limit is 95%): "
        "UNAVAILABLE 90, BLOCKED 9. "
    )
    assert verdict.headline.endswith("Also: BACKLOG_AGE, SYSTEM_LAG, ERRORS, METRIC_MISSING.")


def test_without_an_answer_of_dataflow_nothing_is_down_or_restarted() -> None:
    unreachable = with_(job=None, unreachable={"dataflow": "403 forbidden"}, system_lag=None)
    verdict = assess(unreachable, LIMITS)
    assert (verdict.status, codes(verdict), verdict.restart) == (DEGRADED, ["UNREACHABLE"], False)
    assert "“403 forbidden”" in verdict.headline


def test_without_an_answer_of_dataflow_other_signals_still_count() -> None:
    unreachable = with_(
        job=None, unreachable={"dataflow": "403"}, canary=LOST, previous=LOST_BEFORE, counts=None
    )
    verdict = assess(unreachable, LIMITS)
    assert (verdict.status, verdict.restart) == (DOWN, False)
    assert codes(verdict) == ["CANARY_LOST", "UNREACHABLE"]


def test_without_an_answer_of_dataflow_an_unwanted_stream_is_not_called_drained() -> None:
    unreachable = with_(wanted=False, job=None, unreachable={"dataflow": "403"})
    verdict = assess(unreachable, LIMITS)
    assert (verdict.status, codes(verdict)) == (DEGRADED, ["UNREACHABLE"])


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "unwanted"])
def test_when_no_source_answers_all_are_named(wanted: bool) -> None:
    verdict = assess(Signals(at=NOW, wanted=wanted, unreachable=NO_ANSWERS), LIMITS)
    assert (verdict.status, verdict.restart) == (DEGRADED, False)
    assert codes(verdict) == ["UNREACHABLE"] * len(Source)
    for source, reason in zip(Source, verdict.reasons, strict=True):
        assert reason.text.startswith(f"Calls to {NAMES[source]} failed: “{source} says 503”. ")


def test_without_an_answer_of_monitoring_its_readings_are_not_reported_one_by_one() -> None:
    unreachable = with_(
        unreachable={"monitoring": "503"},
        **dict.fromkeys(("system_lag", "watermark_age", "backlog_age", "backlog_size")),
    )
    assert codes(assess(unreachable, LIMITS)) == ["UNREACHABLE"]


def test_without_an_answer_of_monitoring_a_dead_stream_is_still_restarted() -> None:
    assert assess(with_(job=None, unreachable={"monitoring": "503"}), LIMITS).restart


def test_without_a_limit_a_missing_backlog_size_is_not_reported() -> None:
    verdict = assess(with_(backlog_size=None), Thresholds())
    assert verdict.status is HEALTHY
    assert assess(with_(backlog_size=reading(1e6)), Thresholds()).status is HEALTHY


# A run of the start DAG that is unfinished


DEAD = with_(job=None, last_job=job(JobState.FAILED, age_s=300))


@pytest.mark.parametrize(
    ("starts", "ended_s", "restart", "expected"),
    [
        (None, 300, True, ["NO_JOB"]),
        (Starts(0, paused=True), 300, True, ["NO_JOB"]),
        (Starts(1, paused=False), 900, False, ["NO_JOB"]),
        (Starts(1, paused=False), 901, True, ["NO_JOB", "START_STUCK"]),
        (Starts(1, paused=True), 1, True, ["NO_JOB", "START_STUCK"]),
        (Starts(2, paused=True), 90_000, True, ["NO_JOB", "START_STUCK"]),
    ],
)
def test_a_start_that_is_under_way_is_waited_for_and_a_stuck_one_is_not(
    starts: Starts | None, ended_s: float, restart: bool, expected: list[str]
) -> None:
    dead = with_(DEAD, starts=starts, last_job=job(JobState.FAILED, age_s=ended_s))
    verdict = assess(dead, LIMITS)
    assert (verdict.status, verdict.restart, codes(verdict)) == (DOWN, restart, expected)
    says_so = "under way and launches one, so this run restarts nothing" in verdict.reasons[0].text
    assert says_so is not restart


def test_a_stuck_start_is_named_with_its_cause_and_what_to_do() -> None:
    paused = assess(with_(DEAD, starts=Starts(1, paused=True)), LIMITS).reasons[1].text
    assert paused.startswith("A run of imagen_stream_start is unfinished, and the DAG is paused.")
    assert "Switch the DAG on, or mark the run failed" in paused
    slow = with_(DEAD, starts=Starts(2, paused=False), last_job=job(JobState.FAILED, age_s=3600))
    assert (
        assess(slow, LIMITS)
        .reasons[1]
        .text.startswith(
            "2 runs of imagen_stream_start are unfinished, and there has been no job for 1 h."
        )
    )


@pytest.mark.parametrize(("asked_s", "restart"), [(60, False), (3600, True)])
def test_without_any_job_before_the_time_counts_from_the_request(
    asked_s: float, restart: bool
) -> None:
    starts = Starts(1, paused=False)
    first = with_(job=None, last_job=None, starts=starts, wanted_since=ago(asked_s))
    assert assess(first, LIMITS).restart is restart
    assert assess(with_(first, wanted_since=None), LIMITS).restart, "rather twice than never"


def test_a_stuck_start_is_of_no_interest_while_there_is_a_job() -> None:
    assert codes(assess(with_(starts=Starts(1, paused=True)), LIMITS)) == ["RUNNING"]


def test_times_without_a_zone_are_utc() -> None:
    naive = with_(at=NOW.replace(tzinfo=None), system_lag=reading(2, age_s=601))
    assert codes(assess(naive, LIMITS)) == ["METRIC_STALE"]
