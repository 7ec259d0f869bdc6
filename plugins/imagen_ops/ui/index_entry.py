"""What the page shows of an entry of the jobs' index, whatever version of the jobs wrote it."""

from collections.abc import Mapping
from typing import Any

from imagen_ops.ui.prompt_parameters import prompt_parameters
from imagen_ops.ui.untrusted import flag, number, text, texts_and_numbers


def entry_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of an entry of the jobs' index, of any version, but its images."""
    attributes = texts_and_numbers(record.get("attributes"))
    return {
        "prompt": text(record.get("prompt")),
        "prompt_id": text(record.get("prompt_id")),
        "digest": text(record.get("digest")),
        "model": text(record.get("model")),
        "source": text(record.get("source")),
        "template": text(record.get("template")),
        "reused": bool(flag(record.get("reused"))),
        "at": text(record.get("at")),
        "latency_ms": number(record.get("latency_ms")),
        "cost_usd": number(record.get("cost_usd")),
        **prompt_parameters(record.get("parameters")),
        "attributes": {name: str(value) for name, value in attributes.items()},
    }
