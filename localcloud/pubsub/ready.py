"""The messages of one subscription that wait for a subscriber, and in what order they leave.

New messages leave in the order of publication. Messages that came back (nack, expired lease) have a
queue of their own that takes turns with the new ones: a redelivery does not wait behind 50,000
others, and a message that is refused for ever does not starve the rest.

With ordering keys, a key stands in the queue instead of its messages, and only while none of them
is leased. So the messages of a key go out in order, and nothing overtakes one that is being worked
on.
"""

import heapq
from collections import deque

from localcloud.pubsub.entry import Entry, State


class OrderingKey:
    """The messages of one ordering key: those that wait, lowest id first, and those leased."""

    __slots__ = ("leased", "name", "queued", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: list[tuple[int, Entry]] = []
        self.leased: dict[int, Entry] = {}
        self.queued = False


class ReadyQueue:
    """A queue that hands out READY entries only: an entry that changed its state is skipped."""

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._fresh: deque[Entry | OrderingKey] = deque()
        self._returned: deque[Entry | OrderingKey] = deque()
        self._returned_turn = True
        self._keys: dict[str, OrderingKey] = {}
        self._standing = 0

    def __len__(self) -> int:
        """How many entries stand here, READY or not."""
        return self._standing

    def push(self, entry: Entry) -> None:
        """Queue an entry that has become READY; one that still stands here keeps its place."""
        key = self._key(entry)
        if key is None:
            if not entry.queued:
                (self._returned if entry.attempts else self._fresh).append(entry)
        else:
            if not entry.queued:
                heapq.heappush(key.waiting, (entry.message.id, entry))
            self._offer(key)
        self._stand(entry, True)

    def pop(self, limit: int) -> list[Entry]:
        """The next entry, or up to `limit` of those under the next ordering key; none when empty.

        What the caller does not lease it has to hand to `put_back`.
        """
        while self._fresh or self._returned:
            take_returned = self._returned and (self._returned_turn or not self._fresh)
            self._returned_turn = not self._returned_turn
            item = (self._returned if take_returned else self._fresh).popleft()
            if isinstance(item, Entry):
                self._stand(item, False)
                if item.state is State.READY:
                    return [item]
                continue
            item.queued = False
            if not item.leased:
                ready: list[Entry] = []
                while item.waiting and len(ready) < limit:
                    _, entry = heapq.heappop(item.waiting)
                    self._stand(entry, False)
                    if entry.state is State.READY:
                        ready.append(entry)
                if ready:
                    return ready
                self._forget_if_empty(item)
        return []

    def put_back(self, entries: list[Entry]) -> None:
        """Return what `pop` gave and nobody leased to where it stood."""
        for entry in reversed(entries):
            key = self._key(entry)
            if key is None:
                (self._returned if entry.attempts else self._fresh).appendleft(entry)
            else:
                heapq.heappush(key.waiting, (entry.message.id, entry))
                self._offer(key)
            self._stand(entry, True)

    def leased(self, entry: Entry) -> None:
        """Tell that `entry` has been leased: its ordering key waits from now on."""
        key = self._key(entry)
        if key is not None:
            key.leased[entry.message.id] = entry

    def released(self, entry: Entry) -> list[Entry]:
        """Tell that `entry` is leased no longer, before it is pushed again or forgotten.

        Returns the later entries of its ordering key that are leased: if `entry` is to be
        delivered again, so must they be.
        """
        key = self._key(entry)
        if key is None:
            return []
        key.leased.pop(entry.message.id, None)
        self._forget_if_empty(key)
        self._offer(key)
        return [later for number, later in key.leased.items() if number > entry.message.id]

    def sweep(self) -> None:
        """Let go of the entries that are GONE. Takes time in proportion to all that stand here."""
        for key in list(self._keys.values()):
            key.waiting = [one for one in key.waiting if one[1].state is not State.GONE]
            heapq.heapify(key.waiting)
            key.queued = key.queued and bool(key.waiting)
            self._forget_if_empty(key)
        self._fresh = deque(item for item in self._fresh if _stays(item))
        self._returned = deque(item for item in self._returned if _stays(item))
        self._standing = sum(len(key.waiting) for key in self._keys.values()) + sum(
            isinstance(item, Entry) for item in (*self._fresh, *self._returned)
        )

    def _stand(self, entry: Entry, here: bool) -> None:
        self._standing += here - entry.queued
        entry.queued = here

    def _key(self, entry: Entry) -> OrderingKey | None:
        name = entry.message.ordering_key
        if not self._ordered or not name:
            return None
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = OrderingKey(name)
        return key

    def _forget_if_empty(self, key: OrderingKey) -> None:
        if not key.leased and not key.waiting and self._keys.get(key.name) is key:
            del self._keys[key.name]

    def _offer(self, key: OrderingKey) -> None:
        if not key.queued and not key.leased and key.waiting:
            key.queued = True
            self._fresh.append(key)


def _stays(item: Entry | OrderingKey) -> bool:
    return item.state is not State.GONE if isinstance(item, Entry) else item.queued
