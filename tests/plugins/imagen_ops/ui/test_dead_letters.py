"""The dead letters of the last 24 hours by reason, and their replays."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beam_jobs.images import recent_index
from beam_jobs.outcomes import Failure, Reason
from imagen_ops.dead_letters.decision import ReplayCounts
from imagen_ops.ui.panels import dead_letters
from imagen_ops.ui.panels.dead_letters import read_dead_letters, read_letters
from tests.plugins.imagen_ops.ui import test_health_history
from tests.plugins.imagen_ops.ui.conftest import Page, Stored

NOW = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


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
    assert page.data("dead-letters") == {
        "waiting": None,
        "hours": 24,
        "by_reason": [],
        "replays": [],
        "archive": "https://console.cloud.google.com/storage/browser/my-project-imagen/dead-letters"
        "?project=my-project",
    }
    assert page.data("dead-letters/list") == {"letters": [], "next": None, "until": None}


def listed(
    storage: Any, limit: int = 100, reason: str | None = None, words: str = ""
) -> Iterator[str]:
    """Yield the ids of the dead letters on all pages of a list."""
    before = None
    while True:
        page = read_letters(storage, limit, before, reason, words)
        assert len(page["letters"]) <= limit
        yield from (letter["prompt_id"] for letter in page["letters"])
        if (before := page["next"]) is None:
            return
        assert re.fullmatch(dead_letters.CURSOR, before)


def test_all_dead_letters_are_listed_page_by_page_and_found_by_reason_and_words(
    stored: Stored, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_OBJECTS", 2)
    for n in range(3):
        at = NOW - timedelta(days=n)
        stored.lines("failures", at, line(3 * n + 2, Reason.NO_IMAGE), line(3 * n + 1), line(3 * n))
    for limit in (1, 2, 4, 100):
        assert list(listed(storage, limit)) == [f"id-{n}" for n in range(9)]
    assert list(listed(storage, 2, "NO_IMAGE")) == ["id-2", "id-5", "id-8"]
    assert list(listed(storage, 2, words="PROMPT 4")) == ["id-4"]
    for words in ("(.*", "\\", "[a-", "%", "id-1 id-2", "ſ" * 200):
        assert list(listed(storage, words=words)) == [], words
    [letter] = read_letters(storage, 1, None, None, "detail 4")["letters"]
    assert {"prompt": "prompt 4", "retryable": False, "source": "stream"}.items() <= letter.items()


@pytest.mark.parametrize(
    "query", ["limit=0", "before=x", "reason=no", "reason=X%0A", "limit=101", "words=" + "x" * 201]
)
def test_what_is_not_a_list_of_dead_letters_is_refused(page: Page, query: str) -> None:
    assert page.get(f"/api/dead-letters/list?{query}").status_code == 422


def test_how_many_wait_is_what_the_last_health_check_counted(stored: Stored, storage: Any) -> None:
    check = test_health_history.record(-30)
    counted = {**check, "readings": {"dead_letters": 12}, "at": (NOW - HOUR).isoformat()}
    stored.records("health", counted, {**check, "run_id": "later", "at": NOW.isoformat()})
    waiting = read_dead_letters(storage, NOW)["waiting"]
    assert waiting == {"count": 12, "at": (NOW - HOUR).isoformat()}


def test_dead_letters_are_counted_by_reason_and_by_whether_to_replay_them(
    stored: Stored, storage: Any
) -> None:
    stored.lines("failures", NOW - timedelta(hours=2), *(line(n) for n in range(5)))
    stored.lines("failures", NOW - timedelta(hours=1), line(5), line(6, Reason.NO_IMAGE), line(7))
    shown = read_dead_letters(storage, NOW)
    assert shown["hours"] == 24
    blocked, no_image = shown["by_reason"]
    assert (blocked["reason"], blocked["count"]) == ("BLOCKED", 7)
    assert no_image == {"reason": "NO_IMAGE", "count": 1, "retryable": 0}
    retryable = {**line(8, Reason.NO_IMAGE), "retryable": True}
    stored.lines("failures", NOW, retryable, {**retryable, "retryable": 7})
    _, no_image = read_dead_letters(storage, NOW)["by_reason"]
    assert no_image == {"reason": "NO_IMAGE", "count": 3, "retryable": 1}


def test_dead_letters_older_than_24_hours_are_left_out(stored: Stored, storage: Any) -> None:
    stored.lines("failures", NOW - timedelta(hours=24, minutes=1), line(1))
    stored.lines("failures", NOW - timedelta(hours=23, minutes=59), line(2))
    [only] = read_dead_letters(storage, NOW)["by_reason"]
    assert only["count"] == 1


def test_on_a_bad_day_the_counts_say_how_many_hours_they_cover(
    stored: Stored, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_OBJECTS", 10)
    for n in range(40):
        stored.lines("failures", NOW - timedelta(minutes=18 * n), line(n), line(n))
    shown = read_dead_letters(storage, NOW)
    assert shown["hours"] == 2.7
    assert [reason["count"] for reason in shown["by_reason"]] == [20]
    assert len(stored.requests) == 1 + 10 + 2, (
        "the listing of the index, ten of its objects, the listings of replays and health checks"
    )


def test_a_body_that_is_not_text_is_shown_anyway(page: Page, stored: Stored) -> None:
    at = datetime.now(UTC)
    stored.lines("failures", at, line(1, Reason.INVALID_PROMPT, b"\xff\x00<script>"))
    [letter] = page.data("dead-letters/list")["letters"]
    assert letter["prompt"] == "\ufffd\x00<script>"


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
