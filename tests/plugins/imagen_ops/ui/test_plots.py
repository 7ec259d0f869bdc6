"""What the page plots: any time, in as many points as a screen shows, with what was done in it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.jobs.job import JobState
from imagen_ops.records.actions import Stage
from imagen_ops.ui.panels import plots
from imagen_ops.ui.panels.plots import Period, read_plots
from imagen_ops.ui.panels.steps import DRAIN, HEALTH, START
from imagen_ops.ui.sharing import ReadError
from tests.plugins.imagen_ops.ui.conftest import Page, Stored
from tests.plugins.imagen_ops.ui.test_health_history import NOW, record
from tests.plugins.imagen_ops.ui.test_now import step


def last(hours: float) -> Period:
    return Period(NOW - timedelta(hours=hours), NOW)


def test_without_health_checks_there_is_nothing_and_no_error(page: Page) -> None:
    for query in ("", "?hours=168", "?from=2026-11-20T00:00:00Z", "?from=2026-11-20T01:00%2B01:00"):
        shown = page.data(f"plots{query}")
        assert (shown["points"], shown["marks"], shown["limits"]) == ([], [], {})
        assert datetime.fromisoformat(shown["from"]) < datetime.fromisoformat(shown["to"])


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("from=2026-11-20T10:00:00Z&to=2026-11-20T09:00:00Z", "ends before it begins"),
        ("from=2026-11-20T10:00:00Z&to=2026-11-20T10:00:00Z", "ends before it begins"),
        ("from=2020-01-01T00:00:00Z&to=2026-11-20T10:00:00Z", "choose at most 30"),
        ("from=2999-01-01T00:00:00Z", "ends before it begins"),
    ],
)
def test_a_time_that_is_none_is_said_in_words(page: Page, query: str, reason: str) -> None:
    answer = page.panel(f"plots?{query}")
    assert answer["data"] is None
    assert reason in answer["error"]
    assert not answer["cause"], "nothing is wrong with storage"


@pytest.mark.parametrize("query", ["hours=2", "hours=0", "from=7d", "from=2026-11-20T10:00:00"])
def test_what_the_page_never_asks_is_refused(page: Page, query: str) -> None:
    assert page.get(f"/api/plots?{query}").status_code == 422


def test_a_day_is_plotted_over_midnight(stored: Stored, storage: Any) -> None:
    every_5 = [record(-minutes, prompts=10_000 - minutes) for minutes in range(1500, -1, -5)]
    stored.records("health", *every_5)
    shown = read_plots(storage, last(24))
    assert [point["at"] for point in shown["points"]] == [
        (NOW - timedelta(minutes=minutes)).isoformat() for minutes in range(1440, -1, -5)
    ]
    assert {point["prompts_per_minute"] for point in shown["points"]} == {1}, "the first too"
    assert shown["each"] == 1


def test_only_the_days_of_the_time_are_read(stored: Stored, storage: Any) -> None:
    for days in range(9):
        stored.records("health", record(-1440 * days, prompts=1))
    stored.requests.clear()
    three_days_ago = Period(NOW - timedelta(days=3, hours=2), NOW - timedelta(days=3))
    assert len(read_plots(storage, three_days_ago)["points"]) == 1
    assert len(stored.requests) == 2 + 1, "the listings, and one day"


@pytest.mark.parametrize(("minutes", "earlier"), [(59, False), (61, True), (28 * 1440, True)])
def test_it_is_known_whether_there_were_health_checks_before_the_time(
    stored: Stored, storage: Any, minutes: int, earlier: bool
) -> None:
    stored.records("health", record(-minutes), record(0))
    assert read_plots(storage, last(1))["earlier"] == earlier


def test_a_week_has_no_more_points_than_a_screen_and_loses_no_peak(
    stored: Stored, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "MAX_POINTS", 4)
    checks = [record(5 * n - 45, prompts=10 * n, failures_BLOCKED=n) for n in range(10)]
    checks[4]["readings"]["backlog_age"] = 3_000
    checks[5]["verdict"]["status"] = "DOWN"
    checks[7]["readings"] = {}
    stored.records("health", *checks)
    shown = read_plots(storage, last(1))
    assert (shown["each"], len(shown["points"])) == (3, 4)
    assert [point["backlog_age"] for point in shown["points"]] == [12, 3_000, 12, 12]
    assert [point["status"] == "DOWN" for point in shown["points"]] == [False, True, False, False]
    assert [point["prompts_per_minute"] for point in shown["points"]] == [2, 2, 2, 2]
    assert [point["failures_per_minute"]["BLOCKED"] for point in shown["points"]] == [0.2] * 4
    assert shown["points"][-1]["at"] == NOW.isoformat()


def test_what_was_done_is_marked_and_a_new_image_is_a_deployment(
    stored: Stored, storage: Any
) -> None:
    job = ("job", JobState.QUEUED)
    taken = [
        ("earlier", step(Stage.LAUNCHED, after=-90, job=job), "old"),
        ("start", step(Stage.LAUNCHED, after=-50, job=job, run="r1"), "old"),
        ("", step(Stage.RUNNING, after=-45, job=job, run="r1"), None),
        ("drain", step(Stage.STOPPING, DRAIN, after=-40, job=job), None),
        ("deployment", step(Stage.LAUNCHED, after=-30, job=job, run="r2"), "new"),
        ("restart", step(Stage.LAUNCHED, HEALTH, after=-20, job=job), "new"),
        ("backfill", step(Stage.REQUESTED, "imagen_backfill", after=-10), None),
        ("", step(Stage.REQUESTED, after=-5, run="r3"), None),
    ]
    lines = [
        {
            "at": each.at.isoformat(),
            "stage": each.stage,
            "dag_id": each.dag_id,
            "dag_run_id": each.run_id,
            "triggered_by": each.by,
            "image": image,
        }
        for _, each, image in taken
    ]
    stored.records("actions", *lines)
    shown = read_plots(storage, last(1))["marks"]
    assert [mark["what"] for mark in shown] == [
        what for what, *_ in taken if what not in ("", "earlier")
    ]
    assert shown[0]["by"] == "bob"
    assert shown[0]["url"] == f"dags/{START}/runs/r1"


def test_the_limits_are_those_of_the_last_check_in_the_time(stored: Stored, storage: Any) -> None:
    first, second, later = (record(minutes) for minutes in (-30, -10, 30))
    first["limits"] = later["limits"] = {"backlog_age": 1}
    second["limits"] = {"backlog_age": 600.0, "backlog_size": None, "system_lag": "x"}
    stored.records("health", first, second, later)
    assert read_plots(storage, last(1))["limits"] == {"backlog_age": 600.0}


def test_the_last_hours_are_those_before_now() -> None:
    now = datetime.now(UTC)
    assert Period.of(now, "6", None, None) == Period(now - timedelta(hours=6), now)
    assert Period.of(now, None, None, None).start == now - timedelta(hours=24)
    with pytest.raises(ReadError, match="ends before it begins"):
        Period.of(now, None, now, now)
