"""Which models refuse every prompt of the stream, as its workers say in Cloud Storage."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from beam_jobs.names import HOLD_REPORT_EVERY_S, HOLD_SCHEMA, HOLDS_FOLDER
from imagen_ops.google.storage import StorageHook
from imagen_ops.health.assessment.signals import ModelHold

# A worker that still holds prompts back has written three times since.
_MAX_AGE = timedelta(seconds=4 * HOLD_REPORT_EVERY_S)
_MAX_HOLDS = 20
_STREAM = "stream"


def read_holds(storage: StorageHook, bucket: str, *, at: datetime) -> tuple[ModelHold, ...]:
    """Return the models whose prompts wait in the stream.

    Args:
        storage: reads the objects.
        bucket: the deployment's.
        at: the current time, with a zone.

    Raises:
        ApiError: Cloud Storage refuses or does not answer.
    """
    contents = storage.read_folder(f"gs://{bucket}/{HOLDS_FOLDER}/", most=_MAX_HOLDS)
    return tuple(_current(contents, at))


def _current(contents: list[bytes], at: datetime) -> Iterator[ModelHold]:
    for content in contents:
        try:
            fields = json.loads(content)
            written = datetime.fromisoformat(fields["at"]).astimezone(UTC)
            hold = ModelHold(
                model=str(fields["model"]),
                since=datetime.fromisoformat(fields["since"]).astimezone(UTC),
                detail=str(fields["detail"]),
            )
            relevant = fields["schema"] == HOLD_SCHEMA and fields["source"] == _STREAM
        except (ValueError, LookupError, TypeError, AttributeError):
            continue  # written by another version, or by nobody of ours
        if relevant and at - written <= _MAX_AGE:
            yield hold
