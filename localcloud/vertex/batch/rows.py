"""One row of a job: the answer to a request, as a line of JSON.

Examples of rows that succeeded and failed are on the page that the package names; one with
`trafficType` is at https://docs.litellm.ai/docs/providers/vertex_batch, and one of a request that
was refused at https://github.com/GoogleCloudPlatform/generative-ai/issues/1308.
"""

import dataclasses
import datetime
import json
from http import HTTPStatus
from typing import Any

from aiohttp import web

from beam_jobs.catalog import CATALOG
from localcloud.vertex.batch.settings import Settings
from localcloud.vertex.behaviour import Behaviour, Fault
from localcloud.vertex.billing import BATCH, Usage
from localcloud.vertex.calls import ApiError, GarbledError, raise_fault
from localcloud.vertex.generator import Asked, Generator

# Where each kind of fault begins to count its rows, so that they do not all hit the same ones.
_PHASES = {
    name: number / 8
    for number, name in enumerate(
        (
            "missing_rate",
            "failed_rate",
            "wordless_rate",
            "doubled_rate",
            "unlabelled_rate",
            "relabelled_rate",
            "no_image_rate",
        )
    )
}
_UNFINISHED = (Fault.HANG, Fault.CUT)
_SLOW_FACTOR = 20.0


@dataclasses.dataclass(frozen=True)
class Row:
    """A finished row.

    Attributes:
        lines: what to write: one line, or the same twice.
        usage: what it costs; None if nothing.
        images: how many final images it has.
        failed: whether it has an error instead of an answer.
        factor: how many times as long as others it took.
    """

    lines: tuple[bytes, ...]
    usage: Usage | None = None
    images: int = 0
    failed: bool = False
    factor: float = 1.0


class Rows:
    """Answers the requests of one job.

    Args:
        model: the model that answers.
        generator: makes the answers.
        behaviour: what prompts request for themselves.
        settings: what is wrong with rows.
    """

    def __init__(
        self, model: str, generator: Generator, behaviour: Behaviour, settings: Settings
    ) -> None:
        self._model = model
        self._generator = generator
        self._behaviour = behaviour
        self._settings = settings

    async def answer(self, request: dict[str, Any], place: int) -> Row | None:
        """Answer a request.

        Args:
            request: a GenerateContentRequest.
            place: how many rows of the job were before this one.

        Returns:
            The row; None if it is never finished.
        """
        if self._chosen("missing_rate", place):
            return None
        echo = self._echo(request, place)
        try:
            asked = self._parse(request)
            fault = self._behaviour.requested_fault(asked.prompt)
            if fault in _UNFINISHED:
                return None
            raise_fault(self._fault_of_rates(place) or fault)
            if self._chosen("no_image_rate", place):
                fault = Fault.NOT_AN_IMAGE
            answer = await self._generator.answer(asked, BATCH, fault=fault)
        except ApiError as error:
            return Row((_line(_status_of(error), echo, b"{}"),), failed=True)
        except (GarbledError, web.HTTPOk):
            return Row((_line("INTERNAL", echo, b"{}"),), failed=True)
        line = _line("", echo, b"".join(answer.pieces))
        return Row(
            (line, line) if self._chosen("doubled_rate", place) else (line,),
            usage=answer.usage,
            images=answer.images,
            factor=_SLOW_FACTOR if fault is Fault.SLOW else 1.0,
        )

    def _parse(self, request: dict[str, Any]) -> Asked:
        asked = Asked.parse(request, self._model)
        batch = CATALOG[self._model].batch
        if batch and asked.options.size not in batch.sizes:
            raise ApiError(
                400,
                "Request contains an invalid argument: image_config.image_size "
                f"{asked.options.size!r}.",
            )
        return asked

    def _fault_of_rates(self, place: int) -> Fault | None:
        if self._chosen("failed_rate", place):
            return Fault.QUOTA
        return Fault.GARBAGE if self._chosen("wordless_rate", place) else None

    def _echo(self, request: dict[str, Any], place: int) -> dict[str, Any]:
        if self._chosen("unlabelled_rate", place):
            return {name: value for name, value in request.items() if name != "labels"}
        if self._chosen("relabelled_rate", place):
            labels = request.get("labels")
            if isinstance(labels, dict):
                return {**request, "labels": {key: f"{value}-x" for key, value in labels.items()}}
        return request

    def _chosen(self, name: str, place: int) -> bool:
        """Return whether a row is one of those that a rate hits: evenly, and exactly as many."""
        rate = min(1.0, float(getattr(self._settings, name)))
        phase = _PHASES[name]
        return int((place + 1) * rate + phase) > int(place * rate + phase)


def _line(status: str, request: dict[str, Any], response: bytes) -> bytes:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    head = json.dumps({"status": status, "processed_time": now, "request": request})
    return head[:-1].encode() + b', "response": ' + response + b"}\n"


def _status_of(error: ApiError) -> str:
    """Return the text of a row's status: the HTTP status in words, and the error as JSON."""
    try:
        words = HTTPStatus(error.status).phrase
    except ValueError:
        words = error.code
    body = {"error": {"code": error.status, "message": str(error), "status": error.code}}
    return f"{words}: {json.dumps(body)}"
