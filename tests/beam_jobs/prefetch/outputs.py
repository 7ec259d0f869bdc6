"""Output of batch inference, as the service writes it."""

import base64
import json
from typing import Any

from beam_jobs.prefetch.manifest import ManifestRow
from beam_jobs.prefetch.request_row import rows_of
from beam_jobs.prompts.parse import Prompt
from localcloud.vertex.pictures import canned

RUN = "backfill:night-1"


def requests_of(prompt: Prompt, run: str = RUN) -> list[tuple[dict[str, Any], ManifestRow]]:
    """Return a prompt's requests, and what the manifest knows of them."""
    return [(json.loads(line)["request"], row) for line, row in rows_of(prompt, run)]


def answer(data: bytes, model: str, *, mime_type: str = "image/png") -> dict[str, Any]:
    """Return an answer with a picture, which costs 9 and 1,120 tokens."""
    part = {"inlineData": {"mimeType": mime_type, "data": base64.b64encode(data).decode()}}
    return {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 9,
            "candidatesTokenCount": 1120,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
            "trafficType": "ON_DEMAND",
        },
        "modelVersion": f"{model}@default",
    }


def output(request: Any, response: Any, status: Any = "") -> bytes:
    """Return a row of output, without its line end."""
    row = {
        "status": status,
        "processed_time": "2026-11-01T02:03:04.567+00:00",
        "request": request,
        "response": response,
    }
    return json.dumps(row).encode()


def picture(number: int) -> bytes:
    """Return a PNG that no other number has."""
    return canned(1000 + number)


def outputs_of(prompt: Prompt, *, first: int = 0) -> list[bytes]:
    """Return a row of output for each image of a prompt, each with another picture."""
    return [
        output(request, answer(picture(first + number), prompt.model))
        for number, (request, _) in enumerate(requests_of(prompt))
    ]
