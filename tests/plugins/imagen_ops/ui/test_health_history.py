"""What is made of health's records: states, and rates that claim no more than is known."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from croniter import croniter

from imagen_ops.google.reading import Reading
from imagen_ops.health.assessment.decide import assess
from imagen_ops.health.assessment.signals import Canary, Signals
from imagen_ops.health.collect import CollectedSignals, health_record, thresholds_of
from imagen_ops.jobs.job import Job, JobState
from imagen_ops.settings import Settings
from imagen_ops.ui.panels.health_history import Look, in_order, looks, overdue_at, points
from tests.plugins.imagen_ops.test_settings import COMPLETE

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
EVERY_5 = "*/5 * * * *"
_runs = itertools.count()


def record(minutes: float = 0, job: str | None = "job-1", **totals: int) -> dict[str, Any]:
    """What health keeps of a look, by its own hand."""
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
    return health_record(f"run-{next(_runs)}", CollectedSignals(signals, totals), verdict)


def plotted(*records: dict[str, Any], schedule: str = EVERY_5) -> list[dict[str, Any]]:
    return points(looks(iter(records)), schedule)


def test_a_look_is_what_health_has_kept_of_it() -> None:
    look = Look.of(record(prompts=7))
    assert look is not None
    assert (look.at, look.wanted, look.job_id, look.job_state) == (
        NOW,
        True,
        "job-1",
        record()["job"]["state"],
    )
    assert look.headline.startswith(f"{look.status}: ")
    assert look.reasons[0].keys() == {"code", "status", "text"}
    assert look.readings == {"backlog_age": 12.0, "backlog_size": 3}
    assert look.canary_seconds == 1.5
    assert look.totals == {"prompts": 7}


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
def test_a_record_of_another_version_is_shown_as_far_as_it_goes(broken: dict[str, Any]) -> None:
    import json

    given = {**record(), **broken}
    look = Look.of(given)
    assert look is not None
    assert look.at == NOW
    [point] = points([look], EVERY_5)
    json.dumps(point, allow_nan=False)


@pytest.mark.parametrize("at", [None, 7, "yesterday", "2026-11-22T10:00:00", "0001-01-01T00:00+14"])
def test_a_record_without_a_time_is_none(at: Any) -> None:
    assert Look.of({**record(), "at": at}) is None


def test_a_run_that_looked_twice_counts_once_with_its_later_look() -> None:
    early, late = record(0, prompts=1), record(15, prompts=2)
    late["run_id"] = early["run_id"]
    between = record(5)
    order = in_order([looks(iter([early, between])), looks(iter([late]))])
    assert [look.run_id for look in order] == [between["run_id"], early["run_id"]]
    assert order[-1].totals == {"prompts": 2}


def test_rates_are_what_the_counters_grew_by_between_two_looks() -> None:
    first, second = plotted(
        record(0, prompts=100, images=90, failures_BLOCKED=1),
        record(5, prompts=150, images=91, failures_BLOCKED=1, failures_NO_IMAGE=10),
    )
    assert first["prompts_per_minute"] is None, "the first look of all"
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
        (record(0, "job-1", prompts=10), record(5, "job-2", prompts=20)),
        (record(0, None, prompts=10), record(5, "job-1", prompts=20)),
        (record(0, "job-1", prompts=10), record(5, None, prompts=10)),
        (record(0, prompts=10, images=5), record(5, prompts=20, images=4)),
        (record(0, prompts=10, images=5), record(5, prompts=20)),
        (record(0, prompts=10), record(16, prompts=20)),
        (record(5, prompts=10), record(5, prompts=20)),
    ],
    ids=["another job", "none before", "none now", "went back", "went away", "a gap", "no time"],
)
def test_what_nobody_can_tell_is_unknown_and_not_nothing(before: Any, now: Any) -> None:
    _, second = plotted(before, now)
    assert second["prompts_per_minute"] is None
    assert second["images_per_minute"] is None
    assert second["failures_per_minute"] is None
    assert second["quota_refusals_per_minute"] is None
    assert second["backlog_age"] == 12.0, "what was read is known all the same"


def test_after_a_counter_began_anew_rates_go_on() -> None:
    _, anew, on = plotted(record(0, prompts=10), record(5, prompts=2), record(10, prompts=12))
    assert anew["prompts_per_minute"] is None
    assert on["prompts_per_minute"] == 2


def test_looks_that_are_rarer_by_their_schedule_leave_no_gap() -> None:
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
def test_each_of_many_looks_is_held_against_the_schedule_after_the_one_before(
    minutes: list[int], known: list[bool]
) -> None:
    found = plotted(*(record(at, prompts=at) for at in minutes))
    assert [point["prompts_per_minute"] is not None for point in found[1:]] == known


def test_a_days_looks_are_held_against_the_schedule_in_one_walk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walks = []

    class Walk(croniter):  # type: ignore[misc]
        def __init__(self, *given: Any) -> None:
            walks.append(given)
            super().__init__(*given)

    monkeypatch.setattr("imagen_ops.ui.panels.health_history.croniter", Walk)
    day = [record(5 * n, prompts=n) for n in range(288)]
    assert plotted(*day)[-1]["prompts_per_minute"] == 0.2
    # To begin a walk takes croniter a millisecond.
    assert len(walks) <= 3


@pytest.mark.parametrize(
    ("schedule", "minutes"), [(EVERY_5, 15), ("*/2 * * * *", 6), ("@hourly", 180), ("often", 15)]
)
def test_a_look_is_old_when_three_more_should_have_come(schedule: str, minutes: int) -> None:
    assert overdue_at(NOW, schedule) == NOW + timedelta(minutes=minutes)
