"""Which prompts a search of the page's index of images finds. Pure."""

import dataclasses
import unicodedata
from datetime import datetime
from typing import Any

# Stands around each attribute in the index, and in none.
EDGE = "\x1f"


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """Which prompts to find. What is empty or None matches all of them.

    Args:
        words: each has to be in the prompt, the prompt id or the digest, in any case.
        model: the whole name.
        source: its beginning, such as `backfill`.
        attribute: of the message, as `NAME=VALUE`.
        since: the earliest time.
        until: the time before which it was.
        min_usd: the least cost of a prompt. A prompt of unknown cost is below and above nothing.
        max_usd: the highest cost.
    """

    words: tuple[str, ...] = ()
    model: str = ""
    source: str = ""
    attribute: str = ""
    since: datetime | None = None
    until: datetime | None = None
    min_usd: float | None = None
    max_usd: float | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """Return the condition in SQL, and the values of its parameters."""
        attribute = f"{EDGE}{self.attribute.replace(EDGE, ' ')}{EDGE}"
        terms: list[tuple[str, Any]] = [
            *(("instr(words, ?)", folded(word)) for word in self.words),
            ("model = ?", self.model or None),
            ("instr(source, ?) = 1", self.source or None),
            ("instr(attributes, ?)", attribute if self.attribute else None),
            ("at_ms >= ?", in_ms(self.since)),
            ("at_ms < ?", in_ms(self.until)),
            ("cost_usd >= ?", self.min_usd),
            ("cost_usd <= ?", self.max_usd),
        ]
        used = [(term, value) for term, value in terms if value is not None]
        return " AND ".join(("1", *(term for term, _ in used))), [value for _, value in used]


def folded(value: str) -> str:
    """Return text in which equal words are equal, whatever their case and their code points."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold())


def in_ms(at: datetime | None) -> int | None:
    """Return a time in milliseconds since 1970, as the index has it."""
    return None if at is None else int(at.timestamp() * 1000)
