"""The requests of batch inference: a call's body on a line, with a label that says what for. Pure.

The service echoes a request beside its answer, in any order. The label tells which one it is, and
`contents_hash` whether it still asks for what was asked.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from beam_jobs.images.receipt import payer_of
from beam_jobs.models.gemini_request import request_of
from beam_jobs.prefetch.manifest import ManifestRow
from beam_jobs.prompts.parse import Prompt

# Keys and values of labels have at most 63 lower-case letters, digits, underscores and dashes:
# https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/add-custom-metadata-labels
LABEL = "imagen-image"


def rows_of(prompt: Prompt, run: str) -> Iterator[tuple[bytes, ManifestRow]]:
    """Yield the requests for a prompt's images, each as a line, and what is known of it.

    Args:
        prompt: the prompt. Its references have been looked up, and its digest covers them.
        run: the run whose delivery pays, as the engine names it.
    """
    payer = payer_of(run, prompt.origin)
    deciding = prompt.deciding
    for index in range(prompt.images):
        image = f"{prompt.digest}-{index}"
        request = request_of(prompt, index)
        row = ManifestRow(
            image=image,
            images=prompt.images,
            model=prompt.model,
            deciding=deciding,
            references=prompt.references,
            request=contents_hash(request),
            payer=payer,
        )
        yield _line({"request": {**request, "labels": {LABEL: image}}}), row


def label_of(request: Any) -> str | None:
    """Return the image that an echoed request is for, as its label says; None if it has none."""
    labels = request.get("labels") if isinstance(request, dict) else None
    image = labels.get(LABEL) if isinstance(labels, dict) else None
    return image if isinstance(image, str) else None


def contents_hash(request: Any) -> str:
    """Return 32 hex digits for the texts and the files in a request's contents, in their order.

    The service may write the rest of a request anew: other names for fields, enums and defaults.

    Args:
        request: the body of a call, as it was sent or as it came back, of whatever form.
    """
    contents = request.get("contents") if isinstance(request, dict) else None
    told = json.dumps(list(_told(contents)), separators=(",", ":"))
    return hashlib.sha256(told.encode("ascii")).hexdigest()[:32]


def _told(contents: Any) -> Iterator[tuple[str, str]]:
    for content in contents if isinstance(contents, list) else [contents]:
        parts = content.get("parts") if isinstance(content, Mapping) else None
        for part in parts if isinstance(parts, list) else [parts]:
            if not isinstance(part, Mapping):
                continue
            if isinstance(text := part.get("text"), str):
                yield "text", text
            file = part.get("fileData") or part.get("file_data")
            if isinstance(file, Mapping):
                yield "file", str(file.get("fileUri") or file.get("file_uri"))


def _line(value: Mapping[str, Any]) -> bytes:
    # In ASCII: some readers take U+2028 in a text for a line end.
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
