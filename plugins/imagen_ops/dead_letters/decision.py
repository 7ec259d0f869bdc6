"""Deciding what to do with a dead letter: replay it, archive it, or leave it where it is.

Makes no calls. `beam_jobs.outcomes` defines the format of a dead letter.
"""

import base64
import binascii
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NoReturn

from beam_jobs.outcomes import FAILURE_SCHEMA, REPLAYS_ATTRIBUTE, Reason
from beam_jobs.shown import shown

# The reasons that jobs can give for retryable failures; no other reason is retryable.
REPLAYABLE = tuple(
    reason.value
    for reason in (
        *(Reason.UNAVAILABLE, Reason.NO_IMAGE, Reason.MODEL_ERROR, Reason.STORAGE_ERROR),
        # An invalid prompt is retryable if its template isn't there.
        *(Reason.OVER_BUDGET, Reason.CUSTOM_FUNCTION_FAILED, Reason.INVALID_PROMPT),
    )
)

UNREADABLE = "UNREADABLE"

# https://cloud.google.com/pubsub/quotas#resource_limits. Pub/Sub refuses a whole publish request,
# every time it is tried again, if one message is beyond these limits.
_MAX_ATTRIBUTES = 100
_MAX_KEY_BYTES = 256
_MAX_VALUE_BYTES = 1_024

_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_COUNT = re.compile(r"[0-9]{1,6}")


@dataclasses.dataclass(frozen=True)
class ReplayForm:
    """The fields of the trigger form.

    Attributes:
        dry_run: count the dead letters, and change nothing.
        reasons: retryable dead letters with one of these reasons are replayed, others are left.
        most: the maximum number of dead letters per run.
        max_replays: the maximum number of replays of one prompt, after which it is archived.
        prompt_ids: only these prompts' dead letters, others are left; empty: all.
    """

    dry_run: bool = False
    reasons: tuple[str, ...] = REPLAYABLE
    most: int = 10_000
    max_replays: int = 3
    prompt_ids: tuple[str, ...] = ()

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "ReplayForm":
        """Return the form that a run's parameters describe; ignores parameters of other names."""
        names = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in fields.items() if name in names}
        for name in {"reasons", "prompt_ids"} & values.keys():
            values[name] = tuple(values[name] or ())
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class DeadLetter:
    """A prompt without images, as a job reported it.

    Attributes:
        reason: the reason code, in capitals.
        retryable: whether the same prompt may succeed another time.
        body: the prompt's message; only its beginning if `truncated`.
        attributes: the attributes of the prompt's message.
        truncated: whether the dead letter holds only the beginning of the prompt's message.
        content: the whole dead letter as parsed JSON.
    """

    reason: str
    retryable: bool
    body: bytes
    attributes: Mapping[str, str]
    truncated: bool
    content: Mapping[str, Any]

    @property
    def replays(self) -> int:
        """How often the prompt has been replayed; 0 if the attribute holds no valid count."""
        value = self.attributes.get(REPLAYS_ATTRIBUTE, "")
        return int(value) if _COUNT.fullmatch(value) else 0

    def replay_message(self) -> tuple[bytes, dict[str, str]]:
        """Return the prompt's message to publish: its body, and its attributes with a new count."""
        return self.body, {**self.attributes, REPLAYS_ATTRIBUTE: str(self.replays + 1)}


class Disposition(StrEnum):
    """What to do with a dead letter."""

    REPLAY = "replay"
    ARCHIVE = "archive"
    LEAVE = "leave"


@dataclasses.dataclass(frozen=True)
class Decision:
    """What to do with a dead letter.

    Attributes:
        disposition: what to do.
        why: the reason for it, for people.
        letter: the dead letter; None if it cannot be read.
    """

    disposition: Disposition
    why: str
    letter: DeadLetter | None

    @property
    def reason(self) -> str:
        """The reason code to count and archive it under."""
        return self.letter.reason if self.letter else UNREADABLE


class UnreadableError(ValueError):
    """The message is not a dead letter. The text says what was expected."""


def decide(data: bytes, form: ReplayForm) -> Decision:
    """Decide what to do with the message that has the body `data`."""
    try:
        letter = parse(data)
    except UnreadableError as error:
        if form.prompt_ids:
            return Decision(Disposition.LEAVE, "not a dead letter of the form's prompts", None)
        return Decision(Disposition.ARCHIVE, str(error), None)
    if form.prompt_ids and letter.content.get("prompt_id") not in form.prompt_ids:
        return Decision(Disposition.LEAVE, "not one of the form's prompts", letter)
    if not letter.retryable:
        return Decision(Disposition.ARCHIVE, "not retryable", letter)
    if letter.reason not in form.reasons:
        why = f"its reason is not one of {', '.join(form.reasons)}"
        return Decision(Disposition.LEAVE, why, letter)
    if letter.replays >= form.max_replays:
        why = f"replayed {letter.replays} times; max_replays is {form.max_replays}"
        return Decision(Disposition.ARCHIVE, why, letter)
    if obstacle := _obstacle(letter):
        return Decision(Disposition.ARCHIVE, obstacle, letter)
    return Decision(Disposition.REPLAY, f"replay number {letter.replays + 1}", letter)


def parse(data: bytes) -> DeadLetter:
    """Return the dead letter in a message's body.

    Raises:
        UnreadableError: `data` is not a dead letter.
    """
    try:
        content = json.loads(data.decode("utf-8"), parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON: {type(error).__name__}: {error}"[:300]) from None
    if not isinstance(content, dict):
        raise UnreadableError(f"expected a JSON object, got {type(content).__name__}")
    if content.get("schema") != FAILURE_SCHEMA:
        raise UnreadableError(
            f"expected the schema {FAILURE_SCHEMA}, got {shown(ascii(content.get('schema')))}"[:300]
        )
    reason, retryable = content.get("reason"), content.get("retryable")
    body, attributes = content.get("body"), content.get("attributes")
    # The reason becomes the name of a folder.
    if not isinstance(reason, str) or not _REASON.fullmatch(reason):
        raise UnreadableError(shown(f"expected a reason such as UNAVAILABLE, got {reason!a}", 300))
    if not isinstance(retryable, bool):
        raise UnreadableError(
            shown(f"expected retryable to be true or false, got {retryable!a}", 300)
        )
    if not isinstance(attributes, dict) or not all(isinstance(v, str) for v in attributes.values()):
        raise UnreadableError("expected attributes to be an object of strings")
    if not isinstance(body, str):
        raise UnreadableError(f"expected body to be a base64 string, got {type(body).__name__}")
    try:
        decoded = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableError(f"expected body to be base64: {error}") from None
    truncated = "body_truncated_from_bytes" in content
    return DeadLetter(
        reason=reason,
        retryable=retryable,
        body=decoded,
        attributes=attributes,
        truncated=truncated,
        content=content,
    )


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _obstacle(letter: DeadLetter) -> str:
    """Return why a prompt cannot be published as it was; empty if it can."""
    if letter.truncated:
        return "the dead letter holds only the beginning of the prompt's message"
    _, attributes = letter.replay_message()
    if len(attributes) > _MAX_ATTRIBUTES:
        return f"{len(attributes)} attributes; Pub/Sub accepts at most {_MAX_ATTRIBUTES}"
    for key, value in attributes.items():
        try:
            too_long = len(key.encode()) > _MAX_KEY_BYTES or len(value.encode()) > _MAX_VALUE_BYTES
        except UnicodeEncodeError:  # JSON can contain half a surrogate pair
            return f"the attribute {shown(ascii(key))} is not valid Unicode text"[:300]
        if not key or key.startswith("goog") or too_long:
            return f"Pub/Sub does not accept the attribute {shown(ascii(key))}"[:300]
    return ""


@dataclasses.dataclass
class ReplayCounts:
    """How many dead letters were replayed, archived and left, by reason.

    Attributes:
        replayed: published as prompts again.
        archived: written to the archive, without the unreadable ones.
        left: left in the subscription.
        unreadable: not dead letters, so without a reason; archived as well.
    """

    replayed: Counter[str] = dataclasses.field(default_factory=Counter)
    archived: Counter[str] = dataclasses.field(default_factory=Counter)
    left: Counter[str] = dataclasses.field(default_factory=Counter)
    unreadable: int = 0

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ReplayCounts":
        """Return an earlier try's counts to continue from.

        Without those that it left: this try finds and counts them again.
        """
        return cls(
            replayed=Counter(record["replayed"]),
            archived=Counter(record["archived"]),
            unreadable=record["unreadable"],
        )

    def add(self, decision: Decision) -> None:
        """Count one dead letter."""
        if decision.letter is None and decision.disposition is Disposition.ARCHIVE:
            self.unreadable += 1
            return
        counter = {
            Disposition.REPLAY: self.replayed,
            Disposition.ARCHIVE: self.archived,
            Disposition.LEAVE: self.left,
        }[decision.disposition]
        counter[decision.reason] += 1

    def to_json(self) -> dict[str, Any]:
        """Return the counts; reasons with a count of zero are left out."""
        return {
            "replayed": dict(sorted(self.replayed.items())),
            "archived": dict(sorted(self.archived.items())),
            "left": dict(sorted(self.left.items())),
            "unreadable": self.unreadable,
        }

    def __str__(self) -> str:
        counters = {"replayed": self.replayed, "archived": self.archived, "left": self.left}
        parts = [
            f"{counter.total():,} {name}{_by_reason(counter)}" for name, counter in counters.items()
        ]
        return ", ".join([*parts, f"{self.unreadable:,} unreadable"])


def _by_reason(counter: Counter[str]) -> str:
    counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counter.items()))
    return f" ({counts})" if counts else ""
