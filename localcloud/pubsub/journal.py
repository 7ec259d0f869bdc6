"""The broker's state in one SQLite file, so that it outlives the process, SIGKILL included.

Recording is appending to lists in memory; `take` hands over what has gathered and `write` puts it
down in one transaction, from any one thread at a time. So whoever answers a publisher can wait for
the write that covers it, share that write with everyone else who waits, and keep the event loop
free. Leases and delivery attempts are not kept: after a restart everything unacknowledged is due.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from localcloud.pubsub.log import Restored
from localcloud.pubsub.message import Draft, Message
from localcloud.pubsub.settings import (
    DeadLetterPolicy,
    RetryPolicy,
    SubscriptionSettings,
    TopicSettings,
)

FILE = "pubsub.sqlite3"

_ID_GAP = 10_000
"""Ids skipped at a start: those that may have been delivered before the write that covers them."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, settings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions
    (number INTEGER PRIMARY KEY, name TEXT NOT NULL, settings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages
    (id INTEGER PRIMARY KEY, publish_ns INTEGER NOT NULL, data BLOB NOT NULL,
     attributes TEXT NOT NULL, ordering_key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS backlog
    (subscription INTEGER NOT NULL, message INTEGER NOT NULL,
     PRIMARY KEY (subscription, message)) WITHOUT ROWID;
"""
_COUNT = "INSERT OR REPLACE INTO counters VALUES (?, ?)"


@dataclass(slots=True)
class Changes:
    """What one transaction writes. `ordered` holds (statement, rows); drops may come last,
    since neither message ids nor subscription numbers are ever used again.
    """

    ordered: list[tuple[str, list[tuple[Any, ...]]]] = field(default_factory=list)
    dropped: list[tuple[int, int]] = field(default_factory=list)
    forgotten: list[tuple[int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.ordered or self.dropped or self.forgotten)


class Journal:
    """A `Log` on disk. `folder` is made if missing; one server at a time may have it open.

    Raises `RuntimeError` when another server has it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=0.5
        )
        try:
            # Held until `close`: two servers on one state would both believe they own it.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing; a power cut may lose the last moments, not the file.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            self._db.close()
            if "locked" not in str(error):
                raise
            raise RuntimeError(
                f"{self._path} is in use by another Pub/Sub server. Stop that one, or give this "
                "one a state folder of its own."
            ) from error
        self._changes = Changes()
        self._numbers: dict[str, int] = {}
        self._next_number = 1

    def restore(self) -> Restored:
        """What the file holds. To be called once, before anything is recorded."""
        counters: dict[str, int] = dict(self._db.execute("SELECT name, value FROM counters"))
        start = counters.get("start", 0) + 1
        next_message_id = counters.get("next_message_id", 1)
        if start > 1:
            next_message_id += _ID_GAP
        self._db.execute(_COUNT, ("start", start))
        self._db.execute(_COUNT, ("next_message_id", next_message_id))
        names: dict[int, str] = {}
        subscriptions = []
        rows = self._db.execute("SELECT number, name, settings FROM subscriptions ORDER BY number")
        for number, name, settings in rows:
            names[number] = name
            self._numbers[name] = number
            self._next_number = number + 1
            subscriptions.append(_subscription(json.loads(settings)))
        topics = [
            TopicSettings(**json.loads(settings))
            for (settings,) in self._db.execute("SELECT settings FROM topics ORDER BY name")
        ]
        messages = {
            row[0]: Message.of(row[0], row[1], Draft(row[2], json.loads(row[3]), row[4]))
            for row in self._db.execute("SELECT * FROM messages")
        }
        backlog: dict[str, list[Message]] = {name: [] for name in names.values()}
        for number, message_id in self._db.execute(
            "SELECT subscription, message FROM backlog ORDER BY subscription, message"
        ):
            backlog[names[number]].append(messages[message_id])
        return Restored(start, next_message_id, topics, subscriptions, backlog)

    @property
    def pending(self) -> bool:
        """Whether something has been recorded that `take` has not handed over."""
        return bool(self._changes)

    def take(self) -> Changes:
        """What has been recorded since the last time, for `write`."""
        changes, self._changes = self._changes, Changes()
        return changes

    def put_back(self, changes: Changes) -> None:
        """Undo a `take` whose `write` failed: the next one includes it."""
        changes.ordered += self._changes.ordered
        changes.dropped += self._changes.dropped
        changes.forgotten += self._changes.forgotten
        self._changes = changes

    def write(self, changes: Changes) -> None:
        """Put changes down, all or none. Raises `sqlite3.Error`, for instance on a full disk."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for statement, rows in changes.ordered:
                self._db.executemany(statement, rows)
            self._db.executemany(
                "DELETE FROM backlog WHERE subscription = ? AND message = ?", changes.dropped
            )
            self._db.executemany("DELETE FROM messages WHERE id = ?", changes.forgotten)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def flush(self) -> None:
        """Write what has been recorded, here and now."""
        self.write(self.take())

    def close(self) -> None:
        """Write what is left and give the file free."""
        self.flush()
        self._db.close()

    def topic_saved(self, topic: TopicSettings) -> None:
        """See `Log`."""
        self._record(
            "INSERT OR REPLACE INTO topics VALUES (?, ?)", (topic.name, json.dumps(asdict(topic)))
        )

    def topic_deleted(self, name: str) -> None:
        """See `Log`."""
        self._record("DELETE FROM topics WHERE name = ?", (name,))

    def subscription_saved(self, subscription: SubscriptionSettings) -> None:
        """See `Log`."""
        number = self._numbers.get(subscription.name)
        if number is None:
            number = self._numbers[subscription.name] = self._next_number
            self._next_number += 1
        self._record(
            "INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?)",
            (number, subscription.name, json.dumps(asdict(subscription))),
        )

    def subscription_deleted(self, name: str) -> None:
        """See `Log`."""
        number = self._numbers.pop(name)
        self._record("DELETE FROM subscriptions WHERE number = ?", (number,))
        self._record("DELETE FROM backlog WHERE subscription = ?", (number,))

    def published(self, messages: Sequence[Message], subscription: str) -> None:
        """See `Log`."""
        number = self._numbers[subscription]
        self._record(
            "INSERT INTO backlog VALUES (?, ?)", *((number, message.id) for message in messages)
        )

    def stored(self, messages: Sequence[Message], next_message_id: int) -> None:
        """See `Log`."""
        self._record(_COUNT, ("next_message_id", next_message_id))
        self._record(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?)",
            *(
                (
                    each.id,
                    each.publish_ns,
                    each.data,
                    json.dumps(each.attributes),
                    each.ordering_key,
                )
                for each in messages
            ),
        )

    def dropped(self, subscription: str, message_id: int) -> None:
        """See `Log`."""
        self._changes.dropped.append((self._numbers[subscription], message_id))

    def forgotten(self, message_id: int) -> None:
        """See `Log`."""
        self._changes.forgotten.append((message_id,))

    def _record(self, statement: str, *rows: tuple[Any, ...]) -> None:
        self._changes.ordered.append((statement, list(rows)))


def _subscription(fields: dict[str, Any]) -> SubscriptionSettings:
    if fields["dead_letter"] is not None:
        fields["dead_letter"] = DeadLetterPolicy(**fields["dead_letter"])
    if fields["retry"] is not None:
        fields["retry"] = RetryPolicy(**fields["retry"])
    return SubscriptionSettings(**fields)
