"""What images cost today and this month, and what is left of the stream's budgets."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.ui.image_index import ImageIndex
from imagen_ops.ui.index_reader import IndexReader
from imagen_ops.ui.panels.money import Money
from tests.plugins.imagen_ops.ui import test_backfills, test_health_history
from tests.plugins.imagen_ops.ui.conftest import Page, Stored
from tests.plugins.imagen_ops.ui.test_images import line

NOW = datetime(2026, 11, 22, 14, 30, tzinfo=UTC)


@pytest.fixture
def money(storage: Any, monkeypatch: pytest.MonkeyPatch) -> Money:
    index = ImageIndex()
    reader = IndexReader(storage, index)
    reader._read_new(NOW)
    monkeypatch.setattr(reader, "_read_new", lambda now: None)
    return Money(storage, index, reader)


def check(at: datetime, micro_usd: int | None, **totals: int) -> dict[str, Any]:
    counters = {} if micro_usd is None else {"cost_micro_usd": micro_usd}
    return test_health_history.record(**counters, **totals) | {
        "at": at.isoformat(),
        "run_id": at.isoformat(),
    }


def backfill(run_id: str, at: datetime, usd: float | None, estimated: float | None) -> Any:
    record = test_backfills.run(run_id)
    plan = {**record["plan"], "cost_usd": estimated, "unpriced": []}
    return {**record, "at": at.isoformat(), "cost_usd": usd, "plan": plan}


def ledger(stored: Stored, period: str, content: Any) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()
    stored.put(f"jobs/budgets/stream/{period}.json", data)


def shares(images: int, *leased_and_spent: tuple[int, int]) -> dict[str, Any]:
    return {
        "schema": "imagen.budget/1",
        "images": images,
        "shares": {
            f"worker-{n}": {"leased": leased, "spent": spent}
            for n, (leased, spent) in enumerate(leased_and_spent)
        },
    }


def test_costs_are_those_since_midnight_and_since_the_first_of_the_month(
    stored: Stored, storage: Any, request: pytest.FixtureRequest
) -> None:
    midnight, first = datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    minute = timedelta(minutes=1)
    stored.records(
        "health",
        check(first - minute, 1_000_000),
        check(first + minute, 3_000_000),
        check(midnight - minute, 4_000_000),
        check(midnight + minute, 4_500_000, unpriced_calls=2),
    )
    stored.records(
        "backfills",
        backfill("older", first - minute, 99.0, 99.0),
        backfill("early", first + minute, 10.0, 12.0),
        backfill("unknown", midnight + minute, None, None),
        backfill("today", midnight + minute, 5.0, 4.0),
        # Nothing is paid, and nothing may ever be.
        {**backfill("asks", midnight + minute, 0.0, 777.0), "state": "asked"},
    )
    stored.day(
        NOW,
        line(1, at=(midnight + minute).isoformat(), cost_usd=0.5),
        line(2, at=(first + minute).isoformat(), cost_usd=0.25, source="backfill:a"),
        line(3, at=(first - minute).isoformat(), cost_usd=9.0),
    )
    answer = request.getfixturevalue("money").read(NOW)
    day, month = answer["day"], answer["month"]
    assert day["stream"] == {"usd": 0.5, "unpriced_calls": 2}
    assert month["stream"] == {"usd": 3.5, "unpriced_calls": 2}
    assert day["backfills"] == {
        "runs": 2,
        "usd": 5.0,
        "estimated_usd": 4.0,
        "unknown": 1,
        "not_estimated": 1,
    }
    assert (month["backfills"]["usd"], month["backfills"]["estimated_usd"]) == (15.0, 16.0)
    assert [(row["source"], row["usd"]) for row in day["by"]] == [("stream", 0.5)]
    assert [(row["source"], row["usd"]) for row in month["by"]] == [
        ("stream", 0.5),
        ("backfill", 0.25),
    ]
    assert answer["indexed"]["complete"]


def test_what_is_unknown_is_not_0(stored: Stored, money: Money) -> None:
    stored.records("health", check(NOW - timedelta(hours=1), None), {"at": NOW.isoformat()})
    stored.put("records/backfills/ds=2026-11-22.jsonl", b'no json\n[7]\n{"at": 7}\n')
    answer = money.read(NOW)
    assert answer["day"]["stream"] == {"usd": None, "unpriced_calls": None}
    assert answer["day"]["by"] == []
    stored.records("backfills", backfill("x", NOW, None, None))
    answer = Money(money._storage, money._index, money._reader).read(NOW)
    assert (
        answer["day"]["backfills"]["usd"] is answer["month"]["backfills"]["estimated_usd"] is None
    )


def test_what_is_left_of_a_budget_is_what_nobody_has_leased(
    stored: Stored, money: Money, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger(stored, "2026-11-22T14", shares(100, (30, 10), (20, 20)))
    ledger(stored, "2026-11-21", shares(5, (5, 5)))
    monkeypatch.setenv("IMAGEN_STREAM_MAX_IMAGES_PER_DAY", "500")
    hour, day = money.read(NOW)["budgets"]
    assert hour == {
        "period": "hour",
        "images": 100,
        "left": 50,
        "leased": 20,
        "spent": 30,
        "unreadable": False,
        "renewed_at": "2026-11-22T15:00:00+00:00",
    }
    assert (day["images"], day["left"], day["spent"]) == (500, 500, 0), "nothing is paid for yet"
    assert day["renewed_at"] == "2026-11-23T00:00:00+00:00"


def test_a_ledger_that_cannot_be_read_is_unknown(stored: Stored, money: Money) -> None:
    for content in (b"no json", b"[]", {**shares(5), "schema": "x"}, {**shares(5), "images": "x"}):
        ledger(stored, "2026-11-22T14", content)
        hour, day = money.read(NOW)["budgets"]
        assert hour["unreadable"]
        assert not day["unreadable"]
        assert day["images"] is None


def test_the_page_answers_without_any_record(page: Page, stored: Stored) -> None:
    answer = page.data("money")
    assert answer["month"]["stream"] == {"usd": None, "unpriced_calls": None}
    assert answer["month"]["backfills"]["runs"] == 0
