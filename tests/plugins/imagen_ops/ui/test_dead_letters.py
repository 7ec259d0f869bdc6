"""Dead letters of the last day, by reason, and what was replayed of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beam_jobs.images import recent_index
from beam_jobs.outcomes import Failure, Reason
from imagen_ops.dead_letters.decision import ReplayCounts
from imagen_ops.ui.panels import dead_letters
from imagen_ops.ui.panels.dead_letters import read_dead_letters
from tests.plugins.imagen_ops.ui.conftest import Page, Stored

NOW = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)


def line(n: int, reason: Reason = Reason.BLOCKED, body: bytes | None = None) -> dict[str, Any]:
    """What a job writes of a failure, by its own hand."""
    outcome = Failure(
        f"id-{n}", reason, f"detail {n}", False, 1, body or f"prompt {n}".encode(), {}, "stream"
    )
    return recent_index.line(outcome)


def replayed(n: int, at: datetime = NOW, **others: Any) -> dict[str, Any]:
    tally = ReplayCounts()
    tally.replayed["UNAVAILABLE"] += n
    record = {"schema": "imagen.replay/1", "run_id": f"manual__{n}", "at": at.isoformat()}
    return {**record, "dry_run": False, "finished": True, **tally.to_json(), **others}


def test_a_day_without_dead_letters_is_a_good_day(page: Page) -> None:
    assert page.data("dead-letters") == {"hours": 24, "by_reason": [], "replays": []}


def test_they_are_counted_by_reason_with_the_newest_three_of_each(
    stored: Stored, storage: Any
) -> None:
    stored.lines("failures", NOW - timedelta(hours=2), *(line(n) for n in range(5)))
    stored.lines("failures", NOW - timedelta(hours=1), line(5), line(6, Reason.NO_IMAGE), line(7))
    shown = read_dead_letters(storage, NOW)
    assert shown["hours"] == 24
    blocked, no_image = shown["by_reason"]
    assert (blocked["reason"], blocked["count"]) == ("BLOCKED", 7)
    assert [sample["prompt_id"] for sample in blocked["samples"]] == ["id-7", "id-5", "id-4"]
    assert (no_image["reason"], no_image["count"]) == ("NO_IMAGE", 1)
    [sample] = no_image["samples"]
    assert sample == {
        "prompt_id": "id-6",
        "prompt": "prompt 6",
        "detail": "detail 6",
        "retryable": False,
        "at": sample["at"],
        "source": "stream",
    }


def test_those_of_yesterday_are_over(stored: Stored, storage: Any) -> None:
    stored.lines("failures", NOW - timedelta(hours=24, minutes=1), line(1))
    stored.lines("failures", NOW - timedelta(hours=23, minutes=59), line(2))
    [only] = read_dead_letters(storage, NOW)["by_reason"]
    assert [sample["prompt_id"] for sample in only["samples"]] == ["id-2"]


def test_of_a_bad_day_as_many_hours_are_told_as_were_read(
    stored: Stored, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_OBJECTS", 10)
    for n in range(40):
        stored.lines("failures", NOW - timedelta(minutes=18 * n), line(n), line(n))
    shown = read_dead_letters(storage, NOW)
    assert shown["hours"] == 2.7
    assert [one["count"] for one in shown["by_reason"]] == [20]
    assert len(stored.requests) == 1 + 10 + 1, "the index, ten objects of it, and replays' days"


def test_a_body_that_is_no_text_is_shown_all_the_same(page: Page, stored: Stored) -> None:
    at = datetime.now(UTC)
    stored.lines("failures", at, line(1, Reason.INVALID_PROMPT, b"\xff\x00<script>"))
    [reason] = page.data("dead-letters")["by_reason"]
    assert reason["samples"][0]["prompt"] == "\ufffd\x00<script>"


def test_the_last_ten_replays_are_shown_newest_first(stored: Stored, storage: Any) -> None:
    stored.records("replays", *(replayed(n, NOW - timedelta(hours=n)) for n in range(12)))
    shown = read_dead_letters(storage, NOW)["replays"]
    assert [one["run_id"] for one in shown] == [f"manual__{n}" for n in range(10)]
    assert shown[3] == {
        "run_id": "manual__3",
        "at": (NOW - timedelta(hours=3)).isoformat(),
        "dry_run": False,
        "finished": True,
        "replayed": {"UNAVAILABLE": 3},
        "archived": {},
        "left": {},
        "unreadable": 0,
        "url": "dags/imagen_dead_letters_replay/runs/manual__3",
    }


def test_lines_that_are_none_are_passed_over(stored: Stored, storage: Any) -> None:
    stored.lines("failures", NOW, {"reason": 7}, {}, line(1))
    stored.put("images/recent/failures/no-name", b"{}\n")
    stored.put("records/replays/ds=2026-11-22.jsonl", [{"at": 7}, {"run_id": 7}, 7])
    shown = read_dead_letters(storage, NOW)
    assert [one["count"] for one in shown["by_reason"]] == [1]
    assert shown["replays"] == []
