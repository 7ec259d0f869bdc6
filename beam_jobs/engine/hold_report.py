"""Says in storage which models refuse every prompt, for the health check and the page.

No counter says it: on Dataflow, counters are those of prompts that are done, and these wait.
"""

import asyncio
import contextlib
import datetime
import json
import logging
from collections.abc import Callable, Iterable

import aiohttp
from gcloud.aio.storage import Storage

from beam_jobs.engine.model_gate import Hold
from beam_jobs.models.base import describe_error
from beam_jobs.names import HOLD_REPORT_EVERY_S, HOLD_SCHEMA, HOLDS_FOLDER

_log = logging.getLogger(__name__)

_TIMEOUT_S = 10


class HoldReport:
    """Writes an object per model whose prompts wait, and removes it afterwards.

    Args:
        session: sends the requests.
        bucket: of the images.
        source: what the job's outcomes name as their source.
        holds: returns the holds of this process.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        bucket: str,
        source: str,
        holds: Callable[[], Iterable[Hold]],
    ) -> None:
        self._storage = Storage(session=session)
        self._bucket = bucket
        self._source = source
        self._holds = holds
        self._reported: set[str] = set()

    async def run(self) -> None:
        """Report until cancelled. An error of storage costs one report."""
        while True:
            await asyncio.sleep(HOLD_REPORT_EVERY_S)
            try:
                await self.report()
            except Exception as error:
                _log.warning(
                    "cannot say which models refuse every prompt: %s", describe_error(error)[:300]
                )

    async def report(self) -> None:
        """Write what is held now, and remove what is not any more."""
        holds = {hold.model: hold for hold in self._holds()}
        for model in self._reported - holds.keys():
            self._reported.discard(model)
            # Another worker may have removed it already. What stays is soon too old to count.
            with contextlib.suppress(aiohttp.ClientResponseError):
                await self._storage.delete(self._bucket, _name(model), timeout=_TIMEOUT_S)
        for model, hold in holds.items():
            self._reported.add(model)
            content = {
                "schema": HOLD_SCHEMA,
                "model": model,
                "since": hold.since.isoformat(timespec="seconds"),
                "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "detail": hold.detail,
                "source": self._source,
            }
            await self._storage.upload(
                self._bucket,
                _name(model),
                json.dumps(content, indent=1),
                content_type="application/json",
                timeout=_TIMEOUT_S,
            )


def _name(model: str) -> str:
    return f"{HOLDS_FOLDER}/{model}.json"
