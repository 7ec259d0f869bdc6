"""The panel about the stream: its state."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.ui.panels.stream import read_health, state
from tests.plugins.imagen_ops.ui import test_health_history
from tests.plugins.imagen_ops.ui.conftest import Page, Stored

NOW = test_health_history.NOW


def check(minutes: float, **totals: int) -> dict[str, Any]:
    return test_health_history.record(minutes, **totals)


def test_before_the_first_health_check_there_is_no_data_and_no_error(page: Page) -> None:
    assert page.data("stream") is None


def test_the_state_is_that_of_the_latest_health_check(stored: Stored, storage: Any) -> None:
    stored.records("health", check(-5, prompts=1), last := check(0, prompts=3))
    shown = state(read_health(storage, NOW), NOW + timedelta(seconds=90))
    assert shown is not None
    assert shown["wanted"] is True
    assert shown["job"] == {
        **last["job"],
        "url": "https://console.cloud.google.com/dataflow/jobs/us-central1/job-1"
        "?project=my-project",
    }
    assert (shown["word"], shown["checked"]) == (last["verdict"]["status"], True)
    assert shown["check"]["reasons"] == last["verdict"]["reasons"]
    assert shown["check"]["at"] == NOW.isoformat()
    assert shown["check"]["stale"] is False
    assert shown["check"]["readings"] == {"backlog_age": 12.0, "backlog_size": 3}
    assert shown["check"]["canary_seconds"] == 1.5
    assert shown["totals"] == {"prompts": 2}, "in the last 24 hours, as far as it is known"


def test_a_health_check_is_stale_when_three_more_should_have_followed(
    stored: Stored, storage: Any
) -> None:
    stored.records("health", check(0))
    health = read_health(storage, NOW)
    for minutes, stale in ((14.9, False), (15.1, True)):
        shown = state(health, NOW + timedelta(minutes=minutes))
        assert shown is not None
        assert shown["check"]["stale"] is stale


def test_a_health_check_from_days_ago_is_still_the_latest(stored: Stored, storage: Any) -> None:
    stored.records("health", check(0))
    health = read_health(storage, NOW + timedelta(days=3))
    assert health.last is not None
    assert read_health(storage, NOW + timedelta(days=9)).last is None


@pytest.mark.usefixtures("long_timeouts")
def test_ten_pages_cost_one_read(page: Page, stored: Stored) -> None:
    at = datetime.now(UTC) - NOW
    records = [check(at.total_seconds() / 60 - minutes) for minutes in (1500, 5, 0)]
    stored.records("health", *records)
    for _ in range(10):
        assert page.data("stream")["job"]["id"] == "job-1"
    assert len(stored.requests) == 5, "three listings, and the last two days"


def test_an_unchanged_day_is_not_read_again(stored: Stored, storage: Any) -> None:
    stored.records("health", check(-1440), check(0))
    read_health(storage, NOW)
    stored.requests.clear()
    read_health(storage, NOW)
    assert len(stored.requests) == 3, "the listings"
    stored.records("health", check(0), check(5))
    health = read_health(storage, NOW)
    assert health.last is not None
    assert health.last.at == NOW + timedelta(minutes=5)
    assert len(stored.requests) == 3 + 3 + 1, "the listings, and the day that has changed"


def test_of_an_oversized_day_only_the_end_is_read(stored: Stored, storage: Any) -> None:
    import json

    first, last = check(-5, prompts=1), check(0, prompts=2)
    padding = json.dumps({"padding": "x" * (5 << 20)}).encode()
    lines = [json.dumps(first).encode(), padding, json.dumps(last).encode()]
    stored.put("records/health/ds=2026-11-22.jsonl", b"\n".join(lines))
    health = read_health(storage, NOW)
    assert health.last is not None
    assert health.last.totals == {"prompts": 2}


def test_only_objects_named_after_a_day_are_read(stored: Stored, storage: Any) -> None:
    stored.records("health", check(0))
    stored.put("records/health/ds=2026-11-22.jsonl.bak", [check(5)])
    stored.put("records/health/ds=2026-11-23/part.jsonl", [check(5)])
    stored.put("records/health/ds=2026-11-22.jsonl", [check(0), 7, "no", None])
    health = read_health(storage, NOW)
    assert health.last is not None
    assert health.last.at == NOW
