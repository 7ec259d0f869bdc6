"""The decision whether the stream is well: every rule alone, in combinations, and as properties."""

import dataclasses
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment import words as say
from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.signals import (
    Canary,
    Counts,
    ErrorMessage,
    Previous,
    Signals,
    Source,
)
from imagen_ops.health.assessment.thresholds import Thresholds
from imagen_ops.health.assessment.verdict import Reason, ReasonCode, Status, Verdict
from imagen_ops.jobs.job import Job, JobState

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
LIMITS = Thresholds(backlog_size=1000)
HEALTHY, DEGRADED, DOWN = Status.HEALTHY, Status.DEGRADED, Status.DOWN
EVERYTHING_DEAF = {source.value: f"{source} says 503" for source in Source}


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def job(state: JobState = JobState.RUNNING, *, age_s: float = 86_400) -> Job:
    return Job("id-1", "imagen-stream", state, state_since=ago(age_s), created=ago(age_s))


def reading(value: float, *, age_s: float = 60) -> Reading:
    return Reading(value, ago(age_s))


def canary(*, age_s: float = 130, back_after_s: float | None = None) -> Canary:
    sent = ago(age_s)
    back = None if back_after_s is None else sent + timedelta(seconds=back_after_s)
    return Canary(sent, back)


LOST = canary(age_s=121)
LOST_BEFORE = Previous(DEGRADED, canary_lost=True)
WELL = Signals(
    at=NOW,
    wanted=True,
    wanted_by="imagen_stream_start manual (ada)",
    job=job(),
    system_lag=reading(2),
    watermark_age=reading(4),
    backlog_age=reading(3),
    backlog_size=reading(12),
    counts=Counts(230, 2, {"BLOCKED": 2}),
    canary=canary(back_after_s=4),
    previous=Previous(HEALTHY, canary_lost=False),
)


def with_(base: Signals = WELL, **changes: Any) -> Signals:
    return dataclasses.replace(base, **changes)


def codes(verdict: Verdict) -> list[str]:
    return [reason.code.value for reason in verdict.reasons]


def test_a_stream_that_is_well_says_what_it_looks_like() -> None:
    verdict = assess(WELL, LIMITS)
    assert verdict.status is HEALTHY
    assert verdict.headline == (
        "HEALTHY: imagen-stream (id-1) is RUNNING for 1 d: system lag 2 s; watermark age 4 s; "
        "backlog 12 messages, the oldest 3 s old; 230 prompts, 2 of them failed; "
        "canary back after 4 s."
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
    "ratio-few-prompts": ({"counts": Counts(19, 19)}, HEALTHY, ["RUNNING"]),
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
    "canary-lost-before": ({"previous": LOST_BEFORE}, HEALTHY, ["RUNNING"]),
    "canary-lost-at-first-look": ({"canary": LOST, "previous": None}, DEGRADED, ["CANARY_LOST"]),
    "canary-of-the-future": ({"canary": canary(age_s=-500)}, HEALTHY, ["RUNNING"]),
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
    there = None if state is None else job(state, age_s=600)
    verdict = assess(with_(wanted=wanted, job=there), LIMITS)
    assert (verdict.status, verdict.reasons[0].code) == STATES[state][0 if wanted else 1]
    assert len(verdict.reasons) == 1
    assert verdict.restart is (verdict.status is DOWN)
    assert not verdict.canary_lost


def test_a_stream_that_is_off_on_purpose_says_by_whom_and_what_waits() -> None:
    off = with_(
        wanted=False,
        job=None,
        wanted_by="imagen_stream_drain manual__1 (ada)",
        wanted_since=ago(7200),
        backlog_age=reading(5000),
        backlog_size=reading(3400),
    )
    assert assess(off, LIMITS).headline == (
        "HEALTHY: No job is active, on purpose (imagen_stream_drain manual__1 (ada), 2 h ago). "
        "Backlog: 3,400 messages, the oldest 1 h 23 min old. "
        "imagen_stream_start starts one."
    )


def test_a_stream_that_never_was_started_has_no_age() -> None:
    text = assess(
        with_(wanted=False, job=None, wanted_by="nobody yet", wanted_since=datetime(1970, 1, 1)),
        LIMITS,
    ).headline
    assert "on purpose (nobody yet)." in text


def test_a_stream_that_ended_says_how_and_what_its_log_said() -> None:
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
    assert "imagen-stream (id-1), FAILED 5 min ago." in verdict.headline
    assert "the newest 5 min 20 s ago: “out of memory”" in verdict.headline


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.PENDING, JobState.STOPPED], ids=str)
@pytest.mark.parametrize(("age_s", "status"), [(900, DEGRADED), (901, DOWN)])
def test_a_job_that_does_not_start_is_down_after_the_grace_and_never_doubled(
    state: JobState, age_s: float, status: Status
) -> None:
    verdict = assess(with_(job=job(state, age_s=age_s)), LIMITS)
    assert (verdict.status, codes(verdict), verdict.restart) == (status, ["STARTING"], False)


def test_pending_after_queued_does_not_begin_the_grace_anew() -> None:
    pending = Job("id", "n", JobState.PENDING, state_since=ago(10), created=ago(1000))
    assert assess(with_(job=pending), LIMITS).status is DOWN


@pytest.mark.parametrize("start", [None, ago(-3600)], ids=["unknown", "of the future"])
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


def test_a_job_that_started_in_the_future_is_not_young_for_ever() -> None:
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
    assert "the canary is not back after 2 min 1 s: it waits in the same queue" in verdict.headline
    assert verdict.canary_lost
    crowd = assess(with_(canary=LOST, backlog_size=reading(5000)), LIMITS)
    assert codes(crowd) == ["BACKLOG_SIZE"]


@pytest.mark.parametrize(
    ("age_s", "lost", "status"),
    [(3600, True, DEGRADED), (3601, True, DOWN), (3601, False, DEGRADED)],
)
def test_an_old_backlog_is_down_only_if_the_canary_is_lost_too(
    age_s: float, lost: bool, status: Status
) -> None:
    given = with_(backlog_age=reading(age_s), canary=LOST if lost else WELL.canary)
    verdict = assess(given, LIMITS)
    assert (verdict.status, codes(verdict)) == (status, ["BACKLOG_AGE"])
    assert ("the limit is 1 h." in verdict.headline) is (status is DOWN)


def test_a_canary_lost_twice_behind_a_backlog_is_still_down_and_one_reason() -> None:
    given = with_(canary=LOST, backlog_age=reading(1200), previous=LOST_BEFORE)
    verdict = assess(given, LIMITS)
    assert (verdict.status, codes(verdict)) == (DOWN, ["BACKLOG_AGE"])
    assert "228 prompts came through since the last look" in verdict.headline


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
        "DOWN: 99 of 100 prompts failed since the last look (99%, the limit is 95%): "
        "UNAVAILABLE 90, BLOCKED 9. "
    )
    assert verdict.headline.endswith("Also: BACKLOG_AGE, SYSTEM_LAG, ERRORS, METRIC_MISSING.")


def test_without_dataflow_nothing_is_down_or_restarted() -> None:
    deaf = with_(job=None, unreachable={"dataflow": "403 forbidden"}, system_lag=None)
    verdict = assess(deaf, LIMITS)
    assert (verdict.status, codes(verdict), verdict.restart) == (DEGRADED, ["UNREACHABLE"], False)
    assert "“403 forbidden”" in verdict.headline


def test_without_dataflow_other_evidence_still_counts() -> None:
    deaf = with_(
        job=None, unreachable={"dataflow": "403"}, canary=LOST, previous=LOST_BEFORE, counts=None
    )
    verdict = assess(deaf, LIMITS)
    assert (verdict.status, verdict.restart) == (DOWN, False)
    assert codes(verdict) == ["CANARY_LOST", "UNREACHABLE"]


def test_without_dataflow_an_unwanted_stream_is_not_called_drained() -> None:
    deaf = with_(wanted=False, job=None, unreachable={"dataflow": "403"})
    verdict = assess(deaf, LIMITS)
    assert (verdict.status, codes(verdict)) == (DEGRADED, ["UNREACHABLE"])


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "unwanted"])
def test_when_nobody_answers_all_are_named(wanted: bool) -> None:
    verdict = assess(Signals(at=NOW, wanted=wanted, unreachable=EVERYTHING_DEAF), LIMITS)
    assert (verdict.status, verdict.restart) == (DEGRADED, False)
    assert codes(verdict) == ["UNREACHABLE"] * 3
    for source, reason in zip(Source, verdict.reasons, strict=True):
        assert reason.text.startswith(f"{source} could not be asked: “{source} says 503”")


def test_without_monitoring_its_readings_are_not_missed_one_by_one() -> None:
    deaf = with_(
        unreachable={"monitoring": "503"},
        **dict.fromkeys(("system_lag", "watermark_age", "backlog_age", "backlog_size")),
    )
    assert codes(assess(deaf, LIMITS)) == ["UNREACHABLE"]


def test_without_monitoring_a_dead_stream_is_restarted_all_the_same() -> None:
    assert assess(with_(job=None, unreachable={"monitoring": "503"}), LIMITS).restart


def test_without_a_limit_nobody_misses_the_backlogs_size() -> None:
    verdict = assess(with_(backlog_size=None), Thresholds())
    assert verdict.status is HEALTHY
    assert assess(with_(backlog_size=reading(1e6)), Thresholds()).status is HEALTHY


def test_times_without_a_zone_are_taken_for_utc() -> None:
    naive = with_(at=NOW.replace(tzinfo=None), system_lag=reading(2, age_s=601))
    assert codes(assess(naive, LIMITS)) == ["METRIC_STALE"]


def test_every_reason_has_its_section_of_the_runbook() -> None:
    assert Reason.down(ReasonCode.CANARY_LOST, "").anchor == "canary_lost"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"system_lag_s": 0}, "system_lag_s=0"),
        ({"canary_s": math.nan}, "canary_s=nan"),
        ({"backlog_size": -1}, "backlog_size=-1"),
        ({"failure_ratio_down": 1.5}, "failure_ratio_down=1.5, expected above 0, at most 1"),
        ({"failure_ratio_degraded": 0.99}, "failure_ratio_down=0.95, expected at least"),
        ({"backlog_age_degraded_s": 7200}, "backlog_age_down_s=3600, expected at least"),
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Thresholds(**wrong)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.25, "0.2 s"),
        (45.9, "45 s"),
        (60, "1 min"),
        (301, "5 min 1 s"),
        (720, "12 min"),
        (3600, "1 h"),
        (12_030, "3 h 20 min"),
        (86_400 * 2 + 3600 * 4 + 59, "2 d 4 h"),
        (1e300, "over 10,000 d"),
    ],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert say.duration(seconds) == text


def test_numbers_are_grouped_and_long_quotes_cut() -> None:
    assert say.count(3400, "message") == "3,400 messages"
    assert say.count(1, "message") == "1 message"
    assert say.share(0.1234) == "12.3%"
    assert say.quote("a\n b  c") == "a b c"
    assert len(say.quote("x" * 999)) == 300


def test_a_code_of_another_version_is_read_as_other() -> None:
    record = assess(WELL, LIMITS).to_json()
    record["reasons"][0]["code"] = "INVENTED_LATER"
    assert Verdict.from_json(record).reasons[0].code is ReasonCode.OTHER


@pytest.mark.parametrize("record", [{}, {"status": "SO_SO"}, {"status": "DOWN", "reasons": 1}])
def test_what_is_no_verdict_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected what Verdict\.to_json writes"):
        Verdict.from_json(record)


# Times in reach of NOW, so that limits are met on both sides; and any others at all.
moments = st.one_of(
    st.floats(-4000, 90_000).map(ago),
    st.datetimes(),
    st.datetimes(timezones=st.timezones() | st.just(UTC)),
)
readings = st.none() | st.builds(
    Reading, st.floats() | st.floats(0, 10_000), st.floats(-100, 700).map(ago) | moments
)
jobs = st.builds(
    Job,
    st.text(max_size=8),
    st.text(max_size=8),
    st.sampled_from(JobState) | st.just(JobState.RUNNING),
    st.none() | moments,
    st.none() | moments,
)
numbers = st.integers(0, 200) | st.integers()
signals = st.builds(
    Signals,
    at=st.just(NOW) | moments,
    wanted=st.booleans() | st.just(True),
    wanted_by=st.text(max_size=20),
    wanted_since=st.none() | moments,
    job=st.none() | jobs,
    last_job=st.none() | jobs,
    system_lag=readings,
    watermark_age=readings,
    backlog_age=readings,
    backlog_size=readings,
    counts=st.none()
    | st.builds(Counts, numbers, numbers, st.dictionaries(st.text(max_size=5), numbers)),
    errors=st.lists(st.builds(ErrorMessage, moments, st.text()), max_size=3).map(tuple),
    canary=st.none()
    | st.builds(Canary, st.floats(-100, 900).map(ago) | moments, st.none() | moments),
    unreachable=st.dictionaries(
        st.sampled_from([source.value for source in Source]) | st.text(max_size=3),
        st.text(max_size=20),
        max_size=4,
    ),
    previous=st.none() | st.builds(Previous, st.sampled_from(Status), st.booleans()),
)


@settings(max_examples=400, deadline=None)
@given(signals)
def test_no_signals_make_it_raise_and_the_worst_reason_decides(given_: Signals) -> None:
    verdict = assess(given_, LIMITS)
    severities = [reason.status.severity for reason in verdict.reasons]
    assert severities
    assert verdict.status.severity == max(severities)
    assert severities == sorted(severities, reverse=True)
    assert all(reason.text for reason in verdict.reasons)
    assert len(verdict.headline.splitlines()) == 1


@settings(max_examples=400, deadline=None)
@given(signals)
def test_restart_only_what_should_run_does_not_and_was_seen_not_to(given_: Signals) -> None:
    verdict = assess(given_, LIMITS)
    active = given_.job is not None and given_.job.state.active
    allowed = given_.wanted and not active and "dataflow" not in given_.unreachable
    assert verdict.restart is allowed
    assert not verdict.restart or verdict.status is DOWN


@settings(max_examples=200, deadline=None)
@given(signals)
def test_a_verdict_survives_json(given_: Signals) -> None:
    verdict = assess(given_, LIMITS)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


BAD: dict[str, Any] = {
    "lag": {"system_lag": Reading(1e6, NOW)},
    "watermark": {"watermark_age": Reading(1e6, NOW)},
    "backlog-age": {"backlog_age": Reading(1e6, NOW)},
    "backlog-size": {"backlog_size": Reading(1e6, NOW)},
    "failures": {"counts": Counts(100, 100)},
    "error": {"errors": (ErrorMessage(NOW, "boom"),)},
    "canary": {"canary": canary(age_s=1e5)},
    "canary-before": {"previous": LOST_BEFORE},
    "deaf-monitoring": {"unreachable": {"monitoring": "503"}},
    "deaf-pubsub": {"unreachable": {"pubsub": "503"}},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
@settings(max_examples=100, deadline=None)
@given(given_=signals)
def test_one_more_bad_signal_never_makes_it_better(bad: dict[str, Any], given_: Signals) -> None:
    given_ = with_(given_, at=NOW)
    if "unreachable" in bad:
        bad = {"unreachable": {**given_.unreachable, **bad["unreachable"]}}
    before, after = assess(given_, LIMITS), assess(with_(given_, **bad), LIMITS)
    assert after.status.severity >= before.status.severity
    assert after.restart is before.restart
