"""Dead letters that are not replayed: JSON Lines in Cloud Storage, for people and queries.

Objects are called `dead-letters/reason=REASON/ds=YYYY-MM-DD/<run>-<digest>.jsonl`. The day, in UTC,
is the dead letter's. The digest is of the object's content. So a task that is stopped after writing
an object and writes the same dead letters again finds it there.
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

from beam_jobs.names import ARCHIVE_FOLDER
from imagen_ops.dead_letters.decision import Decision

if TYPE_CHECKING:
    from google.cloud.storage import Client

    from imagen_ops.google.pubsub import Message

LINE_SCHEMA = "imagen.archived/1"
_CALL_SECONDS = 15.0
_RETRY_SECONDS = 30.0

Entry = tuple["Message", Decision]


class Archive:
    """The archive in one bucket, as one DAG run writes to it.

    Args:
        client: must be allowed to create objects under `ARCHIVE_FOLDER`.
        bucket: the bucket's name, without gs://.
        run_id: of the DAG run; becomes part of the objects' names.
    """

    def __init__(self, client: "Client", bucket: str, run_id: str) -> None:
        self._bucket = client.bucket(bucket)
        self._run = re.sub(r"[^A-Za-z0-9_.=-]+", "-", run_id)

    def put(self, folder: str, entries: Iterable[Entry]) -> str:
        """Write dead letters as one object into a folder of `by_folder`; return its gs:// path.

        Raises:
            ApiError: Cloud Storage refuses, or does not answer.
        """
        from google.api_core.exceptions import PreconditionFailed
        from google.cloud.storage.retry import DEFAULT_RETRY

        from imagen_ops.google.rest import explained

        # Pub/Sub delivers in a different order each time.
        in_order = sorted(entries, key=lambda entry: entry[0].id)
        content = b"".join(_line(message, decision) for message, decision in in_order)
        digest = hashlib.sha256(content).hexdigest()[:16]
        blob = self._bucket.blob(f"{folder}/{self._run}-{digest}.jsonl")
        path = f"gs://{self._bucket.name}/{blob.name}"
        # The precondition fails if the object exists: an earlier try wrote it.
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
    """Group dead letters by reason and day; each group becomes an object in its own folder."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for message, decision in entries:
        day = message.published_at.astimezone(UTC).date().isoformat()
        groups[f"{ARCHIVE_FOLDER}/reason={decision.reason}/ds={day}"].append((message, decision))
    return dict(groups)


def _line(message: "Message", decision: Decision) -> bytes:
    line: dict[str, Any] = {
        "schema": LINE_SCHEMA,
        # The same in every try and run, so that readers can drop what was archived twice.
        "message_id": message.id,
        "published_at": message.published_at.astimezone(UTC).isoformat(),
        "why": decision.why,
    }
    if decision.letter:
        # Some JSON can be read but not written again: nesting close to the limit, or 1e999.
        with contextlib.suppress(ValueError, RecursionError):
            return _encoded({**line, "letter": decision.letter.content})
    raw = base64.b64encode(message.data).decode("ascii")
    return _encoded({**line, "body": raw, "attributes": dict(message.attributes)})


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line, allow_nan=False).encode() + b"\n"
