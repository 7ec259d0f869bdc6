"""Dead letters that nobody replays any more: JSON Lines in Cloud Storage, for people and queries.

`dead-letters/reason=REASON/ds=YYYY-MM-DD/<run>-<n>.jsonl`: the day, in UTC, is that of the dead
letter, and `n` the digest of what is in the object. So whoever is stopped after writing and writes
the same again finds it there.
"""

import base64
import contextlib
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC
from typing import TYPE_CHECKING, Any

from imagen_ops.dead_letters.decision import Decision

if TYPE_CHECKING:
    from google.cloud.storage import Client

    from imagen_ops.google.pubsub import Message

FOLDER = "dead-letters"
LINE_SCHEMA = "imagen.archived/1"
_CALL_SECONDS = 15.0
_RETRY_SECONDS = 30.0

Entry = tuple["Message", Decision]


class Archive:
    """The archive of one bucket, as one DAG run writes to it."""

    def __init__(self, client: "Client", bucket: str, run_id: str) -> None:
        self._bucket = client.bucket(bucket)
        self._run = re.sub(r"[^A-Za-z0-9_.=-]+", "-", run_id)

    def put(self, folder: str, entries: Iterable[Entry]) -> str:
        """Write one object into one of the folders that `by_folder` gives; return its path.

        Raises:
            ApiError: storage refuses, or does not answer.
        """
        from google.api_core.exceptions import PreconditionFailed
        from google.cloud.storage.retry import DEFAULT_RETRY

        from imagen_ops.google.rest import explained

        # The order in which Pub/Sub delivers is another each time.
        in_order = sorted(entries, key=lambda entry: entry[0].id)
        content = b"".join(_line(message, decision) for message, decision in in_order)
        digest = hashlib.sha256(content).hexdigest()[:16]
        blob = self._bucket.blob(f"{folder}/{self._run}-{digest}.jsonl")
        path = f"gs://{self._bucket.name}/{blob.name}"
        # Refused for being there: an earlier try has written it.
        with explained(f"writing {path}"), contextlib.suppress(PreconditionFailed):
            blob.upload_from_string(
                content,
                content_type="application/x-ndjson",
                if_generation_match=0,
                timeout=_CALL_SECONDS,
                retry=DEFAULT_RETRY.with_timeout(_RETRY_SECONDS),
            )
        return path


def by_folder(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Group by reason and day; a group becomes an object of its own."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for message, decision in entries:
        day = message.published_at.astimezone(UTC).date().isoformat()
        groups[f"{FOLDER}/reason={decision.reason}/ds={day}"].append((message, decision))
    return dict(groups)


def _line(message: "Message", decision: Decision) -> bytes:
    line: dict[str, Any] = {
        "schema": LINE_SCHEMA,
        # The same in every try and run: by this a reader drops what was archived twice.
        "message_id": message.id,
        "published_at": message.published_at.astimezone(UTC).isoformat(),
        "why": decision.why,
    }
    if decision.letter:
        # JSON can be read that cannot be written again: nested just not too deeply, or 1e999.
        with contextlib.suppress(ValueError, RecursionError):
            return _encoded({**line, "letter": decision.letter.content})
    raw = base64.b64encode(message.data).decode("ascii")
    return _encoded({**line, "body": raw, "attributes": dict(message.attributes)})


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line, allow_nan=False).encode() + b"\n"
