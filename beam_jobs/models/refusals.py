"""What an error answer of a model means: one table for both protocols. Pure.

Sources of the rows:

- google.rpc.Code, which `error.status` names, with the HTTP number of each:
  https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
- "API errors" of the models on Vertex AI, where 400 FAILED_PRECONDITION is a model that the project
  may not use: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors
- google.api.ErrorReason, the reasons of the domain `googleapis.com`:
  https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
- 499 CANCELLED and 409 ABORTED under load, although nobody cancelled anything:
  https://github.com/google-gemini/gemini-cli/issues/20309
- 425: RFC 8470. 529: sent by proxies in front of overloaded services.
"""

import dataclasses
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from beam_jobs.models.answer_json import decode


class Meaning(StrEnum):
    """Whose fault an error is, and so what helps."""

    OVER_QUOTA = "over_quota"  # slow down
    OVERLOADED = "overloaded"  # fewer calls at once
    TRANSIENT = "transient"  # the same call again
    OPERATOR = "operator"  # nothing, until somebody mends it for all prompts
    BLOCKED = "blocked"  # another prompt: this one is refused for its content
    PROMPT = "prompt"  # another prompt: this one is not valid


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer.

    Args:
        number: the HTTP status.
        status: the name of a google.rpc.Code; empty if the answer has none.
        reasons: those of google.rpc.ErrorInfo.
        of_infrastructure: whether a reason is about the call rather than its content: about keys,
            billing, enabled services and the like.
        message: what the service says.
        retry_delay: how long to wait, such as `3.5s`; empty if the answer does not say.
    """

    number: int
    status: str = ""
    reasons: frozenset[str] = frozenset()
    of_infrastructure: bool = False
    message: str = ""
    retry_delay: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    """What tells a meaning: a reason, else a status, else a number."""

    meaning: Meaning
    reasons: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()


_TABLE = (
    _Row(
        Meaning.OVER_QUOTA,
        reasons=frozenset(
            {
                "RATE_LIMIT_EXCEEDED",
                "RESOURCE_QUOTA_EXCEEDED",
                # Older Google APIs and their gateways send these with 403.
                "rateLimitExceeded",
                "userRateLimitExceeded",
                "quotaExceeded",
            }
        ),
        # With 429 always, with 503 and 400 sometimes.
        statuses=frozenset({"RESOURCE_EXHAUSTED"}),
        numbers=frozenset({429}),
    ),
    _Row(
        Meaning.TRANSIENT,
        statuses=frozenset({"ABORTED", "CANCELLED"}),
        numbers=frozenset({409, 425, 499}),
    ),
    _Row(
        Meaning.OPERATOR,
        statuses=frozenset(
            {
                "FAILED_PRECONDITION",
                "UNAUTHENTICATED",
                "PERMISSION_DENIED",
                "NOT_FOUND",
                "UNIMPLEMENTED",
            }
        ),
        numbers=frozenset({401, 403, 404, 501}),
    ),
    _Row(
        Meaning.OVERLOADED,
        statuses=frozenset({"UNAVAILABLE", "INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED"}),
        numbers=frozenset({408, *range(500, 600)}),
    ),
)

# What a number may say about the request itself: its form, its size, its type. No other number
# does: 402 is billing; 405, 421 and redirects are not the API's host; 407, 511 and many without a
# name are of proxies; 410 is a retired model.
_OF_THE_REQUEST = frozenset({400, 413, 414, 415, 422})
# The codes of google.rpc.Code that are sent with 400 and are about the request's content.
_STATUSES_OF_THE_REQUEST = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE"})
# Size alone says whose fault it is, whoever says so.
_OF_ITS_SIZE = frozenset({413, 414})

# What an operator has to mend, although the service calls it INVALID_ARGUMENT or another 400.
_OPERATORS_WORDS = re.compile(
    r"api key (not valid|expired)|billing|organi[sz]ation('s)? policy|vpc ?service ?controls"
    r"|\bconstraints/|service perimeter",
    re.IGNORECASE,
)

# How Imagen refuses a prompt: with 400 INVALID_ARGUMENT, in words that change, but with a support
# code of eight digits. Any other 400 means a bad request, or something between here and the model.
# https://cloud.google.com/vertex-ai/generative-ai/docs/image/responsible-ai-imagen
# https://github.com/google-marketing-solutions/adios/issues/62 ("Support codes: …")
# https://github.com/epam/ai-dial-adapter-vertexai/issues/66 ("Error Code: …")
_BLOCKED_WORDS = re.compile(
    r"google's responsible ai practices|support codes?: *\d{8}\b", re.IGNORECASE
)
_BLOCKED_WORDS_OF_GOOGLE = re.compile(
    r"error codes?: *\d{8}\b"
    r"|the prompt could not be submitted"
    r"|violates? (our|vertex ai's|google's) (policies|usage guidelines)"
    r"|safety filter threshold prohibited"
    r"|blocked (by|because of|due to) (our |your |the )?(selected |current )?safety "
    r"(filter|setting|threshold)",
    re.IGNORECASE,
)

# An HTML page of a proxy says what it has to say in its first line or two.
_MAX_TEXT_BYTES = 200


def meaning_of(refusal: Refusal) -> Meaning:
    """Return what an error answer means.

    What says most decides: a reason more than a status, and a status more than the number, which a
    proxy may have changed. It is the prompt's own fault only where the service says so.
    """
    for row in _TABLE:
        if row.reasons & refusal.reasons:
            return row.meaning
    for row in _TABLE:
        if refusal.status in row.statuses:
            return row.meaning
    for row in _TABLE:
        if refusal.number in row.numbers:
            return row.meaning
    if refusal.number >= 600:  # no HTTP status, so not the service's
        return Meaning.TRANSIENT
    if refusal.number not in _OF_THE_REQUEST or refusal.of_infrastructure:
        return Meaning.OPERATOR
    return _meaning_of_bad_request(refusal)


def is_about_fields(refusal: Refusal) -> bool:
    """Return whether an answer may be about the request's fields, rather than who sent it."""
    return (
        refusal.number in _OF_THE_REQUEST - _OF_ITS_SIZE
        and not refusal.of_infrastructure
        and not any(refusal.status in row.statuses for row in _TABLE)
        and meaning_of(refusal) in (Meaning.OPERATOR, Meaning.PROMPT)
    )


def _meaning_of_bad_request(refusal: Refusal) -> Meaning:
    """Return what an answer means whose number is about the request."""
    if _OPERATORS_WORDS.search(refusal.message):
        return Meaning.OPERATOR
    if refusal.number == 400:
        if _BLOCKED_WORDS.search(refusal.message):
            return Meaning.BLOCKED
        if refusal.status not in _STATUSES_OF_THE_REQUEST:
            # Google's services always name one. This is a firewall, a gateway, or a container.
            return Meaning.OPERATOR
        if _BLOCKED_WORDS_OF_GOOGLE.search(refusal.message):
            return Meaning.BLOCKED
    elif refusal.message.startswith("<") and refusal.number not in _OF_ITS_SIZE:
        return Meaning.OPERATOR  # a proxy's page
    return Meaning.PROMPT


def parse_refusal(number: int, body: bytes) -> Refusal:
    """Return what an error answer says, in whatever form.

    Args:
        number: the HTTP status.
        body: a google.rpc.Status as `{"error": …}` or `[{"error": …}]`; JSON of a container; or
            text, such as the HTML page of a proxy.
    """
    try:
        answer = decode(body)
    except ValueError:
        return Refusal(number, message=_short(body))
    # Gateways send the error itself, without the object around it.
    error = error_in(answer) or (answer if isinstance(answer, Mapping) else {})
    details = [each for each in _list(error.get("details")) if isinstance(each, Mapping)]
    named = [*details, *(each for each in _list(error.get("errors")) if isinstance(each, Mapping))]
    return Refusal(
        number,
        status=str(error.get("status") or ""),
        reasons=frozenset(str(each["reason"]) for each in named if each.get("reason")),
        of_infrastructure=any(
            each.get("reason") and each.get("domain") == "googleapis.com" for each in details
        ),
        message=str(error.get("message") or _short(body)),
        retry_delay=next((str(each["retryDelay"]) for each in details if "retryDelay" in each), ""),
    )


def error_in(answer: Any) -> Mapping[str, Any] | None:
    """Return the error in a decoded answer; None if there is none. An answer of 200 may have one.

    Args:
        answer: an object, or a list of objects as streaming methods answer.
    """
    for each in answer if isinstance(answer, list) else [answer]:
        error = each.get("error") if isinstance(each, Mapping) else None
        if isinstance(error, Mapping):
            return error
        if error and isinstance(error, str):
            return {"message": error}
    return None


def code_of(error: Mapping[str, Any]) -> int:
    """Return the HTTP status that an error in an answer of 200 names; 500 if it names none."""
    code = error.get("code")
    return code if isinstance(code, int) and 300 <= code < 600 else 500


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _short(body: bytes) -> str:
    return " ".join(body[:_MAX_TEXT_BYTES].decode("utf-8-sig", "replace").split())
