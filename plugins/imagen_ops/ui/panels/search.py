"""Searching images: what a reader asks for, and what the page's index has of it."""

import dataclasses
from datetime import UTC, date, datetime, timedelta
from typing import Any

from imagen_ops.ui.image_index import ImageIndex
from imagen_ops.ui.image_query import Query
from imagen_ops.ui.index_reader import IndexReader
from imagen_ops.ui.panels.images import with_url
from imagen_ops.ui.sharing import ReadError
from imagen_ops.ui.storage import Storage

# Prompts on a page, each with its one to four images.
MAX_LIMIT = 100
# Where a page starts: a time in ms, and how many prompts of that time to skip.
CURSOR = r"^\d{1,15}\.\d{1,6}$"
# Characters of one search, for the address that has to carry it. The index has 500 of a prompt.
MAX_CHARS = 2_000
_MAX_WORDS = 32
_FIRST_YEAR, _LAST_YEAR = 2000, 2200
# A search waits so long for what is new.
_PATIENCE_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A search as the address has it. Empty: not asked for.

    Args:
        q: words.
        model: the whole name.
        source: its beginning.
        attribute: `NAME=VALUE`.
        first: the first day in UTC, as YYYY-MM-DD.
        last: the last day.
        min_usd: the least cost of a prompt in US dollars.
        max_usd: the highest cost.
    """

    q: str = ""
    model: str = ""
    source: str = ""
    attribute: str = ""
    first: str = ""
    last: str = ""
    min_usd: str = ""
    max_usd: str = ""

    def query(self) -> Query:
        """Return what to look for.

        Raises:
            ValueError: something cannot be looked for; the message tells the reader what and why.
        """
        for value in dataclasses.astuple(self):
            if len(value) > MAX_CHARS:
                raise ValueError(
                    f"a search has at most {MAX_CHARS:,} characters, and this has {len(value):,}: "
                    "leave some out"
                )
        words = tuple(dict.fromkeys(self.q.split()))
        if len(words) > _MAX_WORDS:
            raise ValueError(
                f"a search has at most {_MAX_WORDS} words, and this has {len(words)}: leave some "
                "out"
            )
        if self.attribute and "=" not in self.attribute:
            raise ValueError(
                f"an attribute is NAME=VALUE, such as tenant=acme, got {self.attribute[:100]!r}"
            )
        first, last = _day(self.first), _day(self.last)
        if first and last and last < first:
            raise ValueError(
                f"the range ends ({last}) before it begins ({first}): exchange the days"
            )
        least, most = _usd(self.min_usd), _usd(self.max_usd)
        if least is not None and most is not None and most < least:
            raise ValueError(f"the costs end (${most:g}) before they begin (${least:g})")
        return Query(
            words=words,
            model=self.model,
            source=self.source,
            attribute=self.attribute,
            since=_midnight(first),
            until=_midnight(last + timedelta(days=1)) if last else None,
            min_usd=least,
            max_usd=most,
        )


class Search:
    """Answers searches from an index that it keeps up to date meanwhile.

    Args:
        storage: the deployment's.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.index = ImageIndex()
        self.reader = IndexReader(storage, self.index)

    def answer(self, asked: Asked, limit: int, before: str | None) -> dict[str, Any]:
        """Return one page of what a search found. Blocks.

        Args:
            asked: the search.
            limit: maximum number of prompts.
            before: the previous page's `next`; None: start at the newest.

        Returns:
            `images`, each prompt's side by side; `next`; `found` and `searched`, counts; `choices`
            of the filters. Where the search makes no sense, `problem` alone tells why.

        Raises:
            ReadError: nothing of the index could be read.
        """
        try:
            query = asked.query()
        except ValueError as problem:
            return {"problem": str(problem), "images": [], "next": None}
        location = self._storage.settings().images_location
        progress = self.reader.progress(_PATIENCE_S)
        if progress.error and not progress.prompts:
            raise ReadError(progress.error)
        start = tuple(map(int, before.split("."))) if before else None
        found = self.index.search(query, limit, start)  # type: ignore[arg-type]
        return {
            "problem": None,
            "images": [
                with_url({"path": path, **entry}, location)
                for entry in found.entries
                for path in entry.pop("images")
            ],
            "next": ".".join(map(str, found.after)) if found.after else None,
            "found": {"prompts": found.prompts, "images": found.images},
            "searched": {
                "prompts": progress.prompts,
                "since": progress.since.isoformat() if progress.since else None,
                "complete": progress.complete,
                "error": progress.error,
            },
            "choices": self.index.choices(),
        }


def _day(value: str) -> date | None:
    try:
        day = date.fromisoformat(value) if value else None
    except ValueError:
        day = date.min
    if day and not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(f"a day is YYYY-MM-DD, such as 2026-11-29, got {value[:100]!r}")
    return day


def _midnight(day: date | None) -> datetime | None:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None


def _usd(value: str) -> float | None:
    try:
        usd = float(value) if value else None
    except ValueError:
        usd = -1.0
    if usd is not None and not 0 <= usd < 1e9:
        raise ValueError(f"a cost is a number of US dollars, such as 0.04, got {value[:100]!r}")
    return usd
