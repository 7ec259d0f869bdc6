"""The record that a health check leaves, and what the next one reads from it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.signals import Canary, Counts, Period, Signals
from imagen_ops.health.assessment.verdict import Status, Verdict
from imagen_ops.health.collect import (
    CollectedSignals,
    PreviousCheck,
    _canary,
    health_record,
    thresholds_of,
)
from imagen_ops.health.counting import Counted, _grown, counts_of, growth
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.settings import Settings, SettingsError
from tests.plugins.imagen_ops.test_settings import COMPLETE

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def record_of(**fields: Any) -> dict[str, Any]:
    signals = Signals(at=NOW, wanted=True, **fields)
    counted = Counted("job-1", {"predictions": 7, "failures": 2})
    collected = CollectedSignals(signals, counted, (Period(NOW, Counts(9, 2, {"BLOCKED": 2})),))
    return health_record("run-1", collected, assess(signals, thresholds_of(settings())))


def settings(**variables: str) -> Settings:
    return Settings.from_environment({**COMPLETE, **variables})


JOB_1 = Job("job-1", "imagen-stream", JobState.RUNNING)
TOTALS = {"predictions": 7, "failures": 2}


@pytest.mark.parametrize("job", [JOB_1, None, Job("job-2", "imagen-stream", JobState.PENDING)])
def test_the_next_health_check_reads_what_the_last_one_recorded(job: Job | None) -> None:
    record = json.loads(json.dumps(record_of(job=job)))
    last = PreviousCheck.of(record)
    assert last.at == NOW
    assert last.counted == Counted("job-1", TOTALS)
    assert last.periods == (Period(NOW, Counts(9, 2, {"BLOCKED": 2})),)
    assert last.previous is not None
    assert record["totals"] == (TOTALS if job is JOB_1 else {}), "those of the active job"


def test_a_record_of_an_earlier_version_is_read() -> None:
    record = record_of(job=JOB_1)
    del record["counted"], record["periods"]
    last = PreviousCheck.of(record)
    assert (last.counted, last.periods) == (Counted("job-1", TOTALS), ())


COUNTERS = {
    "job-1": {"predictions": 10, "failures": 2, "failures_BLOCKED": 1},
    "job-2": {"predictions": 150},
}


@pytest.mark.parametrize(
    ("before", "job_id", "counts", "after"),
    [
        (Counted(), "", None, Counted()),
        (Counted(), "job-2", Counts(150, 0), Counted("job-2", COUNTERS["job-2"])),
        (Counted("job-1", TOTALS), "job-1", Counts(3, 0, {"BLOCKED": 1}), "job-1"),
        (Counted("job-1", TOTALS), "job-2", Counts(153, 0, {"BLOCKED": 1}), "job-2"),
        (Counted("job-1", TOTALS), "", Counts(3, 0, {"BLOCKED": 1}), "job-1"),
        (Counted("job-1", COUNTERS["job-1"]), "", Counts(0, 0), "job-1"),
        (Counted("gone", TOTALS), "job-2", Counts(150, 0), "job-2"),
        (Counted("job-1", TOTALS), "gone", Counts(3, 0, {"BLOCKED": 1}), "job-1"),
        (Counted("gone", TOTALS), "gone", None, Counted("gone", TOTALS)),
    ],
)
def test_what_was_counted_goes_on_from_job_to_job(
    before: Counted, job_id: str, counts: Counts | None, after: Counted | str
) -> None:
    grown, counted = growth(before, job_id, COUNTERS.get)
    found = None if grown is None else counts_of(grown)
    assert found == counts
    assert found is None or counts is None or found.by_reason == counts.by_reason
    assert counted == (Counted(after, COUNTERS[after]) if isinstance(after, str) else after)


@pytest.mark.parametrize(
    "record", [None, {}, {"at": "yesterday"}, {"at": NOW.isoformat(), "verdict": 7, "job": None}]
)
def test_an_unreadable_record_counts_as_none(record: Any) -> None:
    assert PreviousCheck.of(record) == PreviousCheck()


def test_a_record_has_the_values_for_plots() -> None:
    record = record_of(
        backlog_age=Reading(12.0, NOW),
        backlog_size=Reading(3, NOW),
        canary=Canary(NOW - timedelta(seconds=9), NOW - timedelta(seconds=7.5)),
    )
    assert record["readings"] == {"backlog_age": 12.0, "backlog_size": 3}
    assert record["canary_seconds"] == 1.5
    assert Verdict.from_json(record["verdict"]).status is Status.DOWN, "no job"


def test_counts_are_those_since_the_last_health_check() -> None:
    counts = counts_of(
        _grown(
            {"predictions": 10, "failures": 1, "failures_BLOCKED": 1},
            {"predictions": 25, "failures": 4, "failures_BLOCKED": 2, "failures_NO_IMAGE": 2},
        )
    )
    assert (counts.prompts, counts.failures) == (18, 3)
    assert counts.by_reason == {"BLOCKED": 1, "NO_IMAGE": 2}


def test_counters_that_restarted_count_from_zero() -> None:
    counts = counts_of(_grown({"predictions": 100, "failures": 9}, {"predictions": 5}))
    assert (counts.prompts, counts.failures) == (5, 0)


@pytest.mark.parametrize(
    ("result", "canary"),
    [
        (None, None),
        ({"error": "no answer"}, None),
        ({"sent_at": NOW.isoformat(), "returned_at": None}, Canary(NOW, None)),
        ({"sent_at": NOW.isoformat(), "returned_at": NOW.isoformat()}, Canary(NOW, NOW)),
    ],
)
def test_the_result_of_the_sensor_becomes_a_signal(result: Any, canary: Canary | None) -> None:
    assert _canary(result) == canary


def test_settings_override_the_limits() -> None:
    limits = thresholds_of(
        settings(IMAGEN_MAX_BACKLOG_AGE_SECONDS="7200", IMAGEN_MAX_FAILURE_RATIO="0.5")
    )
    assert limits.backlog_age_degraded_s == 7200
    assert limits.backlog_age_down_s == 7200, "never below the limit of DEGRADED"
    assert limits.failure_ratio_degraded == 0.5


def test_prompts_of_a_stream_in_flex_may_be_older_by_the_time_of_a_call() -> None:
    usual, flex = (
        thresholds_of(settings(IMAGEN_MAX_BACKLOG_AGE_SECONDS="7200"), {"request_tier": tier})
        for tier in ("standard", "flex")
    )
    assert usual == thresholds_of(settings(IMAGEN_MAX_BACKLOG_AGE_SECONDS="7200"))
    for name in ("system_lag_s", "watermark_age_s", "backlog_age_degraded_s", "backlog_age_down_s"):
        assert getattr(flex, name) == getattr(usual, name) + 1800
    assert (flex.canary_s, flex.startup_grace_s) == (usual.canary_s, usual.startup_grace_s)


def test_invalid_limits_are_an_error_of_the_settings() -> None:
    with pytest.raises(SettingsError, match=r"failure_ratio_degraded(?s:.*)IMAGEN_MAX_"):
        thresholds_of(settings(IMAGEN_MAX_FAILURE_RATIO="1.5"))
