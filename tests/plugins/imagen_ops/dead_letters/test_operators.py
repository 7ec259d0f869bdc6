"""Dead letters replayed and archived, through the local Pub/Sub and Cloud Storage."""

import base64
import json
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beam_jobs.outcomes import Failure, Reason, encode
from imagen_ops.records.folders import REPLAY_RECORDS
from tests.conftest import Cloud
from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _short_pulls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagen_ops.google.pubsub._PULL_SECONDS", 0.5)


@pytest.fixture
def replay(run_task: Run, deployment: Deployment) -> Run:
    from imagen_ops.dead_letters.operators import ReplayDeadLetters

    def run(run_id: str = "manual__1", **form: Any) -> dict[str, Any]:
        result = run_task(ReplayDeadLetters(task_id="replay"), run_id=run_id, params=form)
        return dict(result)

    return run


def failure(body: bytes, reason: str = "UNAVAILABLE", **others: Any) -> Failure:
    given: dict[str, Any] = {
        "prompt_id": "p",
        "detail": "so it is",
        "retryable": reason not in ("BLOCKED", "INVALID_PROMPT"),
        "attempts": 3,
        **others,
    }
    return Failure(reason=Reason(reason), body=body, **given)


def bury(deployment: Deployment, *letters: Failure | bytes) -> None:
    """Publish dead letters, or what passes for them."""
    topic, publisher = deployment.lane.topic("dead-letters"), deployment.lane.publisher
    sent = []
    for letter in letters:
        body, attributes = (letter, {}) if isinstance(letter, bytes) else encode(letter)
        sent.append(publisher.publish(topic, body, **attributes))
    for future in sent:
        future.result(timeout=30)


def drained(deployment: Deployment, kind: str) -> list[tuple[bytes, dict[str, str]]]:
    """Take all that is there."""
    subscriber, name = deployment.lane.subscriber, deployment.lane.subscription(kind)
    found: list[tuple[bytes, dict[str, str]]] = []
    while True:
        pulled = subscriber.pull(
            subscription=name, max_messages=1000, return_immediately=True, timeout=10
        ).received_messages
        if not pulled:
            return found
        subscriber.acknowledge(subscription=name, ack_ids=[one.ack_id for one in pulled])
        found += [(one.message.data, dict(one.message.attributes)) for one in pulled]


def bodies(deployment: Deployment, kind: str) -> Counter[bytes]:
    return Counter(body for body, _ in drained(deployment, kind))


def letters(deployment: Deployment) -> Counter[bytes]:
    """Take the prompts of the dead letters that are there."""
    return Counter(
        base64.b64decode(json.loads(body)["body"])
        for body, _ in drained(deployment, "dead-letters")
    )


def archived(deployment: Deployment) -> dict[str, list[dict[str, Any]]]:
    """Return the archive's lines by reason."""
    found: dict[str, list[dict[str, Any]]] = {}
    client = deployment.clients.storage.client()
    for blob in client.list_blobs(deployment.settings.bucket, prefix="dead-letters/reason="):
        reason = blob.name.split("/")[1].removeprefix("reason=")
        today = datetime.now(UTC).date()
        assert blob.name.split("/")[2] in {f"ds={today}", f"ds={today - timedelta(days=1)}"}
        lines = blob.download_as_bytes().splitlines()
        found.setdefault(reason, []).extend(json.loads(line) for line in lines)
    return found


def records(deployment: Deployment) -> list[dict[str, Any]]:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    return list(deployment.clients.history(REPLAY_RECORDS).since(hour_ago))


def test_retryable_ones_come_back_as_prompts_byte_for_byte_with_their_attributes(
    deployment: Deployment, replay: Run
) -> None:
    given = {
        b"A fox": {},
        b'{"prompt":  "A hare", "id": "order-7"}\n': {"team": "ads"},
        "雪の中の柴犬".encode(): {"topic": "t", "data": "d", "timeout": "5", "retry": "no"},
        bytes(range(256)): {"self": "x", "messages": "y", "replays": "1"},
    }
    reasons = ["UNAVAILABLE", "NO_IMAGE", "MODEL_ERROR", "STORAGE_ERROR"]
    bury(
        deployment,
        *(
            failure(body, reason, attributes=attributes)
            for (body, attributes), reason in zip(given.items(), reasons, strict=True)
        ),
    )
    result = replay()
    assert result["replayed"] == dict.fromkeys(sorted(reasons), 1)
    assert result["archived"] == result["left"] == {}
    assert result["unreadable"] == 0
    expected = {
        body: {**attributes, "replays": str(int(attributes.get("replays", 0)) + 1)}
        for body, attributes in given.items()
    }
    came = drained(deployment, "prompts")
    assert len(came) == 4
    assert dict(came) == expected
    assert not drained(deployment, "dead-letters")
    assert not archived(deployment)


def test_a_fourth_attempt_is_archived(deployment: Deployment, replay: Run) -> None:
    attributes: dict[str, str] = {"team": "ads"}
    for number in (1, 2, 3):
        bury(deployment, failure(b"A fox", attributes=attributes))
        assert replay(f"run-{number}")["replayed"] == {"UNAVAILABLE": 1}
        ((body, attributes),) = drained(deployment, "prompts")
        assert (body, attributes) == (b"A fox", {"team": "ads", "replays": str(number)})
    bury(deployment, failure(b"A fox", attributes=attributes))
    result = replay("run-4")
    assert (result["replayed"], result["archived"]) == ({}, {"UNAVAILABLE": 1})
    assert not drained(deployment, "prompts")
    assert not drained(deployment, "dead-letters")
    ((reason, (line,)),) = archived(deployment).items()
    assert reason == "UNAVAILABLE"
    assert line["why"] == "replayed 3 times, max_replays is 3"
    assert line["letter"]["attributes"] == attributes


def test_what_is_not_retryable_is_archived_by_reason(deployment: Deployment, replay: Run) -> None:
    bury(
        deployment,
        failure(b"1", "BLOCKED"),
        failure(b"2", "BLOCKED"),
        failure(b"3", "INVALID_PROMPT"),
        failure(b"4", "MODEL_ERROR", retryable=False),
    )
    result = replay()
    assert result["archived"] == {"BLOCKED": 2, "INVALID_PROMPT": 1, "MODEL_ERROR": 1}
    kept = {
        reason: sorted(base64.b64decode(line["letter"]["body"]) for line in lines)
        for reason, lines in archived(deployment).items()
    }
    assert kept == {"BLOCKED": [b"1", b"2"], "INVALID_PROMPT": [b"3"], "MODEL_ERROR": [b"4"]}
    assert not drained(deployment, "dead-letters")
    assert not drained(deployment, "prompts")


def test_what_is_no_dead_letter_is_archived_as_unreadable(
    deployment: Deployment, replay: Run
) -> None:
    garbage = [b"\xff\xfe", b"not json", b'{"schema": "imagen.prediction/1"}']
    bury(deployment, *garbage, failure(b"A fox"))
    result = replay()
    assert (result["unreadable"], result["replayed"]) == (3, {"UNAVAILABLE": 1})
    assert result["archived"] == {}
    ((reason, lines),) = archived(deployment).items()
    assert reason == "UNREADABLE"
    assert sorted(base64.b64decode(line["body"]) for line in lines) == sorted(garbage)
    assert not drained(deployment, "dead-letters")


def test_a_dry_run_counts_each_once_and_changes_nothing(
    deployment: Deployment, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_ops.dead_letters.operators.BATCH", 7)
    bury(
        deployment,
        *(failure(f"{n}".encode()) for n in range(20)),
        *(failure(f"b{n}".encode(), "BLOCKED") for n in range(5)),
        failure(b"s", "STORAGE_ERROR"),
        b"garbage",
    )
    expected = {
        "replayed": {"UNAVAILABLE": 20},
        "archived": {"BLOCKED": 5},
        "left": {"STORAGE_ERROR": 1},
        "unreadable": 1,
    }
    for number in (1, 1, 2):
        result = replay(f"dry-{number}", dry_run=True, reasons=["UNAVAILABLE"])
        assert {key: result[key] for key in expected} == expected, "all is there again at once"
        assert result["dry_run"]
    assert not drained(deployment, "prompts")
    assert not archived(deployment)
    assert len(drained(deployment, "dead-letters")) == 27
    assert [record["dry_run"] for record in records(deployment)] == [True, True]


def test_a_dry_run_of_another_try_of_the_same_run_starts_from_nothing(
    deployment: Deployment, replay: Run
) -> None:
    bury(deployment, failure(b"A fox"))
    assert replay(dry_run=True) | {"at": ""} == replay(dry_run=True) | {"at": ""}


def test_reasons_that_were_not_chosen_are_left_and_there_again_at_once(
    deployment: Deployment, replay: Run
) -> None:
    bury(
        deployment,
        failure(b"u", "UNAVAILABLE"),
        failure(b"n", "NO_IMAGE"),
        failure(b"b", "BLOCKED"),
    )
    result = replay(reasons=["UNAVAILABLE"])
    assert result["replayed"] == {"UNAVAILABLE": 1}
    assert result["left"] == {"NO_IMAGE": 1}
    assert result["archived"] == {"BLOCKED": 1}
    assert letters(deployment) == {b"n": 1}
    assert bodies(deployment, "prompts") == {b"u": 1}


def test_no_more_are_taken_than_the_form_says(
    deployment: Deployment, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_ops.dead_letters.operators.BATCH", 4)
    bury(deployment, *(failure(f"{n}".encode()) for n in range(15)))
    assert replay(most=10)["replayed"] == {"UNAVAILABLE": 10}
    assert len(drained(deployment, "prompts")) == 10
    assert len(drained(deployment, "dead-letters")) == 5


def test_what_fails_again_while_a_run_lasts_waits_for_the_next_one(
    deployment: Deployment, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.google.pubsub import PubSubMessagesHook

    publish = PubSubMessagesHook.publish_all

    def failing_at_once(self: Any, topic: str, messages: Any) -> None:
        publish(self, topic, messages)
        bury(deployment, *(failure(body, attributes=attrs) for body, attrs in messages))

    monkeypatch.setattr(PubSubMessagesHook, "publish_all", failing_at_once)
    bury(deployment, failure(b"A fox"), failure(b"A hare"))
    for number in (1, 2, 3):
        assert replay(f"run-{number}")["replayed"] == {"UNAVAILABLE": 2}
    assert replay("run-4")["archived"] == {"UNAVAILABLE": 2}
    assert not drained(deployment, "dead-letters")


def test_nothing_there_is_no_error(deployment: Deployment, replay: Run) -> None:
    result = replay()
    assert result["replayed"] == result["archived"] == result["left"] == {}


def test_what_a_dry_run_counted_is_nobodys_work(deployment: Deployment, replay: Run) -> None:
    bury(deployment, failure(b"A fox"))
    for dry_run in (True, False):
        assert replay("the same run", dry_run=dry_run)["replayed"] == {"UNAVAILABLE": 1}


def test_a_run_leaves_one_record_of_all_its_tries(deployment: Deployment, replay: Run) -> None:
    for body in (b"1", b"2"):
        bury(deployment, failure(body), failure(body, "BLOCKED"))
        result = replay("the same run")
    (record,) = records(deployment)
    assert record == result
    assert record["schema"] == "imagen.replay/1"
    assert record["run_id"] == "the same run"
    assert record["finished"]
    assert record["replayed"] == {"UNAVAILABLE": 2}
    assert record["archived"] == {"BLOCKED": 2}


class Killed(BaseException):
    """What ends a task between two lines."""


@pytest.fixture
def fail_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a method of the Pub/Sub hook end the task the next time that it is called."""
    from imagen_ops.google.pubsub import PubSubMessagesHook

    def prepare(name: str) -> None:
        original = getattr(PubSubMessagesHook, name)

        def kill(self: Any, where: str, what: Any) -> None:
            if not what:
                return
            monkeypatch.setattr(PubSubMessagesHook, name, original)
            raise Killed

        monkeypatch.setattr(PubSubMessagesHook, name, kill)

    return prepare


def test_a_task_killed_between_publish_and_ack_loses_none(
    deployment: Deployment, replay: Run, fail_once: Callable[[str], None]
) -> None:
    given = [f"{n}".encode() for n in range(10)]
    bury(deployment, *(failure(body) for body in given))
    fail_once("acknowledge_all")
    with pytest.raises(Killed):
        replay()
    (record,) = records(deployment)
    assert (record["finished"], record["replayed"]) == (False, {}), "counted when acknowledged"
    assert replay()["replayed"] == {"UNAVAILABLE": 10}
    came = drained(deployment, "prompts")
    assert {body for body, _ in came} == set(given)
    assert len(came) == 20, "twice, as promised: not lost"
    assert {attributes["replays"] for _, attributes in came} == {"1"}, "a second time counts once"
    assert not drained(deployment, "dead-letters")
    (record,) = records(deployment)
    assert (record["finished"], record["replayed"]) == (True, {"UNAVAILABLE": 10})


def test_a_task_killed_between_archive_and_ack_archives_once(
    deployment: Deployment, replay: Run, fail_once: Callable[[str], None]
) -> None:
    bury(deployment, *(failure(f"{n}".encode(), "BLOCKED") for n in range(10)))
    fail_once("acknowledge_all")
    with pytest.raises(Killed):
        replay()
    assert len(archived(deployment)["BLOCKED"]) == 10
    assert replay()["archived"] == {"BLOCKED": 10}
    assert len(archived(deployment)["BLOCKED"]) == 10, "the second try found the first's object"
    assert not drained(deployment, "dead-letters")


def test_a_task_killed_after_the_pull_gives_all_back(
    deployment: Deployment, replay: Run, fail_once: Callable[[str], None]
) -> None:
    bury(deployment, *(failure(f"{n}".encode()) for n in range(10)))
    fail_once("publish_all")
    with pytest.raises(Killed):
        replay()
    assert letters(deployment).total() == 10
    assert not drained(deployment, "prompts")


def test_what_is_held_for_long_is_held_again_before_its_lease_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from imagen_ops.dead_letters.leases import LEASE_SECONDS, Leases
    from imagen_ops.google.pubsub import Message

    calls: list[tuple[list[str], int]] = []
    now = 1000.0
    monkeypatch.setattr("imagen_ops.dead_letters.leases.time.monotonic", lambda: now)
    message = Message("1", "ack-1", b"", {}, datetime.now(UTC))
    pubsub = types.SimpleNamespace(
        take=lambda subscription, most: [message][:most],
        lease=lambda subscription, ack_ids, seconds: calls.append((ack_ids, seconds)),
    )
    with Leases(pubsub, "sub") as leases:  # type: ignore[arg-type] # a stand-in
        leases.take(1)
        for _ in range(60):
            now += 1.0
            leases.renew()
    lease = LEASE_SECONDS
    assert calls == [(["ack-1"], lease)] * 3 + [(["ack-1"], 0)]


@pytest.mark.slow
def test_what_a_dead_process_held_comes_back_when_its_lease_is_over(
    deployment: Deployment, replay: Run, monkeypatch: pytest.MonkeyPatch, eventually: Run
) -> None:
    from imagen_ops.google.pubsub import PubSubMessagesHook

    # A lease of the task's own, shorter than the subscription's 60 s.
    monkeypatch.setattr("imagen_ops.dead_letters.leases.LEASE_SECONDS", 5)
    bury(deployment, failure(b"A fox"))
    lease = PubSubMessagesHook.lease

    def no_giving_back(self: Any, subscription: str, ack_ids: Any, seconds: int) -> None:
        if seconds:
            lease(self, subscription, ack_ids, seconds)

    def killed(self: Any, subscription: str, ack_ids: Any) -> None:
        if ack_ids:
            raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(PubSubMessagesHook, "lease", no_giving_back)
        dying.setattr(PubSubMessagesHook, "acknowledge_all", killed)
        with pytest.raises(Killed):
            replay()
    assert replay()["replayed"] == {}, "held by the dead, for as long as its lease lasts"
    eventually(lambda: replay()["replayed"], within_s=20, what="the dead letter's return")
    assert bodies(deployment, "prompts") == {b"A fox": 2}


def test_being_told_to_end_ends_it_between_two_batches(
    deployment: Deployment, run_task: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException

    from imagen_ops.dead_letters.operators import ReplayDeadLetters
    from imagen_ops.google.pubsub import PubSubMessagesHook

    monkeypatch.setattr("imagen_ops.dead_letters.operators.BATCH", 4)
    bury(deployment, *(failure(f"{n}".encode()) for n in range(10)))
    task = ReplayDeadLetters(task_id="replay")
    publish = PubSubMessagesHook.publish_all

    def told(self: Any, *given: Any) -> None:
        task.on_kill()
        publish(self, *given)

    monkeypatch.setattr(PubSubMessagesHook, "publish_all", told)
    with pytest.raises(AirflowException, match="killed"):
        run_task(task)
    assert bodies(deployment, "prompts").total() == 4
    assert letters(deployment).total() == 6


def test_a_topic_that_refuses_leaves_the_dead_letters_where_they_are(
    deployment: Deployment, replay: Run
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    topic = deployment.lane.topic("prompts")
    deployment.lane.publisher.delete_topic(topic=topic)
    bury(deployment, *(failure(f"{n}".encode()) for n in range(10)))
    with pytest.raises(AirflowFailException, match=r"publishing to .*HTTP 404"):
        replay()
    assert letters(deployment).total() == 10
    (record,) = records(deployment)
    assert (record["finished"], record["replayed"]) == (False, {})


def test_a_storage_that_refuses_leaves_what_was_to_be_archived_and_replays_the_rest(
    deployment: Deployment, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from imagen_ops.dead_letters.archive import Archive

    original = Archive.__init__

    def elsewhere(self: Any, client: Any, bucket: str, run_id: str) -> None:
        original(self, client, "no-such-bucket-of-ours", run_id)

    bury(deployment, failure(b"A fox"), failure(b"x", "BLOCKED"), failure(b"y", "INVALID_PROMPT"))
    with monkeypatch.context() as broken:
        broken.setattr(Archive, "__init__", elsewhere)
        with pytest.raises(AirflowFailException, match=r"writing gs://no-such-bucket.*HTTP 404"):
            replay()
    assert bodies(deployment, "prompts") == {b"A fox": 1}
    assert replay()["archived"] == {"BLOCKED": 1, "INVALID_PROMPT": 1}
    (record,) = records(deployment)
    assert record["replayed"] == {"UNAVAILABLE": 1}, "by the first try"


def test_a_subscription_that_is_not_there_is_named(deployment: Deployment, replay: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    name = deployment.lane.subscription("dead-letters")
    deployment.lane.subscriber.delete_subscription(subscription=name)
    with pytest.raises(AirflowFailException, match=f"pulling from {name}: HTTP 404"):
        replay()


def test_a_record_that_cannot_be_kept_does_not_undo_the_work(
    deployment: Deployment, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.api_core.exceptions import ServiceUnavailable

    from imagen_ops.records.history import History

    def refuse(self: Any, record: Any) -> None:
        raise ServiceUnavailable("not now")

    monkeypatch.setattr(History, "put", refuse)
    bury(deployment, failure(b"A fox"))
    assert replay()["replayed"] == {"UNAVAILABLE": 1}


def test_what_is_delivered_again_after_its_ack_is_not_replayed_again(
    deployment: Deployment, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_ops.google.pubsub import PubSubMessagesHook

    lost: list[bool] = []
    acknowledge, lease = PubSubMessagesHook.acknowledge_all, PubSubMessagesHook.lease

    def lose_the_first(self: Any, subscription: str, ack_ids: Any) -> None:
        if ack_ids and not lost:
            lost.append(True)
            lease(self, subscription, ack_ids, 0)  # Pub/Sub may forget an ack
        else:
            acknowledge(self, subscription, ack_ids)

    monkeypatch.setattr(PubSubMessagesHook, "acknowledge_all", lose_the_first)
    bury(deployment, failure(b"A fox"))
    assert replay()["replayed"] == {"UNAVAILABLE": 1}
    assert lost
    assert bodies(deployment, "prompts") == {b"A fox": 1}
    assert not drained(deployment, "dead-letters")


@pytest.mark.slow
def test_five_thousand_take_seconds(deployment: Deployment, replay: Run) -> None:
    bury(
        deployment,
        *(failure(f"prompt {n}".encode(), attributes={"n": str(n)}) for n in range(4000)),
        *(failure(f"blocked {n}".encode(), "BLOCKED") for n in range(1000)),
    )
    started = time.monotonic()
    counted = replay(dry_run=True)
    looked = time.monotonic() - started
    result = replay()
    took = time.monotonic() - started - looked
    assert counted["replayed"] == result["replayed"] == {"UNAVAILABLE": 4000}
    assert counted["archived"] == result["archived"] == {"BLOCKED": 1000}
    came = drained(deployment, "prompts")
    assert len(came) == len({body for body, _ in came}) == 4000
    assert all(body == f"prompt {attributes['n']}".encode() for body, attributes in came)
    assert not drained(deployment, "dead-letters")
    assert len({line["message_id"] for line in archived(deployment)["BLOCKED"]}) == 1000
    print(f"5,000 dead letters: counted in {looked:.1f} s, handled in {took:.1f} s")
    assert looked < 30
    assert took < 30


@pytest.mark.slow
def test_large_dead_letters_go_back(deployment: Deployment, replay: Run) -> None:
    given = [bytes([n]) * 1_000_000 for n in range(20)]
    bury(deployment, *(failure(body) for body in given))
    assert replay()["replayed"] == {"UNAVAILABLE": 20}
    assert bodies(deployment, "prompts") == Counter(given)


@pytest.mark.parametrize(
    "given",
    [[bytes([n]) * 1_000_000 for n in range(20)], [f"{n}".encode() for n in range(2_500)]],
    ids=["large", "many"],
)
def test_prompts_are_published_in_as_many_requests_as_pubsub_wants(
    deployment: Deployment, given: list[bytes]
) -> None:
    topic = deployment.lane.topic("prompts")
    deployment.clients.pubsub.publish_all(topic, [(body, {"replays": "1"}) for body in given])
    assert bodies(deployment, "prompts") == Counter(given)


@pytest.fixture
def _down(cloud: Cloud) -> Iterator[None]:
    cloud.models(down=1)
    yield
    cloud.models(down=0)


@pytest.mark.slow
@pytest.mark.usefixtures("_down")
def test_dead_letters_of_a_model_that_was_down_become_predictions(
    deployment: Deployment, cloud: Cloud, replay: Run, start_stream: Run, eventually: Run
) -> None:
    lane = deployment.lane
    stream = start_stream(max_retry_seconds=1)
    lane.publish("A fox", {"prompt": "A hare", "id": "order-7"}, team="ads")

    def counted() -> bool:
        return bool(replay("look", dry_run=True)["replayed"] == {"UNAVAILABLE": 2})

    eventually(counted, within_s=60, what="two dead letters")
    # Replayed in vain: the count comes round with the dead letter.
    assert replay("too early")["replayed"] == {"UNAVAILABLE": 2}
    eventually(counted, within_s=60, what="both dead letters once more")
    cloud.models(down=0)
    assert replay("in time")["replayed"] == {"UNAVAILABLE": 2}
    predictions = {one["prompt"]: one for one in lane.predictions(2)}
    assert set(predictions) == {"A fox", "A hare"}
    assert predictions["A hare"]["prompt_id"] == "order-7"
    for one in predictions.values():
        assert one["images"]
        assert one["message_attributes"]["team"] == "ads"
        assert one["message_attributes"]["replays"] == "2"
    assert stream.drain() == "DRAINED"
    assert lane.nothing_left("dead-letters")
    assert lane.nothing_left("prompts")
