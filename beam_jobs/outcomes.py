"""How a prompt ends: as a `Prediction` or as a `Failure`, and how either is written to Pub/Sub.

This module is the only place that knows the two message formats. Consumers, health checks and
replays read what `encode` writes.
"""

import base64
import dataclasses
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

PREDICTION_SCHEMA = "imagen.prediction/1"
FAILURE_SCHEMA = "imagen.failure/1"
# The schema of the counts that a backfill writes to --report.
REPORT_SCHEMA = "imagen.report/1"

# Half the price of one token is some hundred of these.
NANO_PER_USD = 10**9

# The namespace of both jobs' counters.
METRICS_NAMESPACE = "imagen"

# A message with this attribute and a signature (`beam_jobs.prompts.canary`) is a health probe. It
# passes through the whole job, but no model is called for it, and `predictions-sub` filters it out.
CANARY_ATTRIBUTE = "canary"

# The jobs set these on the messages they publish. Incoming attributes with these names are dropped.
RESERVED_ATTRIBUTES = frozenset({"prompt_id", "deduplication_key", "source", "reason", "retryable"})

# How often a prompt has been replayed from the dead letters. Set by whoever replays it.
REPLAYS_ATTRIBUTE = "replays"

# https://cloud.google.com/pubsub/quotas#resource_limits: at most 100 attributes per message and
# 1,024 bytes per value. The reserved attributes must still fit. The replay count does not count
# towards this limit: a prompt that was accepted once must be accepted again when it is replayed.
MAX_ATTRIBUTES = 100 - len(RESERVED_ATTRIBUTES)

# A dead letter holds only the beginning of a body that is larger than any valid prompt: in base64,
# a 10 MB message would no longer fit into a Pub/Sub message.
MAX_DEAD_LETTER_BODY_BYTES = 1 << 20


class Reason(StrEnum):
    """Why a prompt has no images."""

    INVALID_PROMPT = "INVALID_PROMPT"
    BLOCKED = "BLOCKED"
    NO_IMAGE = "NO_IMAGE"
    MODEL_ERROR = "MODEL_ERROR"
    UNAVAILABLE = "UNAVAILABLE"
    STORAGE_ERROR = "STORAGE_ERROR"
    OVER_BUDGET = "OVER_BUDGET"
    CUSTOM_FUNCTION_FAILED = "CUSTOM_FUNCTION_FAILED"


def known_usd(nano_usd: int, unpriced_calls: int) -> float | None:
    """Return a cost in US dollars for messages and records. An unknown one is None, never 0.

    Args:
        nano_usd: what calls cost, as far as their answers tell.
        unpriced_calls: calls that may have cost something that no answer tells.

    Returns:
        None if no call with a cost has a known one.
    """
    return nano_usd / NANO_PER_USD if nano_usd or not unpriced_calls else None


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What one prompt cost.

    Args:
        images: images that this prompt's calls made; 0 when all were found.
        bytes: size of those images.
        calls: model calls.
        quota_refusals: model calls that were answered with 429.
        throttled_ms: milliseconds spent waiting for quota.
        latency_ms: milliseconds from the start of the work to its end.
        cost_usd: what the calls cost in US dollars, as far as their answers tell.
        unpriced_calls: calls that may have cost something that no answer tells.
        input_tokens: of the prompt, over all calls.
        text_tokens: of words and thoughts in the answers.
        image_tokens: of pictures in the answers.
        tier: the tier that served the last call, as its answer names it; `batch` for what batch
            inference made in the prompt's name; empty if none is known.
        other_model: whether another model answered than the one that was asked.
        unsigned: images whose prediction should have signed URLs, and has none.
    """

    images: int = 0
    bytes: int = 0
    calls: int = 0
    quota_refusals: int = 0
    throttled_ms: int = 0
    latency_ms: int = 0
    cost_usd: float = 0.0
    unpriced_calls: int = 0
    input_tokens: int = 0
    text_tokens: int = 0
    image_tokens: int = 0
    tier: str = ""
    other_model: bool = False
    unsigned: int = 0

    @property
    def nano_usd(self) -> int:
        """What the calls cost, as far as their answers tell, in whole billionths of a US dollar.

        Sums of these are exact, in whatever order they are added up.
        """
        return round(self.cost_usd * NANO_PER_USD)

    def cost(self) -> dict[str, Any]:
        """Return the fields of a message that say what the prompt cost."""
        return {
            "cost_usd": known_usd(self.nano_usd, self.unpriced_calls),
            "unpriced_calls": self.unpriced_calls,
            "tokens": {
                "input": self.input_tokens,
                "text": self.text_tokens,
                "image": self.image_tokens,
            },
            "tier": self.tier,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """The images of one prompt.

    Args:
        prompt_id: the id that the sender gave, or one from `beam_jobs.prompts.identity.made_id`.
        deduplication_key: the same for outcomes that say the same; see `deduplication_key_of`.
        digest: names everything that decides the images; empty for a canary.
        prompt: the prompt's text; empty for a canary.
        images: `gs://` paths; empty for a canary.
        model: the model that made the images; empty for a canary.
        source: `stream` or `backfill:RUN`.
        reused: whether others had paid for the images already, so that nothing was paid for them.
        created_at: UTC time in ISO 8601, with milliseconds.
        latency_ms: milliseconds from the start of the work to its end.
        attributes: those of the incoming message, without the reserved ones.
        parameters: the prompt's other fields that decide the image, by name; not in the message.
        requested_model: the model that the prompt asked for, if that is another one.
        model_version: the model that answered, as its answer names it; empty for images that were
            found.
        template: the template that the text is made of, as NAME@GENERATION; empty if there is none.
        signed_urls: URLs by which anybody can read the images for some hours, in their order; empty
            if none were asked for, or could be signed. Secrets: in the message, and nowhere else.
        work: what the prompt cost.
    """

    prompt_id: str
    deduplication_key: str
    digest: str
    prompt: str
    images: tuple[str, ...]
    model: str
    source: str
    reused: bool
    created_at: str
    latency_ms: int
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    requested_model: str = ""
    model_version: str = ""
    template: str = ""
    signed_urls: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    work: Work = Work()

    @property
    def canary(self) -> bool:
        """Whether this answers a health probe."""
        return CANARY_ATTRIBUTE in self.attributes


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why one prompt has no images.

    Args:
        prompt_id: the id that the sender gave, or one from `beam_jobs.prompts.identity.made_id`.
        deduplication_key: that of every outcome of the same prompt.
        reason: the kind of failure.
        detail: what was given, what was expected and where.
        retryable: whether the same body may succeed later without changes.
        attempts: model calls.
        body: the original message body, for replays.
        attributes: those of the original message.
        source: `stream` or `backfill:RUN`.
        template: the template of the prompt's text, as NAME@GENERATION; empty if there is none, or
            if it was not found.
        work: what the prompt cost.
    """

    prompt_id: str
    deduplication_key: str
    reason: Reason
    detail: str
    retryable: bool
    attempts: int
    body: bytes
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: str = ""
    template: str = ""
    work: Work = Work()

    @property
    def canary(self) -> bool:
        """Whether this refuses a message that claimed to be a health probe."""
        return CANARY_ATTRIBUTE in self.attributes


Outcome = Prediction | Failure


def forwarded_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes of an incoming message that its prediction has too."""
    return {
        key: value
        for key, value in attributes.items()
        # Pub/Sub refuses to publish keys that begin with "goog".
        if key not in RESERVED_ATTRIBUTES and not key.startswith("goog")
    }


def encode(outcome: Outcome) -> tuple[bytes, dict[str, str]]:
    """Return the Pub/Sub message for `outcome`: its body (JSON in UTF-8) and its attributes."""
    if isinstance(outcome, Prediction):
        payload: dict[str, Any] = {
            "schema": PREDICTION_SCHEMA,
            "prompt_id": outcome.prompt_id,
            "deduplication_key": outcome.deduplication_key,
            "digest": outcome.digest,
            "prompt": outcome.prompt,
            "images": list(outcome.images),
            "signed_urls": list(outcome.signed_urls),
            "model": outcome.model,
            "source": outcome.source,
            "reused": outcome.reused,
            "created_at": outcome.created_at,
            "latency_ms": outcome.latency_ms,
            "requested_model": outcome.requested_model or outcome.model,
            "model_version": outcome.model_version,
            "template": outcome.template,
            **outcome.work.cost(),
        }
        attributes = {
            **outcome.attributes,
            "prompt_id": outcome.prompt_id,
            "deduplication_key": outcome.deduplication_key,
            "source": outcome.source,
        }
    else:
        payload = {
            "schema": FAILURE_SCHEMA,
            "prompt_id": outcome.prompt_id,
            "deduplication_key": outcome.deduplication_key,
            "reason": outcome.reason.value,
            "detail": outcome.detail,
            "retryable": outcome.retryable,
            "attempts": outcome.attempts,
            "template": outcome.template,
            **outcome.work.cost(),
            "source": outcome.source,
            "body": base64.b64encode(outcome.body[:MAX_DEAD_LETTER_BODY_BYTES]).decode("ascii"),
            "attributes": dict(outcome.attributes),
        }
        if len(outcome.body) > MAX_DEAD_LETTER_BODY_BYTES:
            payload["body_truncated_from_bytes"] = len(outcome.body)
        attributes = {
            "prompt_id": outcome.prompt_id,
            "deduplication_key": outcome.deduplication_key,
            "source": outcome.source,
            "reason": outcome.reason.value,
            "retryable": str(outcome.retryable).lower(),
        }
    # A service's error text may hold a lone surrogate, which UTF-8 JSON can only hold escaped.
    text = json.dumps(payload, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace"), attributes
