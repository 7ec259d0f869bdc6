"""The dead letters of the last 24 hours by reason, and their replays."""

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
    """Return a failure's line in the index, created by the code that jobs use."""
    outcome = Failure(
        f"id-{n}", "", reason, f"detail {n}", False, 1, body or f"prompt {n}".encode(), {}, "stream"
    )
    return recent_index.index_entry(outcome)


def replayed(n: int, at: datetime = NOW, **fields: Any) -> dict[str, Any]:
    tally = ReplayCounts()
    tally.replayed["UNAVAILABLE"] += n
    record = {"schema": "imagen.replay/1", "run_id": f"manual__{n}", "at": at.isoformat()}
    return {**record, "dry_run": False, "finished": True, **tally.to_json(), **fields}


def test_a_day_without_dead_letters_has_no_reasons(page: Page) -> None:
    assert page.data("dead-letters") == {"hours": 24, "by_reason": [], "replays": []}


def test_dead_letters_are_counted_by_reason_with_the_newest_three_of_each(
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


def test_dead_letters_older_than_24_hours_are_left_out(stored: Stored, storage: Any) -> None:
    stored.lines("failures", NOW - timedelta(hours=24, minutes=1), line(1))
    stored.lines("failures", NOW - timedelta(hours=23, minutes=59), line(2))
    [only] = read_dead_letters(storage, NOW)["by_reason"]
    assert [sample["prompt_id"] for sample in only["samples"]] == ["id-2"]


def test_on_a_bad_day_the_counts_say_how_many_hours_they_cover(
    stored: Stored, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_OBJECTS", 10)
    for n in range(40):
        stored.lines("failures", NOW - timedelta(minutes=18 * n), line(n), line(n))
    shown = read_dead_letters(storage, NOW)
    assert shown["hours"] == 2.7
    assert [reason["count"] for reason in shown["by_reason"]] == [20]
    assert len(stored.requests) == 1 + 10 + 1, (
        "the listing of the index, ten of its objects, the listing of replays"
    )


def test_a_body_that_is_not_text_is_shown_anyway(page: Page, stored: Stored) -> None:
    at = datetime.now(UTC)
    stored.lines("failures", at, line(1, Reason.INVALID_PROMPT, b"\xff\x00<script>"))
    [reason] = page.data("dead-letters")["by_reason"]
    assert reason["samples"][0]["prompt"] == "\ufffd\x00<script>"


def test_the_last_ten_replays_are_shown_newest_first(stored: Stored, storage: Any) -> None:
    stored.records("replays", *(replayed(n, NOW - timedelta(hours=n)) for n in range(12)))
    shown = read_dead_letters(storage, NOW)["replays"]
    assert [replay["run_id"] for replay in shown] == [f"manual__{n}" for n in range(10)]
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


def test_invalid_lines_are_skipped(stored: Stored, storage: Any) -> None:
    stored.lines("failures", NOW, {"reason": 7}, {}, line(1))
    stored.put("images/recent/failures/no-name", b"{}\n")
    stored.put("records/replays/ds=2026-11-22.jsonl", [{"at": 7}, {"run_id": 7}, 7])
    shown = read_dead_letters(storage, NOW)
    assert [reason["count"] for reason in shown["by_reason"]] == [1]
    assert shown["replays"] == []
