"""Records in Cloud Storage, against the local cloud."""

import json
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed

from imagen_ops.records import history
from imagen_ops.records.history import MAX_LINES_PER_DAY, History

SCHEMA = "imagen.health/1"
BUCKET = "demo-project-imagen"
NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAY = "health/ds=2026-11-03.jsonl"


def record(run_id: str, at: datetime = NOON, **others: Any) -> dict[str, Any]:
    return {"schema": SCHEMA, "run_id": run_id, "at": at.isoformat(), **others}


@pytest.fixture
def health_history(lane: Any) -> History:
    return History(lane.storage, BUCKET, f"{lane.name}/health")


def run_ids(records: list[dict[str, Any]]) -> list[str]:
    return [record["run_id"] for record in records]


def test_a_record_is_read_back_unchanged(health_history: History, lane: Any) -> None:
    original = record("one", status="HEALTHY", text="2 × “ok”\nnext line", nested={"a": [1, None]})
    health_history.put(original)
    assert health_history.since(NOON) == [original]
    assert list(lane.objects("health/")) == [DAY]
    assert lane.objects("health/")[DAY].count(b"\n") == 1


def test_a_second_record_of_a_run_replaces_the_first(health_history: History, lane: Any) -> None:
    health_history.put(record("one", status="DOWN"))
    health_history.put(record("two", NOON + timedelta(minutes=5)))
    health_history.put(record("one", NOON + timedelta(minutes=1), status="HEALTHY"))
    assert run_ids(health_history.since(NOON)) == ["one", "two"]
    assert health_history.since(NOON)[0]["status"] == "HEALTHY"
    assert lane.objects("health/")[DAY].count(b"\n") == 2


def test_a_run_retried_past_midnight_has_one_record(health_history: History) -> None:
    midnight = datetime(2026, 11, 4, tzinfo=UTC)
    health_history.put(record("one", midnight - timedelta(seconds=1), status="DOWN"))
    health_history.put(record("one", midnight + timedelta(seconds=1), status="HEALTHY"))
    assert [record["status"] for record in health_history.since(NOON)] == ["HEALTHY"]


def test_records_are_sorted_oldest_first_in_whatever_order_they_arrive(
    health_history: History,
) -> None:
    for hours in (5, -40, 0, 30, -3):
        health_history.put(record(f"{hours}", NOON + timedelta(hours=hours)))
    assert run_ids(health_history.since(NOON - timedelta(days=3))) == ["-40", "-3", "0", "5", "30"]
    assert run_ids(health_history.since(NOON)) == ["0", "5", "30"]
    assert health_history.since(NOON + timedelta(hours=31)) == []


def test_the_day_of_a_record_is_its_day_in_utc(health_history: History, lane: Any) -> None:
    late = datetime.fromisoformat("2026-11-03T23:30:00-05:00")
    health_history.put(record("one", late))
    assert list(lane.objects("health/")) == ["health/ds=2026-11-04.jsonl"]
    assert run_ids(health_history.since(late)) == ["one"]


def test_only_the_required_days_are_read(
    health_history: History, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days in range(-9, 3):
        health_history.put(record(f"{days}", NOON + timedelta(days=days)))
    read: list[str] = []
    real = history.History._read

    def spy(self: History, name: str) -> Any:
        read.append(name.rpartition("=")[2])
        return real(self, name)

    monkeypatch.setattr(history.History, "_read", spy)
    health_history.since(NOON)
    assert read == ["2026-11-03.jsonl", "2026-11-04.jsonl", "2026-11-05.jsonl"]
    read.clear()
    last = health_history.last(NOON)
    assert last is not None
    assert last["run_id"] == "-1"
    assert read == ["2026-11-03.jsonl", "2026-11-02.jsonl"]


def test_the_last_record_is_strictly_before_the_time(health_history: History) -> None:
    health_history.put(record("old", NOON - timedelta(minutes=5)))
    health_history.put(record("now"))
    last = health_history.last(NOON)
    assert last is not None
    assert last["run_id"] == "old"
    assert (health_history.last(NOON + timedelta(microseconds=1)) or {})["run_id"] == "now"


def test_a_record_that_is_too_old_is_not_the_last_record(health_history: History) -> None:
    health_history.put(record("old", NOON - timedelta(days=3, hours=1)))
    assert health_history.last(NOON, within_days=3) is None
    assert (health_history.last(NOON, within_days=4) or {})["run_id"] == "old"


def test_a_new_history_has_no_records(health_history: History) -> None:
    assert health_history.since(NOON) == []
    assert health_history.last(NOON) is None


def test_invalid_lines_are_skipped_and_counted(
    health_history: History, lane: Any, caplog: pytest.LogCaptureFixture
) -> None:
    invalid = [
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"null",
        b'{"schema": "imagen", "run_id": "x", "at": "2026-11-03T12:00:00+00:00"}',
        json.dumps(record("x", NOON) | {"at": "noon"}).encode(),
        json.dumps(record("x", NOON) | {"at": "2026-11-03T12:00:00"}).encode(),
        json.dumps(record("x", NOON) | {"run_id": 7}).encode(),
    ]
    good = json.dumps(record("good")).encode()
    lane.put(DAY, b"\n".join([*invalid, b"", good, b" "]))
    with caplog.at_level(logging.WARNING):
        assert run_ids(health_history.since(NOON)) == ["good"]
    assert f"skipped {len(invalid)} invalid lines" in caplog.text


def test_invalid_lines_survive_a_put(health_history: History, lane: Any) -> None:
    lane.put(DAY, b'{"half a li\n')
    health_history.put(record("one"))
    assert lane.objects("health/")[DAY].splitlines()[0] == b'{"half a li'
    assert run_ids(health_history.since(NOON)) == ["one"]


def test_concurrent_writers_lose_no_record(lane: Any) -> None:
    writers = 12
    start = threading.Barrier(writers)
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            start.wait(timeout=30)
            own = History(lane.storage, BUCKET, f"{lane.name}/health")
            own.put(record(f"run-{number}", NOON + timedelta(seconds=number)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not errors
    stored = History(lane.storage, BUCKET, f"{lane.name}/health").since(NOON)
    assert run_ids(stored) == [f"run-{number}" for number in range(writers)]


def test_a_writer_that_loses_a_race_reads_again(
    health_history: History, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _overtake(
        health_history, monkeypatch, lambda number: put_in_between(lane, f"other-{number}"), times=3
    )
    health_history.put(record("mine"))
    stored = run_ids(health_history.since(NOON))
    assert sorted(stored) == ["mine", "other-0", "other-1", "other-2"]


def test_a_day_that_is_deleted_while_it_is_read_starts_empty(
    health_history: History, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    health_history.put(record("old"))

    def delete(_: int) -> None:
        lane.storage.bucket(BUCKET).blob(f"{lane.name}/{DAY}").delete()

    _overtake(health_history, monkeypatch, delete, times=1)
    health_history.put(record("mine"))
    assert run_ids(health_history.since(NOON)) == ["mine"]


def test_a_writer_that_loses_every_race_gives_up(
    health_history: History, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_MAX_TRIES", 3)
    _overtake(
        health_history,
        monkeypatch,
        lambda number: put_in_between(lane, f"other-{number}"),
        times=99,
    )
    with pytest.raises(PreconditionFailed):
        health_history.put(record("mine"))
    assert run_ids(health_history.since(NOON)) == ["other-0", "other-1", "other-2"]


def put_in_between(lane: Any, run_id: str) -> None:
    History(lane.storage, BUCKET, f"{lane.name}/health").put(record(run_id))


def _overtake(
    health_history: History,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[int], None],
    *,
    times: int,
) -> None:
    """Call `act` between the read and the write of each of the first `times` tries."""
    calls: list[int] = []
    real = health_history._current

    def current(name: str) -> tuple[bytes, int]:
        content = real(name)
        if len(calls) < times:
            calls.append(1)
            act(len(calls) - 1)
        return content

    monkeypatch.setattr(health_history, "_current", current)


def test_a_day_keeps_only_its_newest_lines(health_history: History, lane: Any) -> None:
    lines = [
        json.dumps(record(f"{number}", NOON + timedelta(seconds=number), text="x" * 1000))
        for number in range(MAX_LINES_PER_DAY)
    ]
    lane.put(DAY, "\n".join(lines))
    health_history.put(record("newest", NOON + timedelta(hours=11)))
    stored = run_ids(health_history.since(NOON))
    assert len(stored) == MAX_LINES_PER_DAY
    assert stored[0] == "1"
    assert stored[-1] == "newest"


def test_a_day_stays_within_its_size_limit(
    health_history: History, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_BYTES_PER_DAY", 1000)
    for number in range(10):
        health_history.put(record(f"{number}", NOON + timedelta(seconds=number), text="x" * 200))
        assert len(lane.objects("health/")[DAY]) <= 1000
    assert run_ids(health_history.since(NOON)) == ["7", "8", "9"]


def test_a_record_that_is_too_large_is_rejected(health_history: History) -> None:
    with pytest.raises(ValueError, match="shorten the texts in it"):
        health_history.put(record("one", text="x" * history.MAX_BYTES_PER_RECORD))
    assert health_history.since(NOON) == []


def test_numbers_that_json_cannot_hold_become_null(health_history: History, lane: Any) -> None:
    health_history.put(
        record("one", lag=float("nan"), more=[float("inf"), {"x": float("-inf")}, 1.5])
    )
    assert b"NaN" not in lane.objects("health/")[DAY]
    assert health_history.since(NOON)[0]["lag"] is None
    assert health_history.since(NOON)[0]["more"] == [None, {"x": None}, 1.5]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema": "health"}, "schema"),
        ({"schema": None}, "schema"),
        ({"run_id": ""}, "run_id"),
        ({"run_id": None}, "run_id"),
        ({"at": None}, "at"),
        ({"at": "yesterday"}, "yesterday"),
        ({"at": "2026-11-03T12:00:00"}, "zone"),
    ],
)
def test_a_record_without_a_required_field_is_rejected(
    health_history: History, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        health_history.put(record("one") | change)


def test_a_missing_bucket_is_an_error(lane: Any) -> None:
    nowhere = History(lane.storage, "demo-project-nowhere")
    with pytest.raises(NotFound):
        nowhere.put(record("one"))
    with pytest.raises(NotFound):
        nowhere.since(NOON)


def test_other_objects_in_the_folder_are_ignored(health_history: History, lane: Any) -> None:
    lane.put("health/ds=2026-11-03.jsonl.bak", json.dumps(record("backup")))
    lane.put("health/ds=2026-11-03/part.jsonl", json.dumps(record("part")))
    health_history.put(record("one"))
    assert run_ids(health_history.since(NOON)) == ["one"]
    assert (health_history.last(NOON + timedelta(hours=1)) or {})["run_id"] == "one"


@pytest.mark.parametrize("folder", ["", "/health", "health/", "a//b", "../up", "a/../b", "a\nb"])
def test_an_invalid_folder_name_is_rejected(lane: Any, folder: str) -> None:
    with pytest.raises(ValueError, match="folder"):
        History(lane.storage, BUCKET, folder)


@pytest.mark.parametrize("bucket", ["", "gs://bucket", "bucket/folder", "Bucket"])
def test_an_invalid_bucket_name_is_rejected(lane: Any, bucket: str) -> None:
    with pytest.raises(ValueError, match="bucket"):
        History(lane.storage, bucket)
