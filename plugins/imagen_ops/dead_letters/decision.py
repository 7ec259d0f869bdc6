"""What becomes of a dead letter: back to the prompts, into the archive, or left where it is.

Pure decisions: nothing here talks to anything. The jobs' side of the format is
`beam_jobs.outcomes`, which parsing a DAG file must not need; a test holds the two together.
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

FAILURE_SCHEMA = "imagen.failure/1"

# Attributes of a prompt come round again in its dead letter: so each counts its own replays.
REPLAYS_ATTRIBUTE = "replays"

# Reasons that the jobs give with `retryable`; the others never are.
REPLAYABLE = ("UNAVAILABLE", "NO_IMAGE", "MODEL_ERROR", "STORAGE_ERROR")

UNREADABLE = "UNREADABLE"

# https://cloud.google.com/pubsub/quotas#resource_limits. One message beyond them would have a
# whole publish request refused, each time anew.
_MAX_ATTRIBUTES = 100
_MAX_KEY_BYTES = 256
_MAX_VALUE_BYTES = 1_024

_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_COUNT = re.compile(r"[0-9]{1,6}")


@dataclasses.dataclass(frozen=True)
class ReplayForm:
    """What the trigger form asks.

    Attributes:
        dry_run: only count.
        reasons: retryable dead letters of these are replayed; of others they are left.
        most: dead letters per run.
        max_replays: of one prompt; after so many it is archived.
    """

    dry_run: bool = False
    reasons: tuple[str, ...] = REPLAYABLE
    most: int = 10_000
    max_replays: int = 3

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "ReplayForm":
        """Take the fields of the form out of a run's parameters; others are left alone."""
        names = {field.name for field in dataclasses.fields(cls)}
        taken = {name: value for name, value in given.items() if name in names}
        if "reasons" in taken:
            taken["reasons"] = tuple(taken["reasons"])
        return cls(**taken)


@dataclasses.dataclass(frozen=True)
class DeadLetter:
    """A prompt without images, as a job reported it.

    Attributes:
        reason: why, in one word of capitals.
        retryable: whether the same prompt may succeed another time.
        body: of the prompt's message, the beginning only if `truncated`.
        attributes: of the prompt's message.
        content: all that the dead letter says; JSON.
    """

    reason: str
    retryable: bool
    body: bytes
    attributes: Mapping[str, str]
    truncated: bool
    content: Mapping[str, Any]

    @property
    def replays(self) -> int:
        """How often it has been replayed. What is no count was set by somebody else: none."""
        given = self.attributes.get(REPLAYS_ATTRIBUTE, "")
        return int(given) if _COUNT.fullmatch(given) else 0

    def again(self) -> tuple[bytes, dict[str, str]]:
        """Return body and attributes of the prompt's message, as it was, but for its count."""
        return self.body, {**self.attributes, REPLAYS_ATTRIBUTE: str(self.replays + 1)}


class Disposition(StrEnum):
    """What becomes of a dead letter."""

    REPLAY = "replay"
    ARCHIVE = "archive"
    LEAVE = "leave"


@dataclasses.dataclass(frozen=True)
class Decision:
    """A dead letter's disposition and why, for people; `letter` is None if it cannot be read."""

    disposition: Disposition
    why: str
    letter: DeadLetter | None

    @property
    def reason(self) -> str:
        """What to count and archive it under."""
        return self.letter.reason if self.letter else UNREADABLE


class UnreadableError(ValueError):
    """What came is no dead letter; the message says what was expected."""


def decide(data: bytes, form: ReplayForm) -> Decision:
    """Decide what becomes of the message with the body `data`."""
    try:
        letter = read(data)
    except UnreadableError as error:
        return Decision(Disposition.ARCHIVE, str(error), None)
    if not letter.retryable:
        return Decision(Disposition.ARCHIVE, "not retryable", letter)
    if letter.reason not in form.reasons:
        return Decision(
            Disposition.LEAVE, f"not among the reasons {', '.join(form.reasons)}", letter
        )
    if letter.replays >= form.max_replays:
        why = f"replayed {letter.replays} times, max_replays is {form.max_replays}"
        return Decision(Disposition.ARCHIVE, why, letter)
    if obstacle := _obstacle(letter):
        return Decision(Disposition.ARCHIVE, obstacle, letter)
    return Decision(Disposition.REPLAY, f"replay {letter.replays + 1}", letter)


def read(data: bytes) -> DeadLetter:
    """Read a dead letter.

    Raises:
        UnreadableError: it is none.
    """
    try:
        content = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON: {type(error).__name__}: {error}"[:300]) from None
    if not isinstance(content, dict):
        raise UnreadableError(f"expected a JSON object, got {type(content).__name__}")
    if content.get("schema") != FAILURE_SCHEMA:
        raise UnreadableError(
            f"expected the schema {FAILURE_SCHEMA}, got {content.get('schema')!r}"[:300]
        )
    reason, retryable = content.get("reason"), content.get("retryable")
    body, attributes = content.get("body"), content.get("attributes")
    # It becomes a folder's name.
    if not isinstance(reason, str) or not _REASON.fullmatch(reason):
        raise UnreadableError(f"expected a reason such as UNAVAILABLE, got {reason!r}"[:300])
    if not isinstance(retryable, bool):
        raise UnreadableError(f"expected retryable to be true or false, got {retryable!r}"[:300])
    if not isinstance(attributes, dict) or not all(isinstance(v, str) for v in attributes.values()):
        raise UnreadableError("expected attributes to be an object of strings")
    if not isinstance(body, str):
        raise UnreadableError(f"expected body to be a string of base64, got {type(body).__name__}")
    try:
        decoded = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableError(f"expected body to be base64: {error}") from None
    truncated = "body_truncated_from_bytes" in content
    return DeadLetter(reason, retryable, decoded, attributes, truncated, content)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _obstacle(letter: DeadLetter) -> str:
    """Return why a prompt cannot be published as it was; empty if it can."""
    if letter.truncated:
        return "the dead letter holds only the beginning of the prompt's message"
    _, attributes = letter.again()
    if len(attributes) > _MAX_ATTRIBUTES:
        return f"{len(attributes)} attributes, Pub/Sub takes at most {_MAX_ATTRIBUTES}"
    for key, value in attributes.items():
        try:
            too_long = len(key.encode()) > _MAX_KEY_BYTES or len(value.encode()) > _MAX_VALUE_BYTES
        except UnicodeEncodeError:  # JSON can spell half a surrogate pair
            return f"attribute {key!r} is not Unicode text"[:300]
        if not key or key.startswith("goog") or too_long:
            return f"attribute {key!r} is none that Pub/Sub takes"[:300]
    return ""


@dataclasses.dataclass
class ReplayCounts:
    """How many dead letters became what, by reason; what cannot be read has none."""

    replayed: Counter[str] = dataclasses.field(default_factory=Counter)
    archived: Counter[str] = dataclasses.field(default_factory=Counter)
    left: Counter[str] = dataclasses.field(default_factory=Counter)
    unreadable: int = 0

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "ReplayCounts":
        """Go on from what an earlier try has done. What it left was not its to count."""
        return cls(
            Counter(record["replayed"]),
            Counter(record["archived"]),
            unreadable=record["unreadable"],
        )

    def add(self, decision: Decision) -> None:
        """Count one."""
        if decision.letter is None:
            self.unreadable += 1
            return
        counter = {
            Disposition.REPLAY: self.replayed,
            Disposition.ARCHIVE: self.archived,
            Disposition.LEAVE: self.left,
        }[decision.disposition]
        counter[decision.reason] += 1

    def to_json(self) -> dict[str, Any]:
        """Return the counts; what is zero is left out of those by reason."""
        return {
            "replayed": dict(sorted(self.replayed.items())),
            "archived": dict(sorted(self.archived.items())),
            "left": dict(sorted(self.left.items())),
            "unreadable": self.unreadable,
        }

    def __str__(self) -> str:
        named = {"replayed": self.replayed, "archived": self.archived, "left": self.left}
        parts = [f"{counter.total()} {name}{_by(counter)}" for name, counter in named.items()]
        return ", ".join([*parts, f"{self.unreadable} unreadable"])


def _by(counter: Counter[str]) -> str:
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(counter.items()))
    return f" ({counts})" if counts else ""
