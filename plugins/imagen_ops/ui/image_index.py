"""The prompts that got images, in an SQLite file of this process: to search, filter and add up.

SQLite keeps the rows on disk, and works without Python's global lock. So a search over a hundred
thousand prompts takes neither the memory of Airflow's API server nor the time of its event loop.
"""

import dataclasses
import json
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from imagen_ops.ui.image_query import EDGE, Query, folded, in_ms
from imagen_ops.ui.index_entry import entry_of
from imagen_ops.ui.untrusted import moment, texts

# About 1 kB on disk each. With more, the oldest are dropped.
MAX_PROMPTS = 200_000
# Of the database's cache in memory, for each of its few connections.
_CACHE_KB = 1024
# Rows of one transaction: searches and the event loop get their turn in between.
_BATCH = 200
_CHOICES = 50

# What is shown is in a table of its own, so that a search reads less.
_SCHEMA = """
CREATE TABLE prompts (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    prompt_id TEXT NOT NULL,
    first TEXT NOT NULL,
    words TEXT NOT NULL,
    model TEXT NOT NULL,
    source TEXT NOT NULL,
    attributes TEXT NOT NULL,
    reused INTEGER NOT NULL,
    cost_usd REAL,
    images INTEGER NOT NULL
);
CREATE UNIQUE INDEX in_order ON prompts (at_ms DESC, prompt_id, first);
CREATE TABLE entries (id INTEGER PRIMARY KEY, entry TEXT NOT NULL);
"""
_INSERT = "INSERT OR IGNORE INTO prompts VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_KIND = "substr(source, 1, instr(source || ':', ':') - 1)"

Row = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        entries: the prompts of one page, newest first, as `panels.images.entries` shows them.
        after: where the next page starts; None if there is none.
        prompts: how many prompts were found in all.
        images: how many images these have.
    """

    entries: list[dict[str, Any]]
    after: tuple[int, int] | None
    prompts: int
    images: int


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    """What prompts of one model and source cost together.

    Attributes:
        model: of these prompts.
        source: `stream` or `backfill`.
        prompts: how many got images.
        reused: how many of them paid nothing.
        images: how many images the others got.
        usd: what they cost, as far as it is known.
        unknown: prompts whose cost is unknown.
    """

    model: str
    source: str
    prompts: int
    reused: int
    images: int
    usd: float
    unknown: int


class ImageIndex:
    """The index of one deployment. Use it from any thread.

    Args:
        max_prompts: how many to keep.
    """

    def __init__(self, max_prompts: int = MAX_PROMPTS) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="imagen-ui-")
        self._path = Path(self._folder.name, "index.sqlite3")
        self._max_prompts = max_prompts
        self._lock = threading.Lock()
        self._writer = self._connect()
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.executescript(_SCHEMA)
        self._local = threading.local()
        # To count them in the file takes longer than a search.
        self._count = 0
        self._models: set[str] = set()
        self._sources: set[str] = set()

    def add(self, records: Iterable[dict[str, Any]]) -> int:
        """Add the entries of an object of the jobs' index; return how many were new.

        What is no entry is skipped, and what is there already stays as it is.
        """
        total, rows = 0, _rows(records)
        while True:
            # Reading the lines too: more than one thread at it would crowd out the event loop.
            with self._lock, self._writer as connection:
                added, seen = 0, 0
                for row in islice(rows, _BATCH):
                    *columns, entry = row
                    inserted = connection.execute(_INSERT, columns)
                    if inserted.rowcount:
                        connection.execute(
                            "INSERT INTO entries VALUES (?, ?)", (inserted.lastrowid, entry)
                        )
                        self._note(*columns[4:6])
                        added += 1
                    seen += 1
                self._count += added
            total += added
            if seen < _BATCH:
                return total

    def drop_oldest(self) -> bool:
        """Drop the oldest prompts beyond the maximum; return whether there were any."""
        with self._lock, self._writer:
            last = self._writer.execute(
                "SELECT at_ms FROM prompts ORDER BY at_ms DESC LIMIT 1 OFFSET ?",
                (self._max_prompts,),
            ).fetchone()
            if last is None:
                return False
            self._writer.execute(
                "DELETE FROM entries WHERE id IN (SELECT id FROM prompts WHERE at_ms <= ?)", last
            )
            deleted = self._writer.execute("DELETE FROM prompts WHERE at_ms <= ?", last)
            self._count -= deleted.rowcount
        return True

    def clear(self) -> None:
        """Forget everything."""
        with self._lock, self._writer:
            self._writer.execute("DELETE FROM entries")
            self._writer.execute("DELETE FROM prompts")
            self._count = 0
            self._models.clear()
            self._sources.clear()

    def extent(self) -> tuple[int, datetime | None]:
        """Return how many prompts there are, and the time of the oldest."""
        ((oldest,),) = self._all("SELECT min(at_ms) FROM prompts")
        return self._count, None if oldest is None else datetime.fromtimestamp(oldest / 1000, UTC)

    def search(self, query: Query, limit: int, start: tuple[int, int] | None = None) -> Found:
        """Find prompts, newest first.

        Args:
            query: which.
            limit: maximum number of prompts.
            start: `after` of the page before.
        """
        where, values = query.condition()
        prompts, images = self._all(
            f"SELECT count(*), total(images) FROM prompts WHERE {where}", values
        )[0]
        if not prompts:
            return Found([], None, 0, 0)
        page, its_values = where, values
        at_ms, skip = start or (None, 0)
        if at_ms is not None:
            page, its_values = f"at_ms <= ? AND {where}", [at_ms, *values]
        # In an order that is the same in every process.
        rows = self._all(
            "SELECT at_ms, entry FROM "
            f"(SELECT id, at_ms, prompt_id, first FROM prompts WHERE {page} "
            "ORDER BY at_ms DESC, prompt_id, first LIMIT ? OFFSET ?) "
            "JOIN entries USING (id) ORDER BY at_ms DESC, prompt_id, first",
            [*its_values, limit + 1, skip],
        )
        shown = rows[:limit]
        after = None
        if len(rows) > limit:
            last = shown[-1][0]
            same = sum(row[0] == last for row in shown)
            after = (last, same + skip if last == at_ms else same)
        return Found([json.loads(row[1]) for row in shown], after, prompts, int(images))

    def choices(self) -> dict[str, list[str]]:
        """Return the models and the sources that prompts have; of backfills, that there are any."""
        with self._lock:
            return {"models": sorted(self._models), "sources": sorted(self._sources)}

    def _note(self, model: str, source: str) -> None:
        for choices, value in (
            (self._models, model),
            (self._sources, source.partition(":")[0]),
        ):
            if value and len(choices) < _CHOICES:
                choices.add(value)

    def spent(self, since: datetime) -> list[Spent]:
        """Return what prompts cost from `since` on, by model and source, the most first."""
        rows = self._all(
            f"SELECT model, {_KIND} AS kind, count(*), sum(reused), "
            "sum(iif(reused, 0, images)), total(cost_usd), "
            "sum(cost_usd IS NULL AND NOT reused) "
            "FROM prompts WHERE at_ms >= ? GROUP BY model, kind ORDER BY total(cost_usd) DESC",
            [in_ms(since)],
        )
        return [Spent(*row) for row in rows]

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return list(connection.execute(sql, values))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False)
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        # A lost file is read again.
        connection.execute("PRAGMA synchronous = OFF")
        return connection


def _rows(records: Iterable[dict[str, Any]]) -> Iterator[Row]:
    for record in records:
        at, images = moment(record.get("at")), texts(record.get("images"))
        if at is None or not images:
            continue
        entry = entry_of(record)
        attributes = [
            f"{name}={value}".replace(EDGE, " ") for name, value in entry["attributes"].items()
        ]
        words = (entry["prompt"], entry["prompt_id"], entry["digest"])
        row = (
            in_ms(at),
            entry["prompt_id"] or "",
            images[0],
            "\n".join(folded(word) for word in words if word),
            entry["model"] or "",
            entry["source"] or "",
            EDGE.join(("", *attributes, "")) if attributes else "",
            int(entry["reused"]),
            entry["cost_usd"],
            len(images),
            json.dumps({**entry, "images": images}),
        )
        # SQLite has no half of an emoji, which an index may contain.
        yield tuple(
            value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
            for value in row
        )
