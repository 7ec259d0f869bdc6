"""Records of health in Cloud Storage, against the local cloud."""

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
def kept(lane: Any) -> History:
    return History(lane.storage, BUCKET, f"{lane.name}/health")


def run_ids(records: list[dict[str, Any]]) -> list[str]:
    return [one["run_id"] for one in records]


def test_a_record_comes_back_as_it_was_put(kept: History, lane: Any) -> None:
    given = record("one", status="HEALTHY", text="2 × “ok”\nnext line", nested={"a": [1, None]})
    kept.put(given)
    assert kept.since(NOON) == [given]
    assert list(lane.objects("health/")) == [DAY]
    assert lane.objects("health/")[DAY].count(b"\n") == 1


def test_the_same_run_again_replaces_its_line(kept: History, lane: Any) -> None:
    kept.put(record("one", status="DOWN"))
    kept.put(record("two", NOON + timedelta(minutes=5)))
    kept.put(record("one", NOON + timedelta(minutes=1), status="HEALTHY"))
    assert run_ids(kept.since(NOON)) == ["one", "two"]
    assert kept.since(NOON)[0]["status"] == "HEALTHY"
    assert lane.objects("health/")[DAY].count(b"\n") == 2


def test_a_run_retried_past_midnight_is_told_once(kept: History) -> None:
    midnight = datetime(2026, 11, 4, tzinfo=UTC)
    kept.put(record("one", midnight - timedelta(seconds=1), status="DOWN"))
    kept.put(record("one", midnight + timedelta(seconds=1), status="HEALTHY"))
    assert [one["status"] for one in kept.since(NOON)] == ["HEALTHY"]


def test_records_come_oldest_first_whatever_order_they_were_put_in(kept: History) -> None:
    for hours in (5, -40, 0, 30, -3):
        kept.put(record(f"{hours}", NOON + timedelta(hours=hours)))
    assert run_ids(kept.since(NOON - timedelta(days=3))) == ["-40", "-3", "0", "5", "30"]
    assert run_ids(kept.since(NOON)) == ["0", "5", "30"]
    assert kept.since(NOON + timedelta(hours=31)) == []


def test_the_day_of_a_record_is_the_one_in_utc(kept: History, lane: Any) -> None:
    late = datetime.fromisoformat("2026-11-03T23:30:00-05:00")
    kept.put(record("one", late))
    assert list(lane.objects("health/")) == ["health/ds=2026-11-04.jsonl"]
    assert run_ids(kept.since(late)) == ["one"]


def test_only_the_days_needed_are_read(
    kept: History, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days in range(-9, 3):
        kept.put(record(f"{days}", NOON + timedelta(days=days)))
    read: list[str] = []
    real = history.History._read

    def spy(self: History, name: str) -> Any:
        read.append(name.rpartition("=")[2])
        return real(self, name)

    monkeypatch.setattr(history.History, "_read", spy)
    kept.since(NOON)
    assert read == ["2026-11-03.jsonl", "2026-11-04.jsonl", "2026-11-05.jsonl"]
    read.clear()
    found = kept.last(NOON)
    assert found is not None
    assert found["run_id"] == "-1"
    assert read == ["2026-11-03.jsonl", "2026-11-02.jsonl"]


def test_the_last_one_is_strictly_before(kept: History) -> None:
    kept.put(record("old", NOON - timedelta(minutes=5)))
    kept.put(record("now"))
    found = kept.last(NOON)
    assert found is not None
    assert found["run_id"] == "old"
    assert (kept.last(NOON + timedelta(microseconds=1)) or {})["run_id"] == "now"


def test_what_is_too_long_ago_is_not_the_last_one(kept: History) -> None:
    kept.put(record("old", NOON - timedelta(days=3, hours=1)))
    assert kept.last(NOON, within_days=3) is None
    assert (kept.last(NOON, within_days=4) or {})["run_id"] == "old"


def test_where_nothing_was_put_there_is_nothing(kept: History) -> None:
    assert kept.since(NOON) == []
    assert kept.last(NOON) is None


def test_broken_lines_are_skipped_and_counted(
    kept: History, lane: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [
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
    lane.put(DAY, b"\n".join([*broken, b"", good, b" "]))
    with caplog.at_level(logging.WARNING):
        assert run_ids(kept.since(NOON)) == ["good"]
    assert f"skipped {len(broken)} lines" in caplog.text


def test_broken_lines_outlive_a_put(kept: History, lane: Any) -> None:
    lane.put(DAY, b'{"half a li\n')
    kept.put(record("one"))
    assert lane.objects("health/")[DAY].splitlines()[0] == b'{"half a li'
    assert run_ids(kept.since(NOON)) == ["one"]


def test_writers_at_the_same_time_lose_nothing(lane: Any) -> None:
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
    found = History(lane.storage, BUCKET, f"{lane.name}/health").since(NOON)
    assert run_ids(found) == [f"run-{number}" for number in range(writers)]


def test_a_writer_that_was_overtaken_reads_again(
    kept: History, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _overtake(kept, monkeypatch, lambda number: kept_put(lane, f"other-{number}"), times=3)
    kept.put(record("mine"))
    found = run_ids(kept.since(NOON))
    assert sorted(found) == ["mine", "other-0", "other-1", "other-2"]


def test_a_day_that_is_deleted_while_it_is_read_begins_anew(
    kept: History, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.put(record("old"))

    def delete(_: int) -> None:
        lane.storage.bucket(BUCKET).blob(f"{lane.name}/{DAY}").delete()

    _overtake(kept, monkeypatch, delete, times=1)
    kept.put(record("mine"))
    assert run_ids(kept.since(NOON)) == ["mine"]


def test_a_writer_that_is_always_overtaken_gives_up(
    kept: History, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_TRIES", 3)
    _overtake(kept, monkeypatch, lambda number: kept_put(lane, f"other-{number}"), times=99)
    with pytest.raises(PreconditionFailed):
        kept.put(record("mine"))
    assert run_ids(kept.since(NOON)) == ["other-0", "other-1", "other-2"]


def kept_put(lane: Any, run_id: str) -> None:
    History(lane.storage, BUCKET, f"{lane.name}/health").put(record(run_id))


def _overtake(
    kept: History, monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None], *, times: int
) -> None:
    """Let `act` happen after each of the first `times` reads of `kept`, before it writes."""
    done: list[int] = []
    real = kept._current

    def current(name: str) -> tuple[bytes, int]:
        found = real(name)
        if len(done) < times:
            done.append(1)
            act(len(done) - 1)
        return found

    monkeypatch.setattr(kept, "_current", current)


def test_a_huge_day_keeps_its_newest_lines(kept: History, lane: Any) -> None:
    lines = [
        json.dumps(record(f"{number}", NOON + timedelta(seconds=number), text="x" * 1000))
        for number in range(MAX_LINES_PER_DAY)
    ]
    lane.put(DAY, "\n".join(lines))
    kept.put(record("newest", NOON + timedelta(hours=11)))
    found = run_ids(kept.since(NOON))
    assert len(found) == MAX_LINES_PER_DAY
    assert found[0] == "1"
    assert found[-1] == "newest"


def test_a_day_stays_within_its_bytes(
    kept: History, lane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_BYTES_PER_DAY", 1000)
    for number in range(10):
        kept.put(record(f"{number}", NOON + timedelta(seconds=number), text="x" * 200))
        assert len(lane.objects("health/")[DAY]) <= 1000
    assert run_ids(kept.since(NOON)) == ["7", "8", "9"]


def test_a_record_that_is_too_large_is_refused(kept: History) -> None:
    with pytest.raises(ValueError, match="shorten what it quotes"):
        kept.put(record("one", text="x" * history.MAX_BYTES_PER_RECORD))
    assert kept.since(NOON) == []


def test_numbers_that_json_cannot_hold_become_null(kept: History, lane: Any) -> None:
    kept.put(record("one", lag=float("nan"), more=[float("inf"), {"x": float("-inf")}, 1.5]))
    assert b"NaN" not in lane.objects("health/")[DAY]
    assert kept.since(NOON)[0]["lag"] is None
    assert kept.since(NOON)[0]["more"] == [None, {"x": None}, 1.5]


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
def test_a_record_without_what_it_needs_is_refused(
    kept: History, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        kept.put(record("one") | change)


def test_a_missing_bucket_is_an_error(lane: Any) -> None:
    nowhere = History(lane.storage, "demo-project-nowhere")
    with pytest.raises(NotFound):
        nowhere.put(record("one"))
    with pytest.raises(NotFound):
        nowhere.since(NOON)


def test_other_objects_in_the_folder_are_left_alone(kept: History, lane: Any) -> None:
    lane.put("health/ds=2026-11-03.jsonl.bak", json.dumps(record("backup")))
    lane.put("health/ds=2026-11-03/part.jsonl", json.dumps(record("part")))
    kept.put(record("one"))
    assert run_ids(kept.since(NOON)) == ["one"]
    assert (kept.last(NOON + timedelta(hours=1)) or {})["run_id"] == "one"


@pytest.mark.parametrize("folder", ["", "/health", "health/", "a//b", "../up", "a/../b", "a\nb"])
def test_a_folder_that_is_no_name_is_refused(lane: Any, folder: str) -> None:
    with pytest.raises(ValueError, match="folder"):
        History(lane.storage, BUCKET, folder)


@pytest.mark.parametrize("bucket", ["", "gs://bucket", "bucket/folder", "Bucket"])
def test_a_bucket_that_is_no_name_is_refused(lane: Any, bucket: str) -> None:
    with pytest.raises(ValueError, match="bucket"):
        History(lane.storage, bucket)
