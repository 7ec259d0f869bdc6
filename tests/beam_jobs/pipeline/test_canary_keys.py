"""Public keys that are read when they are needed, however many canaries arrive."""

import logging
import time

import pytest

from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.serving import Serving
from beam_jobs.engine.model_handler import Engine
from beam_jobs.images.location import Location
from beam_jobs.outcomes import CANARY_ATTRIBUTE, Failure, Prediction, Reason
from beam_jobs.pipeline import canary_keys
from beam_jobs.pipeline.canary_keys import REFRESH_S, TRUSTED_S, CanaryKeys, keys_at
from beam_jobs.pipeline.transforms import Parse
from beam_jobs.prompts.body import InvalidPromptError
from beam_jobs.prompts.canary import READ_EVERY_S, SIGNATURE_ATTRIBUTE
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.incoming import RawPrompt
from tests.canaries import OURS, THEIRS, canary, keys_object, public

DEFAULTS = PromptDefaults("gemini-3.1-flash-image", frozenset())
URL = "gs://somewhere/keys/canary.json"


@pytest.fixture(scope="module")
def engine():
    """Return an engine whose first call of a model or of storage would fail."""
    return Engine(
        JobConfig(
            responses_topic="",
            dead_letter_topic="",
            images_location=Location("no-such-bucket", ""),
            defaults=DEFAULTS,
            project="",
            serving=Serving(call_timeout_s=1.0),
            max_in_flight=8,
            requests_per_minute=None,
            max_retry_s=1.0,
        )
    )


class Bucket:
    """A bucket with one object, and a clock."""

    def __init__(self, content: bytes = b"") -> None:
        self.content: bytes | Exception = content
        self.reads = 0
        self.now_s = 1000.0
        self.keys = CanaryKeys(URL, self.read, lambda: self.now_s)

    def read(self) -> bytes:
        self.reads += 1
        if isinstance(self.content, Exception):
            raise self.content
        return self.content

    def accepts(self, key=OURS) -> bool:
        attributes = canary(key=key)
        try:
            self.keys.check(attributes[CANARY_ATTRIBUTE], attributes[SIGNATURE_ATTRIBUTE])
        except InvalidPromptError:
            return False
        return True


def test_keys_are_read_once_for_many_canaries_and_again_after_some_minutes():
    bucket = Bucket(keys_object())
    assert all(bucket.accepts() for _ in range(50))
    assert bucket.reads == 1
    bucket.now_s += REFRESH_S + 1
    assert bucket.accepts()
    assert bucket.reads == 2


def test_a_key_that_was_published_after_the_last_read_counts_as_soon_as_airflow_uses_it():
    """Airflow waits for `READ_EVERY_S` first, because strangers may have caused a read just now."""
    bucket = Bucket()
    assert not bucket.accepts(THEIRS)
    bucket.content = keys_object()
    assert not bucket.accepts()
    bucket.now_s += READ_EVERY_S
    assert bucket.accepts()
    assert bucket.reads == 2


def test_a_key_that_was_taken_out_counts_no_more_after_some_minutes():
    bucket = Bucket(keys_object())
    assert bucket.accepts()
    bucket.content = keys_object(public(THEIRS))
    bucket.now_s += REFRESH_S + 1
    assert not bucket.accepts()


def test_without_storage_known_keys_count_for_an_hour_and_then_nothing_does(caplog):
    bucket = Bucket(keys_object())
    assert bucket.accepts()
    bucket.content = OSError("storage is down")
    with caplog.at_level(logging.WARNING):
        for _ in range(int(TRUSTED_S / 60)):
            bucket.now_s += 60
            assert bucket.accepts()
        bucket.now_s += 60
        assert not bucket.accepts()
    assert "OSError: storage is down" in caplog.messages[0]
    bucket.content = keys_object()
    bucket.now_s += READ_EVERY_S
    assert bucket.accepts()


@pytest.mark.parametrize("content", [OSError("down"), b"<html>"])
def test_without_ever_having_read_the_keys_every_canary_is_refused(content):
    bucket = Bucket()
    bucket.content = content
    with pytest.raises(InvalidPromptError, match="the public keys cannot be read"):
        bucket.keys.check(*canary().values())


@pytest.mark.parametrize(
    "count",
    [10_000, pytest.param(100_000, marks=pytest.mark.full)],
)
def test_strangers_canaries_cost_one_read_and_become_dead_letters(monkeypatch, engine, count):
    bucket = Bucket(keys_object())
    monkeypatch.setitem(canary_keys._keys, URL, bucket.keys)
    parse = Parse(DEFAULTS, URL, "b-1")
    theirs = canary(key=THEIRS)
    forged = f"{public().id}.{'A' * 86}"
    kinds = [
        {CANARY_ATTRIBUTE: "12000"},
        {CANARY_ATTRIBUTE: "0a" * 16},
        theirs,
        {**theirs, SIGNATURE_ATTRIBUTE: forged},
    ]
    messages = [
        *(RawPrompt(b"", kinds[n % len(kinds)], f"message-{n}") for n in range(count)),
        RawPrompt(b"", canary("0a" * 16), "ours"),
    ]
    began = time.thread_time()
    parsed = [item for message in messages for item in parse.process(message)]
    assert time.thread_time() - began < count / 1000, "0.1 ms each, and ten times that is too much"
    assert bucket.reads == 1
    *refused, ours = engine.run(parsed)
    assert len(refused) == count
    assert {(type(one), one.reason, one.retryable, one.canary) for one in refused} == {
        (Failure, Reason.INVALID_PROMPT, False, True)
    }
    assert len({one.deduplication_key for one in refused}) == count
    assert isinstance(ours, Prediction)
    assert (ours.prompt_id, ours.images) == (f"~canary:{'0a' * 16}", ())


def test_a_job_without_keys_refuses_every_canary():
    (item,) = Parse(DEFAULTS, None, "b-1").process(RawPrompt(b"", canary(), "1"))
    assert isinstance(item, Failure)
    assert "--canary_keys" in item.detail


def test_a_process_has_one_set_of_keys_for_each_object():
    assert keys_at(URL + "x") is keys_at(URL + "x") is not keys_at(URL + "y")


@pytest.mark.slow
def test_keys_are_read_from_cloud_storage(lane):
    path = f"gs://demo-project-imagen/{lane.name}/keys.json"
    with pytest.raises(InvalidPromptError, match="not among the public keys"):
        keys_at(path).check(*canary().values())
    keys = CanaryKeys(path, canary_keys._reader(lane.put("keys.json", keys_object())))
    keys.check(*canary().values())


@pytest.mark.slow
def test_a_stream_answers_a_signed_canary_and_a_strangers_is_a_dead_letter(
    cloud, lane, start_stream
):
    stream = start_stream(canary_keys=lane.put("keys/canary.json", keys_object()))
    before = cloud.models()["calls"]
    lane.publish("", **canary("0a" * 16), team="ads")
    lane.publish("", **canary(key=THEIRS))
    lane.publish("a fox", **canary())
    (prediction,) = lane.predictions(1)
    assert prediction["prompt_id"] == f"~canary:{'0a' * 16}"
    assert prediction["message_attributes"] == {
        "canary": "0a" * 16,
        "prompt_id": prediction["prompt_id"],
        "deduplication_key": prediction["deduplication_key"],
        "source": "stream",
    }
    assert prediction["images"] == []
    refused = lane.dead_letters(2)
    assert {one["reason"] for one in refused} == {"INVALID_PROMPT"}
    assert all("canary" not in one["message_attributes"] for one in refused)
    assert stream.drain() == "DRAINED"
    assert cloud.models()["calls"] == before
    counters = stream.counters()
    assert (counters["canaries"], counters["refused_canaries"]) == (1, 2)
    assert not {"prompts", "predictions", "failures"} & counters.keys()
