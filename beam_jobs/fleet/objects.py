"""Where the workers of a job tell of each other: a folder in the bucket of the images.

Each worker has an empty object, whose custom metadata is its report: so one request lists what all
of them say. One more object says how the quotas are split. Ages are storage's: no worker's clock
counts.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime
from typing import Any

from gcloud.aio.storage import Storage

from beam_jobs.fleet.fleet import FORGOTTEN_AFTER_S, NoAnswerError, NotAllowedError, Stored
from beam_jobs.fleet.report import Report, Usage, from_text, to_text
from beam_jobs.fleet.split import Split
from beam_jobs.images.answers import is_resource, shortened
from beam_jobs.images.dated import answered_at, dated_content, dated_page, http_time, iso_time
from beam_jobs.images.refusals import Meaning
from beam_jobs.images.requests import StoreError, answer_of, upload_if

_log = logging.getLogger(__name__)

# Shares are worth no longer wait; a worker has another try within seconds.
TIMEOUT_S = 10
_USAGE = "usage"


class FleetObjects:
    """The folder of one job, for one worker. Use it from one event loop only.

    Args:
        storage: sends the requests.
        bucket: of the images.
        folder: of the job, without a slash at its end.
        worker: names this worker's object.
    """

    def __init__(self, storage: Storage, bucket: str, folder: str, worker: str) -> None:
        self._storage = storage
        self._bucket = bucket
        self._split = f"{folder}/split.json"
        self._workers = f"{folder}/workers/"
        self._own = f"{self._workers}{worker}"
        self._said_malformed = False

    async def read(self) -> Stored:
        """Return how the quotas are split, and how old that is."""
        try:
            async with self._requests("read", self._split):
                content, headers = await dated_content(
                    self._storage, self._bucket, self._split, timeout_s=TIMEOUT_S
                )
                read_at = answered_at(headers)
        except NoAnswerError as error:
            if isinstance(error.__cause__, StoreError) and error.__cause__.status == 404:
                return Stored(Split(), "0", math.inf)
            raise
        # That downloads have these headers, google-cloud-storage relies on too
        # (`Blob._extract_headers_from_download`).
        generation = headers.get("X-Goog-Generation", "")
        written_at = http_time(headers.get("Last-Modified"))
        if not generation.isdigit() or not written_at:
            raise NoAnswerError(f"{self._url(self._split)} was answered without its generation")
        try:
            split = Split.from_json(content)
        except ValueError as error:
            if not self._said_malformed:
                self._said_malformed = True
                _log.warning("%s is replaced: %s", self._url(self._split), error)
            return Stored(Split(), generation, math.inf)
        return Stored(split, generation, max(0.0, (read_at - written_at).total_seconds()))

    async def write(self, split: Split, generation: str) -> str | None:
        """Replace a split; return its generation, None if somebody else has replaced it."""
        async with self._requests("write", self._split):
            stored = await upload_if(
                self._storage,
                self._bucket,
                self._split,
                split.to_json(),
                generation=generation,
                content_type="application/json",
                timeout_s=TIMEOUT_S,
            )
        return str(stored["generation"]) if stored else None

    async def report(self, usage: Mapping[str, Usage]) -> datetime:
        """Write what this worker does, and return when that was, by storage's clock."""
        async with self._requests("write", self._own):
            stored: Any = await answer_of(
                self._storage.upload(
                    self._bucket,
                    self._own,
                    b"",
                    content_type="text/plain",
                    parameters={"fields": "name,updated"},
                    metadata={"metadata": {_USAGE: to_text(usage)}},
                    timeout=TIMEOUT_S,
                    force_resumable_upload=False,
                ),
                self._bucket,
            )
        written_at = iso_time(stored.get("updated")) if is_resource(stored, self._own) else None
        if not written_at:
            raise NoAnswerError(f"storage answered without the object: {shortened(stored)}")
        return written_at

    async def reports(self, max_age_s: float) -> Collection[Report]:
        """Return what all workers do that have reported within so many seconds."""
        reports: list[Report] = []
        forgotten: list[str] = []
        params = {
            "prefix": self._workers,
            "fields": "items(name,updated,metadata),nextPageToken",
        }
        while True:
            async with self._requests("list", self._workers):
                page, now = await dated_page(
                    self._storage, self._bucket, params, timeout_s=TIMEOUT_S
                )
            for name, resource in zip(page.names, page.resources, strict=True):
                written_at = iso_time(resource.get("updated"))
                age_s = (now - written_at).total_seconds() if written_at else math.inf
                if age_s > FORGOTTEN_AFTER_S:
                    forgotten.append(name)
                # What anybody else has put there is no report.
                with contextlib.suppress(ValueError, LookupError, TypeError):
                    if written_at and age_s <= max_age_s:
                        reports.append(Report(from_text(resource["metadata"][_USAGE]), written_at))
            if not page.next_token:
                break
            params = {**params, "pageToken": page.next_token}
        await asyncio.gather(*map(self._delete, forgotten[:100]))
        return reports

    async def leave(self) -> None:
        """Remove this worker's report. Raises nothing."""
        await self._delete(self._own)

    async def _delete(self, name: str) -> None:
        with contextlib.suppress(StoreError):
            await answer_of(
                self._storage.delete(self._bucket, name, timeout=TIMEOUT_S), self._bucket
            )

    @contextlib.asynccontextmanager
    async def _requests(self, verb: str, name: str) -> AsyncIterator[None]:
        """Turn storage's errors into those of this room."""
        try:
            yield
        except StoreError as error:
            text = f"cannot {verb} {self._url(name)}: {error}"
            if error.status == 404 or error.meaning in (None, Meaning.TRANSIENT, Meaning.THERE):
                raise NoAnswerError(text) from error
            raise NotAllowedError(text) from error

    def _url(self, name: str) -> str:
        return f"gs://{self._bucket}/{name}"
