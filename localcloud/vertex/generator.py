"""What a model answers to `:generateContent`, whether it is called or asked by a batch job."""

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from localcloud.vertex.behaviour import Fault
from localcloud.vertex.billing import Served, Usage, usage_of
from localcloud.vertex.calls import ApiError
from localcloud.vertex.files import Files
from localcloud.vertex.models import PictureOptions, picture_options
from localcloud.vertex.painter import Painter

# The answers that are billed and have no picture.
_WITHOUT_A_PICTURE: Mapping[Fault | None, Mapping[str, Any]] = {
    Fault.BLOCKED: {
        "promptFeedback": {
            "blockReason": "PROHIBITED_CONTENT",
            "blockReasonMessage": "The prompt was refused.",
        }
    },
    Fault.BLOCKED_IMAGE: {"candidates": [{"finishReason": "IMAGE_SAFETY"}]},
    Fault.EMPTY: {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "Here you are."}]},
                "finishReason": "STOP",
            }
        ]
    },
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request for a picture.

    Attributes:
        model: the model that answers.
        body: the request as JSON.
        options: what it asks of the picture.
        parts: of all its contents.
        prompt: the text of its parts.
    """

    model: str
    body: dict[str, Any]
    options: PictureOptions
    parts: list[dict[str, Any]]
    prompt: str

    @classmethod
    def parse(cls, body: dict[str, Any], model: str) -> "Asked":
        """Parse a request.

        Raises:
            ApiError: 400; it has no contents, or asks for what the model does not make.
        """
        options = picture_options(body, model)
        try:
            parts = [part for content in body["contents"] for part in content["parts"]]
            prompt = "\n".join(part["text"] for part in parts if "fileData" not in part)
        except (KeyError, TypeError, AttributeError):
            raise ApiError(400, "contents: expected a list of contents with text parts.") from None
        return cls(model, body, options, parts, prompt)


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        pieces: of a GenerateContentResponse as JSON. That of a prepared picture is the same object
            in all answers, so that a thousand of them at once take little memory.
        usage: what it costs.
        images: how many final pictures it has.
    """

    pieces: tuple[bytes, ...]
    usage: Usage
    images: int


class Generator:
    """Answers requests.

    Args:
        painter: makes the pictures.
        files: reads the pictures that requests name.
    """

    def __init__(self, painter: Painter, files: Files) -> None:
        self._painter = painter
        self._files = files
        # Without a seed, a model draws a different picture each time for the same prompt.
        self._times_drawn: Counter[int] = Counter()

    async def answer(self, asked: Asked, tier: Served, *, fault: Fault | None) -> Answer:
        """Answer a request.

        Args:
            asked: the request.
            tier: the tier that answers, or batch inference.
            fault: of the answer.

        Raises:
            ApiError: a picture that the request names is not there, or the options are invalid.
        """
        without = _WITHOUT_A_PICTURE.get(fault)
        usage = usage_of(
            asked.model,
            tier,
            request=asked.body,
            images=0 if without else 1,
            size=asked.options.size,
            level=asked.options.thinking_level,
        )
        about = {"usageMetadata": usage.metadata(), "modelVersion": asked.model}
        if without:
            return Answer((json.dumps({**without, **about}).encode(),), usage, images=0)
        references: tuple[bytes, ...] = ()
        if any("fileData" in part for part in asked.parts):
            references = await asyncio.to_thread(self._files.shown_by, asked.parts)
        data = await self._painter.picture(
            fault,
            asked.prompt,
            references=references,
            model=asked.model,
            index=self._next_index(asked.prompt),
            seed=asked.options.seed,
            aspect_ratio=asked.options.aspect_ratio,
            image_size=asked.options.size,
        )
        drafts = (*_part(self._painter.draft()), b",") if fault is Fault.DRAFTS else ()
        pieces = (
            b'{"candidates":[{"content":{"role":"model","parts":[',
            *drafts,
            *_part(data, thought=fault is Fault.THOUGHT_IMAGE),
            b']},"finishReason":"STOP"}],' + json.dumps(about)[1:].encode(),
        )
        return Answer(pieces, usage, images=1)

    def _next_index(self, prompt: str) -> int:
        self._times_drawn[hash(prompt)] += 1
        return (self._times_drawn[hash(prompt)] - 1) % 4


def _part(data: bytes, *, thought: bool = False) -> tuple[bytes, ...]:
    flag = b'"thought":true,' if thought else b""
    return b"{" + flag + b'"inlineData":{"mimeType":"image/png","data":"', data, b'"}}'
