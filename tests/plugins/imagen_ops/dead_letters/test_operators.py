"""Dead letters replayed and archived, through the local Pub/Sub and Cloud Storage."""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beam_jobs.catalog import DEFAULT_MODEL
from beam_jobs.outcomes import Failure, Reason, encode
from beam_jobs.prompts.defaults import PromptDefaults
from beam_jobs.prompts.parse import parse
from imagen_ops.records.folders import REPLAY_RECORDS
from tests.conftest import Cloud
from tests.plugins.conftest import Deployment

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _short_pulls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagen_ops.google.pubsub._PULL_TIMEOUT_S", 0.5)


@pytest.fixture
def replay(run_task: Run, deployment: Deployment) -> Run:
    from imagen_ops.dead_letters.operators import ReplayDeadLetters

    def run(run_id: str = "manual__1", **form: Any) -> dict[str, Any]:
        result = run_task(ReplayDeadLetters(task_id="replay"), run_id=run_id, params=form)
        return dict(result)

    return run


def failure(body: bytes, reason: str = "UNAVAILABLE", **changes: Any) -> Failure:
    fields: dict[str, Any] = {
        "prompt_id": "p",
        "deduplication_key": "0f" * 32,
        "detail": "for a test",
        "retryable": reason not in ("BLOCKED", "INVALID_PROMPT"),
        "attempts": 3,
        **changes,
    }
    return Failure(reason=Reason(reason), body=body, **fields)


def bury(deployment: Deployment, *letters: Failure | bytes) -> None:
    """Publish dead letters, or other messages in their place."""
    topic, publisher = deployment.lane.topic("dead-letters"), deployment.lane.publisher
    sent = []
    for letter in letters:
        body, attributes = (letter, {}) if isinstance(letter, bytes) else encode(letter)
        sent.append(publisher.publish(topic, body, **attributes))
    for future in sent:
        future.result(timeout=30)


def pull_all(deployment: Deployment, kind: str) -> list[tuple[bytes, dict[str, str]]]:
    """Pull and acknowledge all messages of a subscription."""
    subscriber, name = deployment.lane.subscriber, deployment.lane.subscription(kind)
    messages: list[tuple[bytes, dict[str, str]]] = []
    while True:
        pulled = subscriber.pull(
            subscription=name, max_messages=1000, return_immediately=True, timeout=10
        ).received_messages
        if not pulled:
            return messages
        subscriber.acknowledge(subscription=name, ack_ids=[item.ack_id for item in pulled])
        messages += [(item.message.data, dict(item.message.attributes)) for item in pulled]


def bodies(deployment: Deployment, kind: str) -> Counter[bytes]:
    return Counter(body for body, _ in pull_all(deployment, kind))


def letters(deployment: Deployment) -> Counter[bytes]:
    """Pull all dead letters, and return the bodies of their prompts."""
    return Counter(
        base64.b64decode(json.loads(body)["body"])
        for body, _ in pull_all(deployment, "dead-letters")
    )


def archived(deployment: Deployment) -> dict[str, list[dict[str, Any]]]:
    """Return the lines of the archive by reason."""
    lines_by_reason: dict[str, list[dict[str, Any]]] = {}
    client = deployment.clients.storage.client()
    for blob in client.list_blobs(deployment.settings.bucket, prefix="dead-letters/reason="):
        reason = blob.name.split("/")[1].removeprefix("reason=")
        today = datetime.now(UTC).date()
        assert blob.name.split("/")[2] in {f"ds={today}", f"ds={today - timedelta(days=1)}"}
        lines = blob.download_as_bytes().splitlines()
        lines_by_reason.setdefault(reason, []).extend(json.loads(line) for line in lines)
    return lines_by_reason


def records(deployment: Deployment) -> list[dict[str, Any]]:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    return list(deployment.clients.history(REPLAY_RECORDS).since(hour_ago))


def test_retryable_dead_letters_become_prompts_again_byte_for_byte_with_their_attributes(
    deployment: Deployment, replay: Run
) -> None:
    prompts = {
        b"A fox": {},
        b'{"prompt":  "A hare", "id": "order-7"}\n': {"team": "ads"},
        "雪の中の柴犬".encode(): {"topic": "t", "data": "d", "timeout": "5", "retry": "no"},
        bytes(range(256)): {"self": "x", "messages": "y", "replays": "1"},
    }
    reasons = ["UNAVAILABLE", "NO_IMAGE", "OVER_BUDGET", "STORAGE_ERROR"]
    bury(
        deployment,
        *(
            failure(body, reason, attributes=attributes)
            for (body, attributes), reason in zip(prompts.items(), reasons, strict=True)
        ),
    )
    result = replay()
    assert result["replayed"] == dict.fromkeys(sorted(reasons), 1)
    assert result["archived"] == result["left"] == {}
    assert result["unreadable"] == 0
    expected = {
        body: {**attributes, "replays": str(int(attributes.get("replays", 0)) + 1)}
        for body, attributes in prompts.items()
    }
    published = pull_all(deployment, "prompts")
    assert len(published) == 4
    assert dict(published) == expected
    assert not pull_all(deployment, "dead-letters")
    assert not archived(deployment)


def test_a_fourth_attempt_is_archived(deployment: Deployment, replay: Run) -> None:
    attributes: dict[str, str] = {"team": "ads"}
    for number in (1, 2, 3):
        bury(deployment, failure(b"A fox", attributes=attributes))
        assert replay(f"run-{number}")["replayed"] == {"UNAVAILABLE": 1}
        ((body, attributes),) = pull_all(deployment, "prompts")
        assert (body, attributes) == (b"A fox", {"team": "ads", "replays": str(number)})
    bury(deployment, failure(b"A fox", attributes=attributes))
    result = replay("run-4")
    assert (result["replayed"], result["archived"]) == ({}, {"UNAVAILABLE": 1})
    assert not pull_all(deployment, "prompts")
    assert not pull_all(deployment, "dead-letters")
    ((reason, (line,)),) = archived(deployment).items()
    assert reason == "UNAVAILABLE"
    assert line["why"] == "replayed 3 times; max_replays is 3"
    assert line["letter"]["attributes"] == attributes


def test_dead_letters_that_are_not_retryable_are_archived_by_reason(
    deployment: Deployment, replay: Run
) -> None:
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
    assert not pull_all(deployment, "dead-letters")
    assert not pull_all(deployment, "prompts")


def test_other_messages_are_archived_as_unreadable(deployment: Deployment, replay: Run) -> None:
    garbage = [b"\xff\xfe", b"not json", b'{"schema": "imagen.prediction/1"}']
    bury(deployment, *garbage, failure(b"A fox"))
    result = replay()
    assert (result["unreadable"], result["replayed"]) == (3, {"UNAVAILABLE": 1})
    assert result["archived"] == {}
    ((reason, lines),) = archived(deployment).items()
    assert reason == "UNREADABLE"
    assert sorted(base64.b64decode(line["body"]) for line in lines) == sorted(garbage)
    assert not pull_all(deployment, "dead-letters")


def test_a_dry_run_counts_every_dead_letter_once_and_changes_nothing(
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
        assert {key: result[key] for key in expected} == expected, (
            "all dead letters are available again at once"
        )
        assert result["dry_run"]
    assert not pull_all(deployment, "prompts")
    assert not archived(deployment)
    assert len(pull_all(deployment, "dead-letters")) == 27
    assert [record["dry_run"] for record in records(deployment)] == [True, True]


def test_another_try_of_a_dry_run_counts_from_zero(deployment: Deployment, replay: Run) -> None:
    bury(deployment, failure(b"A fox"))
    assert replay(dry_run=True) | {"at": ""} == replay(dry_run=True) | {"at": ""}


def test_dead_letters_with_other_reasons_are_left_and_available_again_at_once(
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


def test_a_run_handles_no_more_dead_letters_than_the_forms_maximum(
    deployment: Deployment, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagen_ops.dead_letters.operators.BATCH", 4)
    bury(deployment, *(failure(f"{n}".encode()) for n in range(15)))
    assert replay(most=10)["replayed"] == {"UNAVAILABLE": 10}
    assert len(pull_all(deployment, "prompts")) == 10
    assert len(pull_all(deployment, "dead-letters")) == 5


def test_prompts_that_fail_again_during_a_run_wait_for_the_next_one(
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
    assert not pull_all(deployment, "dead-letters")


def test_a_run_without_dead_letters_is_no_error(deployment: Deployment, replay: Run) -> None:
    result = replay()
    assert result["replayed"] == result["archived"] == result["left"] == {}


def test_the_counts_of_a_dry_run_are_not_added_to_a_later_try(
    deployment: Deployment, replay: Run
) -> None:
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
    """Ends a task between two lines, as a kill does."""


@pytest.fixture
def fail_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the next call of a method of the Pub/Sub hook end the task."""
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
    prompts = [f"{n}".encode() for n in range(10)]
    bury(deployment, *(failure(body) for body in prompts))
    fail_once("acknowledge_all")
    with pytest.raises(Killed):
        replay()
    (record,) = records(deployment)
    assert (record["finished"], record["replayed"]) == (False, {}), "counted when acknowledged"
    assert replay()["replayed"] == {"UNAVAILABLE": 10}
    published = pull_all(deployment, "prompts")
    assert {body for body, _ in published} == set(prompts)
    assert len(published) == 20, "twice, as promised: not lost"
    assert {attributes["replays"] for _, attributes in published} == {"1"}, (
        "a second time counts once"
    )
    assert not pull_all(deployment, "dead-letters")
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
    assert not pull_all(deployment, "dead-letters")


def test_a_task_killed_after_the_pull_gives_all_back(
    deployment: Deployment, replay: Run, fail_once: Callable[[str], None]
) -> None:
    bury(deployment, *(failure(f"{n}".encode()) for n in range(10)))
    fail_once("publish_all")
    with pytest.raises(Killed):
        replay()
    assert letters(deployment).total() == 10
    assert not pull_all(deployment, "prompts")


@pytest.mark.slow
def test_dead_letters_of_a_dead_process_come_back_when_its_leases_end(
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
    assert replay()["replayed"] == {}, "leased by the dead process"
    eventually(lambda: replay()["replayed"], within_s=20, what="the dead letter's return")
    assert bodies(deployment, "prompts") == {b"A fox": 2}


def test_a_killed_task_ends_between_two_batches(
    deployment: Deployment, run_task: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException

    from imagen_ops.dead_letters.operators import ReplayDeadLetters
    from imagen_ops.google.pubsub import PubSubMessagesHook

    monkeypatch.setattr("imagen_ops.dead_letters.operators.BATCH", 4)
    bury(deployment, *(failure(f"{n}".encode()) for n in range(10)))
    task = ReplayDeadLetters(task_id="replay")
    publish = PubSubMessagesHook.publish_all

    def killed_meanwhile(self: Any, *prompts: Any) -> None:
        task.on_kill()
        publish(self, *prompts)

    monkeypatch.setattr(PubSubMessagesHook, "publish_all", killed_meanwhile)
    with pytest.raises(AirflowException, match="told to end"):
        run_task(task)
    assert bodies(deployment, "prompts").total() == 4
    assert letters(deployment).total() == 6


def test_dead_letters_stay_if_the_topic_refuses_their_prompts(
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


def test_if_storage_refuses_prompts_are_replayed_and_the_rest_stays(
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


def test_a_missing_subscription_is_named(deployment: Deployment, replay: Run) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    name = deployment.lane.subscription("dead-letters")
    deployment.lane.subscriber.delete_subscription(subscription=name)
    with pytest.raises(AirflowFailException, match=f"pulling from {name}: HTTP 404"):
        replay()


def test_a_record_that_cannot_be_written_does_not_fail_the_run(
    deployment: Deployment, replay: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.api_core.exceptions import ServiceUnavailable

    from imagen_ops.records.history import History

    def refuse(self: Any, record: Any) -> None:
        raise ServiceUnavailable("not now")

    monkeypatch.setattr(History, "put", refuse)
    bury(deployment, failure(b"A fox"))
    assert replay()["replayed"] == {"UNAVAILABLE": 1}


def test_a_dead_letter_delivered_again_after_its_ack_is_not_replayed_again(
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
    assert not pull_all(deployment, "dead-letters")


@pytest.mark.slow
def test_five_thousand_dead_letters_take_seconds(deployment: Deployment, replay: Run) -> None:
    bury(
        deployment,
        *(failure(f"prompt {n}".encode(), attributes={"n": str(n)}) for n in range(4000)),
        *(failure(f"blocked {n}".encode(), "BLOCKED") for n in range(1000)),
    )
    started = time.monotonic()
    counted = replay(dry_run=True)
    counting_s = time.monotonic() - started
    result = replay()
    handling_s = time.monotonic() - started - counting_s
    assert counted["replayed"] == result["replayed"] == {"UNAVAILABLE": 4000}
    assert counted["archived"] == result["archived"] == {"BLOCKED": 1000}
    published = pull_all(deployment, "prompts")
    assert len(published) == len({body for body, _ in published}) == 4000
    assert all(body == f"prompt {attributes['n']}".encode() for body, attributes in published)
    assert not pull_all(deployment, "dead-letters")
    assert len({line["message_id"] for line in archived(deployment)["BLOCKED"]}) == 1000
    print(f"5,000 dead letters: counted in {counting_s:.1f} s, handled in {handling_s:.1f} s")
    assert counting_s < 30
    assert handling_s < 30


@pytest.mark.slow
def test_large_dead_letters_are_replayed(deployment: Deployment, replay: Run) -> None:
    prompts = [bytes([n]) * 1_000_000 for n in range(20)]
    bury(deployment, *(failure(body) for body in prompts))
    assert replay()["replayed"] == {"UNAVAILABLE": 20}
    assert bodies(deployment, "prompts") == Counter(prompts)


@pytest.mark.parametrize(
    "prompts",
    [[bytes([n]) * 1_000_000 for n in range(20)], [f"{n}".encode() for n in range(2_500)]],
    ids=["large", "many"],
)
def test_prompts_are_published_in_as_many_requests_as_pubsub_wants(
    deployment: Deployment, prompts: list[bytes]
) -> None:
    topic = deployment.lane.topic("prompts")
    deployment.clients.pubsub.publish_all(topic, [(body, {"replays": "1"}) for body in prompts])
    assert bodies(deployment, "prompts") == Counter(prompts)


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
    # Replayed in vain. The count comes back with the dead letter.
    assert replay("too early")["replayed"] == {"UNAVAILABLE": 2}
    eventually(counted, within_s=60, what="both dead letters once more")
    cloud.models(down=0)
    assert replay("in time")["replayed"] == {"UNAVAILABLE": 2}
    predictions = {prediction["prompt"]: prediction for prediction in lane.predictions(2)}
    assert set(predictions) == {"A fox", "A hare"}
    assert predictions["A hare"]["prompt_id"] == "order-7"
    defaults = PromptDefaults(DEFAULT_MODEL, frozenset())
    first_delivery = parse(b"A fox", {"team": "ads"}, origin="1", defaults=defaults)
    assert predictions["A fox"]["deduplication_key"] == first_delivery.deduplication_key
    for prediction in predictions.values():
        assert prediction["images"]
        assert prediction["message_attributes"]["team"] == "ads"
        assert prediction["message_attributes"]["replays"] == "2"
    assert stream.drain() == "DRAINED"
    assert lane.nothing_left("dead-letters")
    assert lane.nothing_left("prompts")
