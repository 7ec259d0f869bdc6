"""One job's life: it waits, answers row after row, and ends."""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any, TypeVar

from localcloud import rest
from localcloud.vertex.batch.agent import CANCELLED, INTERNAL, AgentError, ServiceAgent
from localcloud.vertex.batch.job import Job, State
from localcloud.vertex.batch.output import Output
from localcloud.vertex.batch.requests_file import RequestsFile
from localcloud.vertex.batch.rows import Row, Rows
from localcloud.vertex.batch.settings import KEPT_BEFORE, KEPT_HALFWAY, Settings

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

# How often a job that waits looks whether it can go on.
_POLL_S = 0.02
# The time in the name of a job's folder is close to that of its creation and not the same:
# https://github.com/googleapis/python-genai/issues/486
_FOLDER_DELAY_S = 0.423


class _EndedError(Exception):
    """The job is over; with its final state."""


class Run:
    """Runs a job.

    Args:
        job: the job.
        rows: answers its requests.
        agent: reads its input, and writes its output.
        settings: how it behaves.
        finished: called with each row that was finished, to bill it.
        changed: called when the job has another state.
    """

    def __init__(
        self,
        job: Job,
        *,
        rows: Rows,
        agent: ServiceAgent,
        settings: Settings,
        finished: Callable[[Row], None],
        changed: Callable[[], None],
    ) -> None:
        self._job = job
        self._rows = rows
        self._agent = agent
        self._settings = settings
        self._finished = finished
        self._changed = changed
        # -1 until the rows were counted, as in CompletionStats.
        self._incomplete = -1

    async def run(self) -> None:
        """Run the job to its end."""
        try:
            await self._wait()
            await self._answer_all()
            self._end(State.PARTIALLY_SUCCEEDED if self._incomplete else State.SUCCEEDED)
        except _EndedError as end:
            self._end(end.args[0])
        except AgentError as error:
            self._job.error = error.status()
            self._job.incomplete = self._incomplete
            self._enter(State.FAILED)
        except Exception as error:
            # What a row has in it is no business of the log.
            _log.error("%s failed: %s", self._job.name, type(error).__name__)
            self._end(State.FAILED)

    async def _wait(self) -> None:
        await self._sleep(self._settings.pending_s)
        await self._keep(KEPT_BEFORE)
        if self._settings.end_in and self._settings.end_after == 0:
            raise _EndedError(self._forced_end())

    async def _answer_all(self) -> None:
        job, settings = self._job, self._settings
        requests = await _in_thread(
            RequestsFile, self._agent, job.order.input_uri, max_requests=settings.max_requests
        )
        try:
            job.started_at = rest.now()
            job.output_directory = (
                f"{job.order.output_prefix.rstrip('/')}/prediction-model-"
                f"{rest.rfc3339(job.created_at + _FOLDER_DELAY_S)}"
            )
            self._enter(State.RUNNING)
            output = Output(
                self._agent,
                job.output_directory,
                rows=len(requests),
                shard_rows=settings.shard_rows,
                cut=settings.cut,
            )
            await self._answer_each(requests, output)
        finally:
            requests.close()

    async def _answer_each(self, requests: RequestsFile, output: Output) -> None:
        """Answer the rows. However the job ends, what was finished is exported."""
        self._incomplete = len(requests)
        try:
            for place, number in enumerate(requests.order(self._job.id)):
                await self._before(place, len(requests))
                row = await self._rows.answer(requests.line(number), place)
                await self._sleep(self._settings.row_s * (row.factor if row else 1.0))
                if row:
                    for line in row.lines:
                        await _in_thread(output.write, line)
                    self._count(row)
        except _EndedError:
            await _in_thread(output.close)
            raise
        except BaseException:
            await _in_thread(output.discard)
            raise
        await _in_thread(output.close)

    async def _before(self, place: int, count: int) -> None:
        """Stay, or end, as the settings want it before a row."""
        if place == math.ceil(count / 2):
            await self._keep(KEPT_HALFWAY)
            self._enter(State.RUNNING)
        if self._settings.end_in and place >= math.ceil(count * self._settings.end_after):
            raise _EndedError(self._forced_end())
        self._stop_if_cancelled()

    def _count(self, row: Row) -> None:
        self._incomplete -= 1
        if row.failed:
            self._job.failed += 1
        else:
            self._job.successful += 1
        self._finished(row)

    async def _keep(self, states: tuple[State, ...]) -> None:
        while self._settings.kept_in in {state.short for state in states}:
            kept = State(f"JOB_STATE_{self._settings.kept_in}")
            if self._job.state is not kept:
                self._enter(kept)
            await self._sleep(_POLL_S)

    async def _sleep(self, seconds: float) -> None:
        """Wait, unless the job is cancelled meanwhile."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        self._stop_if_cancelled()
        while (left := until - loop.time()) > 0:
            await asyncio.sleep(min(left, _POLL_S))
            self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        if self._job.state is State.CANCELLING:
            raise _EndedError(State.CANCELLED)

    def _forced_end(self) -> State:
        return State(f"JOB_STATE_{self._settings.end_in}")

    def _enter(self, state: State) -> None:
        self._job.enter(state)
        self._changed()

    def _end(self, state: State) -> None:
        self._job.incomplete = self._incomplete
        # `error` is "only populated when the job's state is JOB_STATE_FAILED or
        # JOB_STATE_CANCELLED": google.cloud.aiplatform.v1.BatchPredictionJob.
        if state is State.FAILED:
            self._job.error = {"code": INTERNAL, "message": "INTERNAL"}
        elif state is State.CANCELLED:
            self._job.error = {"code": CANCELLED, "message": "CANCELLED"}
        elif state is State.PARTIALLY_SUCCEEDED:
            missing = f"{self._incomplete} rows were not finished."
            self._job.partial_failures = [{"code": INTERNAL, "message": missing}]
        self._enter(state)


async def _in_thread(function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """Call what asks Cloud Storage. A job that is stopped waits for it, so that none goes on."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise
