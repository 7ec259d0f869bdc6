"""What a run's tasks know of its prefetch, against the local Cloud Storage."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from imagen_ops.jobs.batch_job import BatchState, RowCounts
from imagen_ops.prefetch.state import Part, Prefetch, StateFile
from tests.conftest import BUCKET, Lane

AT = datetime(2026, 11, 22, tzinfo=UTC)


def part(number: int = 0, **values: Any) -> Part:
    fields = {"number": number, "folder": "gs://b/f/", "model": "m", "location": "global"}
    return Part(**fields, rows=10, likely_micro_usd=200_000, **values)


def state(*parts: Part) -> Prefetch:
    return Prefetch(run_id="r", parts=parts, left_out={"size": 3})


@pytest.fixture
def file(lane: Lane) -> StateFile:
    return StateFile(lane.storage, f"gs://{BUCKET}/{lane.name}/prefetch.json")


def test_what_is_written_is_read_again(file: StateFile) -> None:
    full = part(
        asked_at=AT, job="j", state=BatchState.RUNNING, counts=RowCounts(1, 2, 3), problem="p"
    )
    file.start(state(full, part(1)))
    assert file.read() == state(full, part(1))


def test_a_run_without_a_prefetch_has_no_state(file: StateFile) -> None:
    assert file.read() is None
    with pytest.raises(ValueError, match=r"prefetch.json is gone: clear the task `prepare`"):
        file.known()


def test_a_run_orders_once(file: StateFile) -> None:
    first = file.start(state(part()))
    assert file.start(state(part(), part(1))) != first, "nothing was asked for yet"
    asked = file.change(lambda was: was.with_part(part(asked_at=AT)))
    assert file.start(state()) == asked
    assert file.read() == asked


def test_tasks_that_write_at_once_lose_nothing_of_each_other(file: StateFile) -> None:
    file.start(state(*map(part, range(8))))

    def note(number: int) -> None:
        file.change(lambda was: was.with_part(part(number, job=f"job-{number}")))

    threads = [threading.Thread(target=note, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.job for each in file.known().parts] == [f"job-{number}" for number in range(8)]


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"schema_name": "imagen.other/1"}'])
def test_something_else_is_not_taken_for_a_state(
    lane: Lane, file: StateFile, content: bytes
) -> None:
    lane.put("prefetch.json", content)
    with pytest.raises(ValueError, match=r"prefetch.json: expected an imagen.prefetch/1"):
        file.known()


def test_a_problem_is_noted_once_and_there_are_never_too_many() -> None:
    noted = state()
    for text in ("a", "b", "a", *map(str, range(100))):
        noted = noted.with_problem(text)
    assert noted.problems[:3] == ("a", "b", "0")
    assert len(noted.problems) == 20
