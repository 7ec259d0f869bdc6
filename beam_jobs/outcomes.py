"""How a prompt ends: as a `Prediction` or as a `Failure`, and how either is written to Pub/Sub.

This is the only place that knows the two message formats; consumers, health checks and replays
read what `encode` writes.
"""

import base64
import dataclasses
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

PREDICTION_SCHEMA = "imagen.prediction/1"
FAILURE_SCHEMA = "imagen.failure/1"

# A message that carries this attribute is a health probe: it travels the whole way, but no model
# is called for it, and `predictions-sub` filters it out.
CANARY_ATTRIBUTE = "canary"

# Set by us on what we publish; an incoming attribute of the same name gives way.
RESERVED_ATTRIBUTES = frozenset({"prompt_id", "source", "reason", "retryable"})

# How often a prompt has been a dead letter and come back; set by whoever replays it.
REPLAYS_ATTRIBUTE = "replays"

# https://cloud.google.com/pubsub/quotas#resource_limits: 100 attributes a message, 1,024 bytes a
# value. What we add must still fit. The count of replays is not among them: a prompt that was let
# in must not be turned away when it comes again.
MAX_ATTRIBUTES = 100 - len(RESERVED_ATTRIBUTES)

# Of a body that is larger than any valid prompt, only the beginning goes into the dead letter: a
# 10 MB message in base64 would not fit into a Pub/Sub message again.
MAX_DEAD_LETTER_BODY_BYTES = 1 << 20


class Reason(StrEnum):
    """Why a prompt has no images."""

    INVALID_PROMPT = "INVALID_PROMPT"
    BLOCKED = "BLOCKED"
    NO_IMAGE = "NO_IMAGE"
    MODEL_ERROR = "MODEL_ERROR"
    UNAVAILABLE = "UNAVAILABLE"
    STORAGE_ERROR = "STORAGE_ERROR"


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What a prompt cost, for the metrics; not part of any message.

    `images` and `bytes` are those paid for now (none when reused), `calls` the model calls made,
    `quota_refusals` those of them that were answered 429, `throttled_ms` the time spent waiting for
    quota.
    """

    images: int = 0
    bytes: int = 0
    calls: int = 0
    quota_refusals: int = 0
    throttled_ms: int = 0
    latency_ms: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """The images of one prompt. `images` are `gs://` paths, empty for a canary."""

    prompt_id: str
    digest: str
    prompt: str
    images: tuple[str, ...]
    model: str
    source: str
    reused: bool
    created_at: str
    latency_ms: int
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    work: Work = Work()

    @property
    def canary(self) -> bool:
        """Whether this is a health probe on its way back."""
        return CANARY_ATTRIBUTE in self.attributes


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why one prompt has no images.

    `detail` says what was given, what was expected and where; `retryable` whether the same body
    may succeed later, unchanged; `body` is the original message, so that it can be replayed.
    """

    prompt_id: str
    reason: Reason
    detail: str
    retryable: bool
    attempts: int
    body: bytes
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: str = ""
    work: Work = Work()


Outcome = Prediction | Failure


def encode(outcome: Outcome) -> tuple[bytes, dict[str, str]]:
    """Return the body (JSON in UTF-8) and the attributes of the message that reports `outcome`."""
    if isinstance(outcome, Prediction):
        payload: dict[str, Any] = {
            "schema": PREDICTION_SCHEMA,
            "prompt_id": outcome.prompt_id,
            "digest": outcome.digest,
            "prompt": outcome.prompt,
            "images": list(outcome.images),
            "model": outcome.model,
            "source": outcome.source,
            "reused": outcome.reused,
            "created_at": outcome.created_at,
            "latency_ms": outcome.latency_ms,
        }
        attributes = {
            **outcome.attributes,
            "prompt_id": outcome.prompt_id,
            "source": outcome.source,
        }
    else:
        payload = {
            "schema": FAILURE_SCHEMA,
            "prompt_id": outcome.prompt_id,
            "reason": outcome.reason.value,
            "detail": outcome.detail,
            "retryable": outcome.retryable,
            "attempts": outcome.attempts,
            "source": outcome.source,
            "body": base64.b64encode(outcome.body[:MAX_DEAD_LETTER_BODY_BYTES]).decode("ascii"),
            "attributes": dict(outcome.attributes),
        }
        if len(outcome.body) > MAX_DEAD_LETTER_BODY_BYTES:
            payload["body_truncated_from_bytes"] = len(outcome.body)
        attributes = {
            "prompt_id": outcome.prompt_id,
            "source": outcome.source,
            "reason": outcome.reason.value,
            "retryable": str(outcome.retryable).lower(),
        }
    # A service's words may hold half of a pair of surrogates, which JSON can only say escaped.
    text = json.dumps(payload, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace"), attributes
