"""Dead letters as lines of JSON, in the local Cloud Storage."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from imagen_ops.dead_letters.archive import Archive, by_folder
from imagen_ops.dead_letters.decision import ReplayForm, decide
from imagen_ops.errors import ApiError
from tests.plugins.conftest import Deployment

AT = datetime(2026, 11, 5, 23, 59, 59, tzinfo=UTC)


def entry(number: int, *, at: datetime = AT, **changes: Any) -> Any:
    from imagen_ops.google.pubsub import Message

    content = {
        "schema": "imagen.failure/1",
        "prompt_id": f"p-{number}",
        "reason": "BLOCKED",
        "detail": "refused: 雪",
        "retryable": False,
        "attempts": 1,
        "body": "QQ==",
        "attributes": {"team": "ads"},
        **changes,
    }
    data = json.dumps(content).encode()
    return Message(str(number), f"ack-{number}", data, {}, at), decide(data, ReplayForm())


def unreadable(number: int, data: bytes, **attributes: str) -> Any:
    from imagen_ops.google.pubsub import Message

    return Message(str(number), "ack", data, attributes, AT), decide(data, ReplayForm())


def archive(deployment: Deployment, run_id: str = "manual__2026-11-06T01:02:03+00:00") -> Archive:
    return Archive(deployment.clients.storage.client(), deployment.settings.bucket, run_id)


def objects(deployment: Deployment) -> dict[str, list[dict[str, Any]]]:
    client = deployment.clients.storage.client()
    return {
        blob.name: [json.loads(line) for line in blob.download_as_bytes().splitlines()]
        for blob in client.list_blobs(deployment.settings.bucket, prefix="dead-letters/")
    }


def test_there_is_a_folder_per_reason_and_day_in_utc() -> None:
    later = datetime(2026, 11, 6, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    groups = by_folder(
        [
            entry(1),
            entry(2, at=AT + timedelta(seconds=1)),
            entry(3, reason="INVALID_PROMPT"),
            entry(4, at=later),
            unreadable(5, b"\xff"),
        ]
    )
    assert {folder: [message.id for message, _ in group] for folder, group in groups.items()} == {
        "dead-letters/reason=BLOCKED/ds=2026-11-05": ["1", "4"],
        "dead-letters/reason=BLOCKED/ds=2026-11-06": ["2"],
        "dead-letters/reason=INVALID_PROMPT/ds=2026-11-05": ["3"],
        "dead-letters/reason=UNREADABLE/ds=2026-11-05": ["5"],
    }


def test_a_line_has_the_dead_letter_and_why_it_was_archived(deployment: Deployment) -> None:
    path = archive(deployment).put("dead-letters/reason=BLOCKED/ds=2026-11-05", [entry(1)])
    ((name, (line,)),) = objects(deployment).items()
    assert path == f"gs://{deployment.settings.bucket}/{name}"
    folder, _, last = name.rpartition("/")
    assert folder == "dead-letters/reason=BLOCKED/ds=2026-11-05"
    assert last.startswith("manual__2026-11-06T01-02-03-00-00-")
    assert last.endswith(".jsonl")
    assert line == {
        "schema": "imagen.archived/1",
        "message_id": "1",
        "published_at": "2026-11-05T23:59:59+00:00",
        "why": "not retryable",
        "letter": json.loads(entry(1)[0].data),
    }


def test_an_unreadable_message_is_archived_unchanged(deployment: Deployment) -> None:
    archive(deployment).put(
        "dead-letters/reason=UNREADABLE/ds=d", [unreadable(1, b"\xff\x00", a="b")]
    )
    ((_, (line,)),) = objects(deployment).items()
    assert base64.b64decode(line["body"]) == b"\xff\x00"
    assert line["attributes"] == {"a": "b"}
    assert "letter" not in line
    assert "not JSON" in line["why"]


@pytest.mark.parametrize("detail", ["\ud800", "a\nb\u2028c"])
def test_every_dead_letter_is_one_line_of_json(detail: str, deployment: Deployment) -> None:
    archive(deployment).put("dead-letters/f", [entry(1, detail=detail), entry(2)])
    ((_, lines),) = objects(deployment).items()
    assert [line["letter"]["detail"] for line in lines] == [detail, "refused: 雪"]


def test_a_dead_letter_that_cannot_be_written_as_json_again_is_archived_unchanged(
    deployment: Deployment,
) -> None:
    from imagen_ops.google.pubsub import Message

    whole, _ = entry(1)
    data = whole.data.replace(b'"attempts": 1', b'"attempts": 1e999')
    message = Message("1", "ack", data, {}, AT)
    archive(deployment).put("dead-letters/f", [(message, decide(data, ReplayForm()))])
    ((_, (line,)),) = objects(deployment).items()
    assert base64.b64decode(line["body"]) == data


def test_the_same_dead_letters_in_another_order_are_archived_once(deployment: Deployment) -> None:
    entries = [entry(number) for number in range(20)]
    paths = {
        archive(deployment).put("dead-letters/f", entries),
        archive(deployment).put("dead-letters/f", reversed(entries)),
    }
    assert len(paths) == 1
    assert len(objects(deployment)) == 1
    archive(deployment).put("dead-letters/f", entries[:-1])
    archive(deployment, "another run").put("dead-letters/f", entries)
    assert len(objects(deployment)) == 3, "other content and another run have other objects"


def test_an_error_of_storage_names_the_object(deployment: Deployment) -> None:
    broken = Archive(deployment.clients.storage.client(), "no-such-bucket-of-ours", "r")
    with pytest.raises(ApiError, match=r"writing gs://no-such-bucket-of-ours/f/r-.*HTTP 404"):
        broken.put("f", [entry(1)])
