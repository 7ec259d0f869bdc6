"""What it means when Cloud Storage refuses a request, above all to create an object. Pure.

Statuses and reasons: https://cloud.google.com/storage/docs/json_api/v1/status-codes. An object is
created with `ifGenerationMatch=0`, so that only a condition that is not met says that it is there.
"""

import dataclasses
from enum import StrEnum

import orjson


class Meaning(StrEnum):
    """What a refused request means."""

    THERE = "there"  # the object to create exists
    UNCLEAR = "unclear"  # it may exist, or nobody may create it
    TRANSIENT = "transient"  # it passes by itself
    OPERATOR = "operator"  # somebody has to mend it, for all objects alike
    OBJECT = "object"  # this object is never accepted


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    meaning: Meaning
    statuses: frozenset[int]
    reasons: frozenset[str] = frozenset()


# The first row that fits decides: by status, and by reason where it has reasons.
_TABLE = (
    _Row(Meaning.THERE, frozenset({412}), frozenset({"conditionNotMet"})),
    # Without a body, as from a proxy.
    _Row(Meaning.UNCLEAR, frozenset({412}), frozenset({""})),
    # 408 uploadBrokenConnection, 409 conflict, 410 and 499 of sessions, 429 rateLimitExceeded, 5xx
    # backendError; 502 and 504 are not JSON.
    _Row(Meaning.TRANSIENT, frozenset({408, 409, 410, 425, 429, 499, *range(500, 600)})),
    # Older Google APIs and their gateways send these with 403.
    _Row(
        Meaning.TRANSIENT,
        frozenset({403}),
        frozenset({"rateLimitExceeded", "userRateLimitExceeded"}),
    ),
    _Row(Meaning.OBJECT, frozenset({413})),
    # What is left: 400 cloudKms* and userProject*, 401, 402, 403 forbidden and accountDisabled, 404
    # of the bucket, 412 orgPolicyConstraintFailed. All requests are alike, so that any other 400 is
    # about the bucket too.
)


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer of Cloud Storage.

    Args:
        status: the HTTP status, 300 or above.
        reason: the machine-readable reason; empty if the answer has none.
        message: what the service says.
    """

    status: int
    reason: str
    message: str

    @classmethod
    def parse(cls, status: int, text: str) -> "Refusal":
        """Return what an answer says.

        Args:
            status: its HTTP status.
            text: its body, maybe after other text; JSON or not.
        """
        try:
            error = orjson.loads(text[text.index("{") :])["error"]
            reason, message = error["errors"][0]["reason"], error["message"]
        except (ValueError, LookupError, TypeError):
            reason, message = "", " ".join(text[:200].split())
        return cls(status, str(reason), str(message))

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.reason else self.message

    @property
    def is_about_replacing(self) -> bool:
        """Whether an object was refused because its name is taken, and may not be replaced.

        Who may create objects and not delete them is told so:
        https://cloud.google.com/storage/docs/access-control/iam-permissions. Cloud Storage does not
        say whether it looks at permissions or at `ifGenerationMatch` first.
        """
        return self.status == 403 and "storage.objects.delete" in self.message

    @property
    def meaning(self) -> Meaning:
        """What the refusal means, for a request to create an object or a similar one."""
        if self.is_about_replacing:
            return Meaning.UNCLEAR
        for row in _TABLE:
            if self.status in row.statuses and (not row.reasons or self.reason in row.reasons):
                # A policy may be told as conditionNotMet too, with "Request violates constraint
                # 'constraints/…'": https://github.com/googleapis/java-storage/issues/1240.
                if row.meaning is Meaning.THERE and "constraint" in self.message.lower():
                    break
                return row.meaning
        return Meaning.OPERATOR
