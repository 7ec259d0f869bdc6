"""The index of the newest outcomes: what is in it, and that no prompt ever fails because of it."""

import dataclasses
import datetime
import itertools
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time

import apache_beam as beam
import pytest
from apache_beam.internal import pickler
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from beam_jobs import backfill
from beam_jobs.images import recent_index
from beam_jobs.images.index_lines import OBJECTS_PER_S, IndexLines, gather_s
from beam_jobs.images.location import KINDS, PREDICTIONS, Location
from beam_jobs.outcomes import Failure, Prediction, Reason, Work
from beam_jobs.pipeline.transforms import Encode
from tests.canaries import canary, keys_object
from tests.conftest import PROJECT, ROOT

SECRET = "a fox that nobody may read of in a log"


def prediction(prompt="a fox", **others):
    given = {
        "prompt_id": "order-7",
        "deduplication_key": "0f" * 32,
        "digest": "ab" * 16,
        "prompt": prompt,
        "images": ("gs://b/images/ab/x-0.png", "gs://b/images/ab/x-1.png"),
        "model": "gemini-3.1-flash-image",
        "source": "stream",
        "reused": False,
        "created_at": "2026-11-01T00:00:00+00:00",
        "latency_ms": 1500,
        **others,
    }
    return Prediction(**given)


def failure(body=b"a hare", **others):
    given = {
        "prompt_id": "order-8",
        "deduplication_key": "0f" * 32,
        "reason": Reason.BLOCKED,
        "detail": "refused",
        "retryable": False,
        "attempts": 1,
        "body": body,
        "source": "stream",
        "work": Work(calls=1),
        **others,
    }
    return Failure(**given)


@pytest.fixture
def location(lane):
    return Location.parse(lane.images_location)


@pytest.fixture
def late(lane):
    """A location in a bucket that does not exist yet, and a function that creates it."""
    name = f"{lane.name}-late"
    return Location(name, "images/"), lambda: lane.storage.create_bucket(name)


@pytest.fixture(autouse=True)
def _alone():
    """Leave no entries that wait to be written."""
    yield
    recent_index.flush(0)


def objects(storage, location, kind):
    """Return the entries of each object of a kind, by object name, in name order."""
    prefix = f"{location.prefix}recent/{kind}/"
    return {
        blob.name.removeprefix(prefix): [
            json.loads(line) for line in blob.download_as_bytes().decode("ascii").splitlines()
        ]
        for blob in storage.list_blobs(location.bucket, prefix=prefix)
    }


def lines(storage, location, kind="predictions"):
    """Return the entries of a kind, oldest first."""
    found = objects(storage, location, kind)
    return [line for name in sorted(found, reverse=True) for line in found[name]]


def prompts(storage, location, kind="predictions"):
    return [line["prompt"] for line in lines(storage, location, kind)]


# Entries


def test_a_prediction_and_a_failure_leave_an_entry_each_beside_the_images(lane, location):
    before = time.time()
    recent_index.record_outcome(prediction(attributes={"tenant": "acme"}), location)
    recent_index.record_outcome(failure(attributes={"tenant": "acme"}), location)
    recent_index.flush(30)
    (entry,) = lines(lane.storage, location, "predictions")
    assert entry.pop("at").endswith("+00:00")
    assert entry == {
        "schema": "imagen.recent/1",
        "prompt_id": "order-7",
        "digest": "ab" * 16,
        "prompt": "a fox",
        "model": "gemini-3.1-flash-image",
        "images": ["gs://b/images/ab/x-0.png", "gs://b/images/ab/x-1.png"],
        "parameters": {},
        "attributes": {"tenant": "acme"},
        "source": "stream",
        "reused": False,
        "latency_ms": 1500,
        "cost_usd": 0.0,
    }
    (entry,) = lines(lane.storage, location, "failures")
    assert entry.pop("at").endswith("+00:00")
    assert entry == {
        "schema": "imagen.recent/1",
        "prompt_id": "order-8",
        "prompt": "a hare",
        "reason": "BLOCKED",
        "detail": "refused",
        "retryable": False,
        "attributes": {"tenant": "acme"},
        "source": "stream",
    }
    names = [name for name in lane.objects("images/") if "/recent/" in name]
    assert len(names) == 2
    for name in names:
        counted, _, rest = name.rpartition("/")[2].partition("-")
        assert len(counted) == 13
        assert len(rest) == len("01234567.jsonl")
        assert before - 1 <= (9_999_999_999_999 - int(counted)) / 1000 <= time.time() + 1


def test_a_canary_is_not_in_it(lane, location):
    recent_index.record_outcome(prediction("", attributes={"canary": "probe-1"}), location)
    recent_index.record_outcome(prediction("a fox"), location)
    recent_index.flush(30)
    assert prompts(lane.storage, location) == ["a fox"]


@pytest.mark.parametrize("character", ["x", "ж", "雪", "🦊"])
def test_a_long_prompt_is_cut_whatever_it_is_written_in(character):
    whole = character * 8000
    assert recent_index.index_entry(prediction(whole))["prompt"] == character * 500
    assert recent_index.index_entry(failure(whole.encode()))["prompt"] == character * 500
    assert recent_index.index_entry(failure(whole[:500].encode()))["prompt"] == character * 500
    assert (
        recent_index.index_entry(failure(b"x" + whole.encode()))["prompt"] == "x" + character * 499
    )
    assert recent_index.index_entry(failure(detail=whole))["detail"] == character * 500


def test_an_entry_has_all_attributes_or_none_if_they_are_too_long():
    kept = {"tenant": "acme", "x": "v" * 1024}
    assert recent_index.index_entry(prediction(attributes=kept))["attributes"] == kept
    assert recent_index.index_entry(failure(attributes=kept))["attributes"] == kept
    too_long = {"x": "v" * 2000}
    for outcome in (prediction(attributes=too_long), failure(attributes=too_long)):
        assert "attributes" not in recent_index.index_entry(outcome)


def test_a_body_that_is_not_text_is_shown_with_replacement_characters(lane, location):
    recent_index.record_outcome(
        failure(b"\xff\xfea \x00 hare\xe9", reason=Reason.INVALID_PROMPT), location
    )
    recent_index.flush(30)
    assert prompts(lane.storage, location, "failures") == ["\ufffd\ufffda \x00 hare\ufffd"]


def test_a_prompt_of_many_lines_is_one_entry(lane, location):
    odd = 'one\ntwo\r\nthree\u2028four\u0085five "six"'
    recent_index.record_outcome(prediction(odd), location)
    recent_index.flush(30)
    assert prompts(lane.storage, location) == [odd]


# Objects


def test_names_sort_newest_first_and_an_object_ends_with_its_newest_entry(lane, location):
    for number in range(450):
        recent_index.record_outcome(prediction(f"fox {number}"), location)
    recent_index.flush(30)
    recent_index.record_outcome(prediction("fox 450"), location)
    recent_index.flush(30)
    found = list(objects(lane.storage, location, "predictions").values())
    entry = [[line["prompt"] for line in each] for each in found]
    assert max(map(len, entry)) == 200
    assert entry[0] == ["fox 450"]
    oldest_first = [prompt for each in reversed(entry) for prompt in each]
    assert oldest_first == [f"fox {number}" for number in range(451)]
    read = recent_index.read_newest(lane.storage, location, PREDICTIONS, 1000)
    assert [line["prompt"] for line in read] == oldest_first[::-1]


def by_day(storage, location):
    """Return the entries of each object of the index by day, by object name."""
    prefix = f"{location.prefix}index/"
    return {
        blob.name.removeprefix(prefix): [
            json.loads(line) for line in blob.download_as_bytes().splitlines()
        ]
        for blob in storage.list_blobs(location.bucket, prefix=prefix)
    }


def test_predictions_are_in_the_index_of_their_day_too_in_few_objects(
    lane, location, monkeypatch, eventually
):
    monkeypatch.setattr(recent_index, "BETWEEN_OBJECTS_S", 0.02)
    monkeypatch.setattr(recent_index, "DAY_MAX_LINES", 30)
    for number in range(10):
        recent_index.record_outcome(prediction(f"fox {number}"), location)
        recent_index.record_outcome(failure(), location)
    eventually(lambda: lines(lane.storage, location, "failures"), what="the newest")
    assert by_day(lane.storage, location) == {}, "there is time until an object is due"
    for number in range(10, 35):
        recent_index.record_outcome(prediction(f"fox {number}"), location)
    eventually(lambda: by_day(lane.storage, location), what="an object that is full")
    recent_index.flush(30)
    found = by_day(lane.storage, location)
    today = {datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(d) for d in (0, 1)}
    assert {name[:10] for name in found} <= {day.isoformat() for day in today}
    prompts = [[entry["prompt"] for entry in found[name]] for name in sorted(found, reverse=True)]
    assert [len(each) for each in prompts] == [30, 5]
    assert [*itertools.chain(*prompts)] == [f"fox {number}" for number in range(35)]


def test_an_object_of_a_day_is_due_after_a_while(monkeypatch):
    now = itertools.count(100.0, 50.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    waiting = IndexLines(
        Location("b", "images/").day_index, max_lines=9, max_waiting=9, every_s=120.0
    )
    assert waiting.due_in_s() is None
    waiting.add(b"{}\n")
    assert [waiting.due_in_s() for _ in range(3)] == [70.0, 20.0, 0.0]


def test_a_clock_that_is_set_back_does_not_change_the_order(lane, location, monkeypatch):
    monkeypatch.setattr(recent_index, "MAX_LINES", 1)
    real, back = time.time_ns, iter(range(0, 10**13, 10**12))
    monkeypatch.setattr(time, "time_ns", lambda: real() - next(back))
    for number in range(3):
        recent_index.record_outcome(prediction(f"fox {number}"), location)
    recent_index.flush(30)
    assert prompts(lane.storage, location) == ["fox 0", "fox 1", "fox 2"]


@pytest.mark.slow
def test_an_object_of_a_kind_is_written_once_in_an_interval(
    lane, location, monkeypatch, eventually
):
    monkeypatch.setattr(recent_index, "BETWEEN_OBJECTS_S", 0.4)

    def written():
        recent_index.record_outcome(prediction(), location)
        recent_index.record_outcome(failure(), location)
        return len(objects(lane.storage, location, "failures")) >= 4

    eventually(written, what="four objects")
    for kind in KINDS:
        counted = [int(name[:13]) for name in objects(lane.storage, location, kind)]
        assert len(counted) >= 3
        assert all(b - a >= 390 for a, b in itertools.pairwise(counted)), counted


def test_many_workers_together_write_few_objects(lane, location, monkeypatch, eventually):
    monkeypatch.setattr(recent_index, "BETWEEN_OBJECTS_S", 0.01)
    for workers in (20, 100, 1000):
        each_s = max(1.0, gather_s(workers))
        assert workers / each_s <= OBJECTS_PER_S
    recent_index.record_outcome(prediction("a fox"), location, 10_000)
    index = recent_index._indexes[location]
    eventually(lambda: not index._work.is_set(), within_s=30, what="a look")
    assert prompts(lane.storage, location) == [], "it gathers more"
    recent_index.flush(30)
    assert prompts(lane.storage, location) == ["a fox"]


def test_the_writer_rests_while_no_prompt_finishes(lane, location, monkeypatch, eventually):
    monkeypatch.setattr(recent_index, "BETWEEN_OBJECTS_S", 0.02)
    recent_index.record_outcome(prediction(), location)
    eventually(lambda: lines(lane.storage, location), what="the line")
    index = recent_index._indexes[location]
    eventually(lambda: not index._work.is_set(), within_s=30, what="the writer's rest")


def test_lines_that_are_no_entries_are_skipped(lane, location):
    recent_index.record_outcome(prediction("a fox"), location)
    recent_index.flush(30)
    junk = b'\n\xff\n{"prompt": "cut o\n[1]\n{"schema": "other/1"}\n'
    lane.put("images/recent/predictions/0000000000000-00000000.jsonl", junk)
    read = recent_index.read_newest(lane.storage, location, PREDICTIONS, 10)
    assert [line["prompt"] for line in read] == ["a fox"]


def test_no_more_objects_are_read_than_asked_for(lane, location):
    for number in range(3):
        recent_index.record_outcome(prediction(f"fox {number}"), location)
        recent_index.flush(30)
    read = recent_index.read_newest(lane.storage, location, PREDICTIONS, 2)
    assert [line["prompt"] for line in read] == ["fox 2", "fox 1"]


# Errors affect only the index


@pytest.fixture
def tries(monkeypatch):
    """Record the names of all objects that the writer tries to create."""
    real, seen = recent_index._Index._create, []

    def create(self, name, content):
        seen.append(name)
        real(self, name, content)

    monkeypatch.setattr(recent_index._Index, "_create", create)
    return seen


def test_failing_storage_is_logged_once_and_gets_the_entries_when_it_is_back(
    lane, late, monkeypatch, eventually, caplog, tries
):
    location, mend = late
    monkeypatch.setattr(recent_index, "BETWEEN_OBJECTS_S", 0.02)
    monkeypatch.setattr(recent_index, "AFTER_ERROR_S", 0.02)
    recent_index.record_outcome(prediction(SECRET), location)
    eventually(lambda: len(tries) >= 5, what="five tries")
    recent_index.record_outcome(prediction("a hare"), location)
    recent_index.record_outcome(failure(SECRET.encode()), location)
    mend()
    eventually(lambda: len(lines(lane.storage, location)) == 2, what="the lines")
    eventually(lambda: lines(lane.storage, location, "failures"), what="the line of the failure")
    assert prompts(lane.storage, location) == [SECRET, "a hare"]
    (record,) = [record for record in caplog.records if record.name == recent_index.__name__]
    assert record.levelno == logging.WARNING
    assert f"gs://{location.bucket}/images/" in record.getMessage()
    assert "NotFound: 404" in record.getMessage()
    assert SECRET not in caplog.text


def test_a_lost_answer_does_not_create_a_second_object(lane, location, monkeypatch, eventually):
    monkeypatch.setattr(recent_index, "BETWEEN_OBJECTS_S", 0.02)
    monkeypatch.setattr(recent_index, "AFTER_ERROR_S", 0.02)
    real, lost = recent_index._Index._create, []

    def create(self, name, content):
        real(self, name, content)
        if not lost:
            lost.append(name)
            raise ConnectionError("cut")

    monkeypatch.setattr(recent_index._Index, "_create", create)
    recent_index.record_outcome(prediction("a fox"), location)
    eventually(lambda: lost, what="the first try")
    recent_index.record_outcome(prediction("a hare"), location)
    eventually(lambda: len(lines(lane.storage, location)) >= 2, what="both lines")
    assert prompts(lane.storage, location) == ["a fox", "a hare"]


def test_waiting_entries_are_bounded_and_the_oldest_are_dropped(
    lane, late, monkeypatch, eventually, tries
):
    location, mend = late
    monkeypatch.setattr(recent_index, "BETWEEN_OBJECTS_S", 0.02)
    recent_index.record_outcome(prediction("the first"), location)
    eventually(lambda: tries, what="a first try")
    for number in range(5000):
        recent_index.record_outcome(prediction(f"fox {number}"), location)
    mend()
    recent_index.flush(60)
    entry = prompts(lane.storage, location)
    assert entry == ["the first", *(f"fox {number}" for number in range(3000, 5000))]


def test_a_storage_that_hangs_holds_up_neither_prompts_nor_the_end(monkeypatch, eventually):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(recent_index, "BETWEEN_OBJECTS_S", 0.0)
        # So that waiting for a request would take longer than even a busy machine needs.
        monkeypatch.setattr(recent_index, "REQUEST_TIMEOUT_S", 240.0)
        location = Location("hanging", "images/")
        recent_index.record_outcome(prediction(), location)
        server.settimeout(60)
        connection, _ = server.accept()  # a write is waiting for its answer
        with connection:
            started = time.monotonic()
            for _ in range(3000):
                recent_index.record_outcome(prediction(), location)
            noted = time.monotonic()
            recent_index.flush(0.5)
            ended = time.monotonic()
    assert noted - started < 60
    assert 0.45 <= ended - noted < 60


def test_an_error_of_the_index_does_not_fail_the_prompt(caplog, monkeypatch, lane, location):
    recent_index.record_outcome(
        dataclasses.replace(failure(SECRET.encode()), detail=None), location
    )
    (record,) = [record for record in caplog.records if record.name == recent_index.__name__]
    assert record.getMessage().endswith(": TypeError")
    recent_index.flush(0)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        recent_index.record_outcome(prediction("a fox"), location)
    recent_index.record_outcome(prediction("a hare"), location)
    recent_index.flush(30)
    assert prompts(lane.storage, location) == ["a fox", "a hare"]
    assert SECRET not in caplog.text


def test_messages_come_out_of_a_pipeline_whose_index_cannot_be_written(late):
    location, _ = late
    outcomes = [prediction(f"fox {number}") for number in range(50)]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        encoded = pipeline | beam.Create(outcomes) | beam.ParDo(Encode(location, 1))
        entry = encoded | beam.Map(lambda message: json.loads(message.data)["prompt"])
        assert_that(entry, equal_to([f"fox {number}" for number in range(50)]))


def test_a_pickled_step_does_not_hold_the_writer(lane, location):
    step = Encode(location, 1)
    before = len(pickler.dumps(step))
    list(step.process(prediction()))
    assert len(pickler.dumps(step)) == before
    expected = {"_location": location, "_workers": 1}
    assert vars(pickler.loads(pickler.dumps(step))) == vars(step) == expected
    assert pickle.loads(pickle.dumps(location)) == location


# Processes

NOTE_AND_END = """
from beam_jobs.images import recent_index
from beam_jobs.images.location import Location
from beam_jobs.outcomes import Failure, Prediction, Reason

def note(prompt):
    outcome = Prediction(
        prompt_id="order-7",
        deduplication_key="0f" * 32,
        digest="ab",
        prompt=prompt,
        images=(),
        model="m",
        source="stream",
        reused=False,
        created_at="now",
        latency_ms=1,
    )
    recent_index.record_outcome(outcome, Location.parse({url!r}))

for number in range(450):
    note(f"fox {{number}}")
recent_index.record_outcome(
    Failure(
        prompt_id="order-8",
        deduplication_key="0f" * 32,
        reason=Reason.BLOCKED,
        detail="refused",
        retryable=False,
        attempts=1,
        body=b"a hare",
    ),
    Location.parse({url!r}),
)
{then}
"""
# On a busy machine, storing 450 entries may take longer than a process normally waits at its exit.
PATIENT = "recent_index.flush.__defaults__ = (60.0,)\n"


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_a_process_writes_its_last_entries_when_it_exits(lane, location):
    done = run(NOTE_AND_END.format(url=lane.images_location, then=PATIENT))
    assert (done.returncode, done.stderr) == (0, "")
    assert prompts(lane.storage, location) == [f"fox {number}" for number in range(450)]
    assert prompts(lane.storage, location, "failures") == ["a hare"]


@pytest.mark.slow
def test_a_process_that_cannot_reach_storage_ends_in_time(lane):
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"http://127.0.0.1:{server.getsockname()[1]}"
        code = NOTE_AND_END.format(
            url=lane.images_location,
            # Longer than any delay of a busy machine.
            then="recent_index.REQUEST_TIMEOUT_S = 120.0\n"
            "import atexit, time\n"
            "began = time.monotonic()\n"
            "import sys\n"
            "end = lambda: print(time.monotonic() - began)\n"
            "atexit.unregister(recent_index.flush)\n"
            "atexit.register(end)\n"
            "atexit.register(recent_index.flush)",
        )
        done = run(code, STORAGE_EMULATOR_HOST=host)
    assert done.returncode == 0
    assert 2.9 <= float(done.stdout) < 30


# Jobs


@pytest.mark.slow
def test_a_stream_leaves_entries_of_predictions_and_failures(
    lane, location, start_stream, eventually
):
    stream = start_stream(canary_keys=lane.put("keys/canary.json", keys_object()))
    lane.publish(
        {"prompt": "Two foxes", "images": 2, "id": "order-7"}, b"\xff\xfe", "fault:blocked"
    )
    lane.publish("", **canary())
    predictions = {one["prompt_id"]: one for one in lane.predictions(2)}
    assert stream.drain() == "DRAINED"
    recent_index.flush(30)
    (entry,) = lines(lane.storage, location)
    published = predictions["order-7"]
    assert {name: entry[name] for name in ("prompt_id", "prompt", "model", "images", "source")} == {
        name: published[name] for name in ("prompt_id", "prompt", "model", "images", "source")
    }
    assert entry["latency_ms"] == published["latency_ms"]
    failures = {line["reason"]: line for line in lines(lane.storage, location, "failures")}
    assert failures.keys() == {"INVALID_PROMPT", "BLOCKED"}
    assert failures["INVALID_PROMPT"]["prompt"] == "\ufffd\ufffd"
    assert failures["BLOCKED"]["prompt"] == "fault:blocked"


@pytest.mark.slow
def test_a_backfill_leaves_entries_of_predictions_and_failures(cloud, lane, location):
    rows = '{"prompt": "A pier"}\n{"prompt": "A pier", "imges": 2}\n'
    path = lane.put("night/rows.jsonl", rows)
    assert backfill.main(lane.options(prompts=path, source="backfill:night-1")) == 0
    recent_index.flush(30)
    (entry,) = lines(lane.storage, location)
    assert (entry["prompt"], entry["source"]) == ("A pier", "backfill:night-1")
    (entry,) = lines(lane.storage, location, "failures")
    assert (entry["reason"], entry["source"]) == ("INVALID_PROMPT", "backfill:night-1")
    assert "imges" in entry["detail"]
    assert json.loads(entry["prompt"]) == {"prompt": "A pier", "imges": 2}


@pytest.mark.slow
def test_a_finished_backfill_leaves_its_last_lines(cloud, lane, location):
    path = lane.put("night/a.txt", "\n".join(f"A harbour {number}" for number in range(300)))
    options = lane.options(prompts=path, max_in_flight=64)
    job = (
        "import sys; from beam_jobs import backfill; from beam_jobs.images import recent_index; "
        f"{PATIENT}raise SystemExit(backfill.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", job, f"--project={PROJECT}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(prompts(lane.storage, location)) == sorted(
        f"A harbour {number}" for number in range(300)
    )
