"""The broker's state in a SQLite file, so that it survives the process, even a SIGKILL.

Changes are recorded in lists in memory. `take` returns the recorded changes, and `write` writes
them in one transaction, from one thread at a time. So a publish request can wait for the write that
covers it, and many requests share a write, without blocking the event loop.

Leases and delivery attempts are not saved: after a restart, all unacknowledged messages can be
delivered at once.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import override

from localcloud.pubsub.log import Log, Restored
from localcloud.pubsub.message import Draft, Message
from localcloud.pubsub.settings import (
    DeadLetterPolicy,
    RetryPolicy,
    SubscriptionSettings,
    TopicSettings,
)

FILE = "pubsub.sqlite3"

_ID_GAP = 10_000
"""Ids skipped at a start, because they may have been delivered before their write."""

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
    """The changes of one transaction.

    `ordered` holds statements with their rows. Deletions can come last, because neither message
    ids nor subscription numbers are ever reused.
    """

    ordered: list[tuple[str, list[tuple[Any, ...]]]] = field(default_factory=list)
    dropped: list[tuple[int, int]] = field(default_factory=list)
    forgotten: list[tuple[int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.ordered or self.dropped or self.forgotten)


class Journal(Log):
    """A `Log` on disk. Only one server at a time can have its folder open.

    Args:
        folder: the state folder, created if missing.

    Raises:
        RuntimeError: another server has the folder open.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=0.5
        )
        try:
            # The lock is held until `close`, so that no second server uses the same state.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing. A power cut can lose the latest writes, not the file.
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
        """Return the state in the file. Call it once, before anything is recorded."""
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
            row[0]: Message.from_draft(row[0], row[1], Draft(row[2], json.loads(row[3]), row[4]))
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
        """Whether there are recorded changes that `take` has not returned."""
        return bool(self._changes)

    def take(self) -> Changes:
        """Return the changes recorded since the last call, for `write`."""
        changes, self._changes = self._changes, Changes()
        return changes

    def put_back(self, changes: Changes) -> None:
        """Undo a `take` whose `write` failed, so that the next `take` returns them again."""
        changes.ordered += self._changes.ordered
        changes.dropped += self._changes.dropped
        changes.forgotten += self._changes.forgotten
        self._changes = changes

    def write(self, changes: Changes) -> None:
        """Write all of the changes, or none.

        Raises:
            sqlite3.Error: the write failed, for example because the disk is full.
        """
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
        """Write all recorded changes synchronously."""
        self.write(self.take())

    def close(self) -> None:
        """Write all recorded changes, and close the file."""
        self.flush()
        self._db.close()

    @override
    def topic_saved(self, topic: TopicSettings) -> None:
        self._record(
            "INSERT OR REPLACE INTO topics VALUES (?, ?)", (topic.name, json.dumps(asdict(topic)))
        )

    @override
    def topic_deleted(self, name: str) -> None:
        self._record("DELETE FROM topics WHERE name = ?", (name,))

    @override
    def subscription_saved(self, subscription: SubscriptionSettings) -> None:
        number = self._numbers.get(subscription.name)
        if number is None:
            number = self._numbers[subscription.name] = self._next_number
            self._next_number += 1
        self._record(
            "INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?)",
            (number, subscription.name, json.dumps(asdict(subscription))),
        )

    @override
    def subscription_deleted(self, name: str) -> None:
        number = self._numbers.pop(name)
        self._record("DELETE FROM subscriptions WHERE number = ?", (number,))
        self._record("DELETE FROM backlog WHERE subscription = ?", (number,))

    @override
    def published(self, messages: Sequence[Message], subscription: str) -> None:
        number = self._numbers[subscription]
        self._record(
            "INSERT INTO backlog VALUES (?, ?)", *((number, message.id) for message in messages)
        )

    @override
    def stored(self, messages: Sequence[Message], next_message_id: int) -> None:
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

    @override
    def dropped(self, subscription: str, message_id: int) -> None:
        self._changes.dropped.append((self._numbers[subscription], message_id))

    @override
    def forgotten(self, message_id: int) -> None:
        self._changes.forgotten.append((message_id,))

    def _record(self, statement: str, *rows: tuple[Any, ...]) -> None:
        self._changes.ordered.append((statement, list(rows)))


def _subscription(fields: dict[str, Any]) -> SubscriptionSettings:
    if fields["dead_letter"] is not None:
        fields["dead_letter"] = DeadLetterPolicy(**fields["dead_letter"])
    if fields["retry"] is not None:
        fields["retry"] = RetryPolicy(**fields["retry"])
    return SubscriptionSettings(**fields)
