"""The queue of one subscription's messages that are ready for delivery, and their order.

New messages are delivered in the order of publication. Returned messages (after a nack or an
expired lease) have a queue of their own, and the two queues take turns. So a redelivery does not
wait behind 50,000 other messages, and a message that is always nacked does not starve the rest.

With ordering keys, the queue holds the key instead of its messages, and only while none of them is
leased. So the messages of a key are delivered in order, and none overtakes a message in progress.
"""

import heapq
from collections import deque

from localcloud.pubsub.entry import Entry, State


class OrderingKey:
    """The messages of one ordering key: those waiting, lowest id first, and those leased."""

    __slots__ = ("leased", "name", "queued", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: list[tuple[int, Entry]] = []
        self.leased: dict[int, Entry] = {}
        self.queued = False


class ReadyQueue:
    """A queue that returns READY entries only; it skips entries whose state has changed."""

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._fresh: deque[Entry | OrderingKey] = deque()
        self._returned: deque[Entry | OrderingKey] = deque()
        self._returned_turn = True
        self._keys: dict[str, OrderingKey] = {}
        self._size = 0

    def __len__(self) -> int:
        """The number of queued entries, READY or not."""
        return self._size

    def push(self, entry: Entry) -> None:
        """Queue an entry that has become READY; an entry that is still queued keeps its place."""
        key = self._key(entry)
        if key is None:
            if not entry.queued:
                (self._returned if entry.attempts else self._fresh).append(entry)
        else:
            if not entry.queued:
                heapq.heappush(key.waiting, (entry.message.id, entry))
            self._offer(key)
        self._set_queued(entry, True)

    def pop(self, limit: int) -> list[Entry]:
        """Return the next entry, or up to `limit` entries of the next ordering key.

        The caller must return entries that it does not lease with `put_back`.
        """
        while self._fresh or self._returned:
            take_returned = self._returned and (self._returned_turn or not self._fresh)
            self._returned_turn = not self._returned_turn
            item = (self._returned if take_returned else self._fresh).popleft()
            if isinstance(item, Entry):
                self._set_queued(item, False)
                if item.state is State.READY:
                    return [item]
                continue
            item.queued = False
            if not item.leased:
                ready: list[Entry] = []
                while item.waiting and len(ready) < limit:
                    _, entry = heapq.heappop(item.waiting)
                    self._set_queued(entry, False)
                    if entry.state is State.READY:
                        ready.append(entry)
                if ready:
                    return ready
                self._forget_if_empty(item)
        return []

    def put_back(self, entries: list[Entry]) -> None:
        """Return entries from `pop` that were not leased to their former places."""
        for entry in reversed(entries):
            key = self._key(entry)
            if key is None:
                (self._returned if entry.attempts else self._fresh).appendleft(entry)
            else:
                heapq.heappush(key.waiting, (entry.message.id, entry))
                self._offer(key)
            self._set_queued(entry, True)

    def leased(self, entry: Entry) -> None:
        """Note that `entry` has been leased: its ordering key has to wait from now on."""
        key = self._key(entry)
        if key is not None:
            key.leased[entry.message.id] = entry

    def released(self, entry: Entry) -> list[Entry]:
        """Note that a lease has ended, before `entry` is pushed again or removed.

        Returns:
            The later entries of its ordering key that are leased. If `entry` is redelivered, they
            must be redelivered too.
        """
        key = self._key(entry)
        if key is None:
            return []
        key.leased.pop(entry.message.id, None)
        self._forget_if_empty(key)
        self._offer(key)
        return [later for number, later in key.leased.items() if number > entry.message.id]

    def sweep(self) -> None:
        """Remove the entries that are GONE. Takes time in proportion to the queue's size."""
        for key in list(self._keys.values()):
            key.waiting = [item for item in key.waiting if item[1].state is not State.GONE]
            heapq.heapify(key.waiting)
            key.queued = key.queued and bool(key.waiting)
            self._forget_if_empty(key)
        self._fresh = deque(item for item in self._fresh if _is_live(item))
        self._returned = deque(item for item in self._returned if _is_live(item))
        self._size = sum(len(key.waiting) for key in self._keys.values()) + sum(
            isinstance(item, Entry) for item in (*self._fresh, *self._returned)
        )

    def _set_queued(self, entry: Entry, queued: bool) -> None:
        self._size += queued - entry.queued
        entry.queued = queued

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


def _is_live(item: Entry | OrderingKey) -> bool:
    return item.state is not State.GONE if isinstance(item, Entry) else item.queued
