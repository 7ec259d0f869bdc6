"""What is remembered of launches, in Cloud Storage."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagen_ops.records.launches import UNDER_WAY_FOR, Drain, Launches, Remembered
from tests.conftest import BUCKET

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def test_what_is_remembered_survives_json() -> None:
    remembered = Remembered(("2", "1"), {"run": NOW}, Drain(NOW, "somebody"))
    content = json.dumps(remembered.to_json()).encode()
    assert Remembered.from_json(content) == remembered
    assert Remembered.from_json(content).under_way == {"run": NOW}


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b'{"job_ids": 7, "drain": 1}'])
def test_what_is_not_readable_is_nothing(content: bytes) -> None:
    assert Remembered.from_json(content) == Remembered()


def test_the_newest_job_comes_first_and_few_are_kept() -> None:
    remembered = Remembered()
    for number in range(30):
        remembered = remembered.with_job(str(number), "run")
    assert remembered.with_job("25", "run").job_ids[:3] == ("25", "29", "28")
    assert len(remembered.job_ids) == 10


def test_a_launch_is_under_way_until_it_is_answered_or_its_time_is_over() -> None:
    remembered = Remembered().with_launch("one", NOW)
    assert remembered.launch_under_way(NOW + UNDER_WAY_FOR / 2)
    assert not remembered.launch_under_way(NOW + UNDER_WAY_FOR)
    assert not remembered.with_job("1", "one").launch_under_way(NOW)
    assert not remembered.without("one").launch_under_way(NOW)
    two = remembered.with_launch("two", NOW)
    assert two.with_job("1", "one").launch_under_way(NOW), "the other one is not answered"


def test_a_launch_whose_time_is_over_is_forgotten_at_the_next_one() -> None:
    old = Remembered().with_launch("old", NOW - timedelta(days=1))
    assert set(old.with_launch("new", NOW).under_way) == {"new"}


@pytest.mark.slow
def test_concurrent_writers_all_succeed(lane: Any) -> None:
    launches = Launches(lane.storage, BUCKET)
    threads = [
        threading.Thread(target=launches.launched, args=(lane.name, "run", str(number)))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(launches.read(lane.name).job_ids) == [str(number) for number in range(6)]


@pytest.mark.slow
def test_names_that_were_launched_lately_are_found_by_their_beginning(lane: Any) -> None:
    launches, began = Launches(lane.storage, BUCKET), datetime.now(UTC) - timedelta(minutes=1)
    assert launches.read(f"{lane.name}-one") == Remembered()
    for name in ("one", "two"):
        launches.begin(f"{lane.name}-{name}", "run")
    assert launches.names_since(f"{lane.name}-o", began) == [f"{lane.name}-one"]
    assert launches.names_since(lane.name, began + timedelta(hours=1)) == []
