"""Health checks from their records: states, and rates only where they are known."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from croniter import croniter

from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.signals import Canary, Signals
from imagen_ops.health.collect import CollectedSignals, health_record, thresholds_of
from imagen_ops.health.counting import Counted
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.settings import Settings
from imagen_ops.ui.panels.health_history import (
    HealthCheck,
    health_checks,
    in_order,
    overdue_at,
    points,
    spent,
)
from tests.plugins.imagen_ops.test_settings import COMPLETE

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
EVERY_5 = "*/5 * * * *"
_runs = itertools.count()


def record(
    minutes: float = 0, job: str | None = "job-1", *, counted: str | None = None, **totals: int
) -> dict[str, Any]:
    """Return a health check's record, created by the code that the DAG uses.

    `counted` is the job whose counters it has read last, if that is not the active one.
    """
    at = NOW + timedelta(minutes=minutes)
    signals = Signals(
        at=at,
        wanted=True,
        job=Job(job, "imagen-stream", JobState.RUNNING) if job else None,
        backlog_age=Reading(12.0, at),
        backlog_size=Reading(3, at),
        canary=Canary(at - timedelta(seconds=9), at - timedelta(seconds=7.5)),
    )
    verdict = assess(signals, thresholds_of(Settings.from_environment(COMPLETE)))
    collected = CollectedSignals(signals, Counted(counted or job or "", totals))
    return health_record(f"run-{next(_runs)}", collected, verdict)


def plotted(*records: dict[str, Any], schedule: str = EVERY_5) -> list[dict[str, Any]]:
    return points(health_checks(iter(records)), schedule)


def cost(*records: dict[str, Any], since: float = -60) -> dict[str, Any]:
    return spent(health_checks(iter(records)), NOW + timedelta(minutes=since))


def test_the_cost_is_the_growth_of_the_counters_of_all_jobs() -> None:
    checks = (
        record(0, cost_micro_usd=9_000_000),
        record(5, cost_micro_usd=10_000_000, unpriced_calls=1),
        record(50, cost_micro_usd=12_500_000, unpriced_calls=1),  # after a gap
        record(55, "job-2", cost_micro_usd=400_000),
        record(60, None, counted="job-2", cost_micro_usd=600_000),
    )
    assert cost(*checks) == {"usd": 4.1, "unpriced_calls": 1}
    assert cost(*checks, since=20) == {"usd": 3.1, "unpriced_calls": 0}


def test_a_counter_that_was_reset_counts_from_nothing() -> None:
    reset = (record(0, cost_micro_usd=9_000_000), record(5, cost_micro_usd=2_000_000))
    assert cost(*reset) == {"usd": 2.0, "unpriced_calls": 0}


def test_an_unknown_cost_is_none_and_no_cost_is_0() -> None:
    assert cost() == cost(record(0, cost_micro_usd=1)) == {"usd": None, "unpriced_calls": None}
    assert cost(record(0), record(5, unpriced_calls=3)) == {"usd": None, "unpriced_calls": 3}
    assert cost(record(0), record(5, prompts=3)) == {"usd": 0.0, "unpriced_calls": 0}


def test_a_health_check_is_read_from_its_record() -> None:
    check = HealthCheck.from_record(record(prompts=7))
    assert check is not None
    assert (check.at, check.wanted, check.job) == (NOW, True, record()["job"])
    assert check.reasons[0].keys() == {"code", "status", "text"}
    assert check.readings == {"backlog_age": 12.0, "backlog_size": 3}
    assert check.canary_seconds == 1.5
    assert check.totals == {"prompts": 7}


def test_only_the_last_checks_of_a_day_keep_what_nothing_shows_of_the_others() -> None:
    day = health_checks({**record(n), "form": {"model": "m"}} for n in range(9))
    assert len(day) == 9
    assert (day[0].form, day[0].reasons) == ({}, ())
    assert day[-1].form == {"model": "m"}
    assert day[-1].reasons


@pytest.mark.parametrize(
    "broken",
    [
        {"verdict": None},
        {"verdict": {"status": "WELL", "reasons": 7}},
        {"verdict": {"status": "DOWN", "reasons": [None, {"code": 7}]}},
        {"job": "job-1"},
        {"readings": [1]},
        {"readings": {"backlog_age": "old", "backlog_size": True}},
        {"totals": {"prompts": "many", "images": 10**400}},
        {"canary_seconds": float("nan")},
        {"wanted": "yes"},
    ],
    ids=str,
)
def test_a_malformed_record_is_shown_as_far_as_possible(broken: dict[str, Any]) -> None:
    import json

    malformed = {**record(), **broken}
    check = HealthCheck.from_record(malformed)
    assert check is not None
    assert check.at == NOW
    [point] = points([check], EVERY_5)
    json.dumps(point, allow_nan=False)


@pytest.mark.parametrize("at", [None, 7, "yesterday", "2026-11-22T10:00:00", "0001-01-01T00:00+14"])
def test_a_record_without_a_time_is_no_health_check(at: Any) -> None:
    assert HealthCheck.from_record({**record(), "at": at}) is None


def test_a_run_with_two_health_checks_counts_once_with_the_later_one() -> None:
    early, late = record(0, prompts=1), record(15, prompts=2)
    late["run_id"] = early["run_id"]
    between = record(5)
    order = in_order([health_checks(iter([early, between])), health_checks(iter([late]))])
    assert [check.run_id for check in order] == [between["run_id"], early["run_id"]]
    assert order[-1].totals == {"prompts": 2}


def test_rates_are_the_growth_of_counters_between_two_health_checks() -> None:
    first, second = plotted(
        record(0, prompts=100, images=90, failures_BLOCKED=1),
        record(5, prompts=150, images=91, failures_BLOCKED=1, failures_NO_IMAGE=10),
    )
    assert first["prompts_per_minute"] is None, "there is no earlier health check"
    assert first["failures_per_minute"] is None
    assert second["prompts_per_minute"] == 10
    assert second["images_per_minute"] == 0.2
    assert second["failures_per_minute"] == {"BLOCKED": 0, "NO_IMAGE": 2}
    assert second["quota_refusals_per_minute"] == 0, "a counter that has counted nothing yet"
    assert (second["at"], second["backlog_age"], second["system_lag"]) == (
        (NOW + timedelta(minutes=5)).isoformat(),
        12.0,
        None,
    )


def test_quota_refusals_have_a_rate_of_their_own() -> None:
    _, second = plotted(record(0, quota_refusals=1), record(5, quota_refusals=6))
    assert second["quota_refusals_per_minute"] == 1


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (record(0, "job-1", prompts=9), record(5, "job-2", counted="job-1", prompts=10)),
        (record(0, "job-1", prompts=10), record(5, None, prompts=10)),
        (record(0, prompts=10, images=5), record(5, prompts=20, images=4)),
        (record(0, prompts=10, images=5), record(5, prompts=20)),
        (record(0, prompts=10), record(16, prompts=20)),
        (record(5, prompts=10), record(5, prompts=20)),
    ],
    ids=[
        "another job whose counters were not read",
        "no job now",
        "shrank",
        "disappeared",
        "a gap",
        "no time",
    ],
)
def test_a_rate_that_cannot_be_known_is_unknown_not_zero(before: Any, now: Any) -> None:
    _, second = plotted(before, now)
    assert second["prompts_per_minute"] is None
    assert second["images_per_minute"] is None
    assert second["failures_per_minute"] is None
    assert second["quota_refusals_per_minute"] is None
    assert second["backlog_age"] == 12.0, "readings are known all the same"


@pytest.mark.parametrize(
    "before",
    [
        record(0, "job-1", prompts=1000),
        record(0, None, counted="job-1", prompts=1000),
        record(0, None),
    ],
    ids=["another job", "no job any more", "no job yet"],
)
def test_what_a_new_job_has_counted_has_grown_from_nothing(before: Any) -> None:
    _, second = plotted(before, record(5, "job-2", prompts=150, images=150))
    assert second["prompts_per_minute"] == 30
    assert second["images_per_minute"] == 30
    assert second["failures_per_minute"] == {}


def test_counts_and_rates_go_on_over_a_new_job() -> None:
    """What the old job did until its end is in the record, and no check has to see it run."""
    before, change, none = record(0, prompts=100), record(5, "job-2", prompts=10), record(10, None)
    change["grown"], none["grown"] = {"prompts": 60, "cost_micro_usd": 500_000}, {}
    _, new, stopped = plotted(before, change, none)
    assert (new["prompts_per_minute"], stopped["prompts_per_minute"]) == (12, 0)
    assert cost(before, change, none) == {"usd": 0.5, "unpriced_calls": 0}


def test_a_check_that_could_not_see_the_job_does_not_make_it_a_new_one() -> None:
    _, blind, seen = plotted(
        record(0, "job-1", prompts=1000),
        record(5, None, counted="job-1", prompts=1000),
        record(10, "job-1", prompts=1010),
    )
    assert blind["prompts_per_minute"] is None
    assert seen["prompts_per_minute"] == 2


def test_a_record_of_an_earlier_version_without_a_job_says_nothing_about_what_was_counted() -> None:
    old = record(0, None)
    del old["counted"]
    _, second = plotted(old, record(5, "job-1", prompts=10))
    assert second["prompts_per_minute"] is None


def test_rates_resume_after_a_counter_was_reset() -> None:
    _, anew, on = plotted(record(0, prompts=10), record(5, prompts=2), record(10, prompts=12))
    assert anew["prompts_per_minute"] is None
    assert on["prompts_per_minute"] == 2


def test_health_checks_with_a_rarer_schedule_leave_no_gap() -> None:
    _, second = plotted(record(0, prompts=0), record(120, prompts=12), schedule="0 * * * *")
    assert second["prompts_per_minute"] == 0.1


@pytest.mark.parametrize(
    ("minutes", "known"),
    [
        ([0, 5, 10, 15], [True, True, True]),
        ([0, 14, 30, 32, 80, 90], [True, False, True, False, True]),
        ([0, 3000, 3001, 3015, 3031], [False, True, True, False]),
    ],
)
def test_each_health_check_is_compared_with_the_schedule_after_the_previous_one(
    minutes: list[int], known: list[bool]
) -> None:
    found = plotted(*(record(at, prompts=at) for at in minutes))
    assert [point["prompts_per_minute"] is not None for point in found[1:]] == known


def test_a_day_of_health_checks_takes_one_walk_over_the_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walks = []

    class Walk(croniter):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            walks.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr("imagen_ops.ui.panels.health_history.croniter", Walk)
    day = [record(5 * n, prompts=n) for n in range(288)]
    assert plotted(*day)[-1]["prompts_per_minute"] == 0.2
    # Starting a walk takes croniter a millisecond.
    assert len(walks) <= 3


@pytest.mark.parametrize(
    ("schedule", "minutes"), [(EVERY_5, 15), ("*/2 * * * *", 6), ("@hourly", 180), ("often", 15)]
)
def test_a_health_check_is_overdue_when_three_more_should_have_followed(
    schedule: str, minutes: int
) -> None:
    assert overdue_at(NOW, schedule) == NOW + timedelta(minutes=minutes)
