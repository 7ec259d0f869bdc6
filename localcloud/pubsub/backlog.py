"""One subscription's unacknowledged messages and the leases on them.

Times are arguments: seconds on the steady clock for leases, nanoseconds since 1970 for ages.

The cost of an operation does not depend on the size of the backlog. An acknowledged message stays
in its queues as a tombstone, and a queue that is mostly tombstones is rebuilt.

An ack id is valid until its message is delivered again, nacked or acknowledged. So an ack after the
lease has expired, but before the redelivery, is accepted, as in Google's emulator.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator

from localcloud.pubsub.entry import Consumer, Entry, State
from localcloud.pubsub.message import Message
from localcloud.pubsub.ready_queue import ReadyQueue
from localcloud.pubsub.redelivery import after_lease
from localcloud.pubsub.settings import SubscriptionSettings

_TOMBSTONES = 1024
"""A queue is rebuilt when it exceeds twice its live items by this number."""


class Backlog:
    """The unacknowledged messages of one subscription.

    Args:
        settings: the subscription's settings.
        lease_numbers: the source of lease numbers, shared by all subscriptions.
        dropped: called with each message that leaves the backlog, for whatever reason.
    """

    def __init__(
        self,
        settings: SubscriptionSettings,
        lease_numbers: Iterator[int],
        dropped: Callable[[Message], None],
    ) -> None:
        self.settings = settings
        self._lease_numbers = lease_numbers
        self._first_lease = next(lease_numbers)
        self._dropped = dropped
        self._entries: dict[int, Entry] = {}
        self._by_age: deque[Entry] = deque()
        self._ready = ReadyQueue(settings.ordered)
        self._deadlines: list[tuple[float, int, Entry]] = []
        self._leased = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def leased(self) -> int:
        """The number of messages under lease."""
        return self._leased

    @property
    def messages(self) -> list[Message]:
        """All unacknowledged messages, the oldest first. Takes time in proportion."""
        return [entry.message for entry in self._entries.values()]

    def add(self, message: Message) -> None:
        """Add a message. Its id must be higher than all earlier ones."""
        entry = self._entries[message.id] = Entry(message)
        self._by_age.append(entry)
        self._ready.push(entry)

    def take(
        self, limit: int, max_bytes: int, deadline: float, consumer: Consumer | None
    ) -> list[Entry]:
        """Lease messages.

        Args:
            limit: maximum number of messages.
            max_bytes: maximum total size, except that the first message may exceed it.
            deadline: when the leases end, in seconds on the steady clock.
            consumer: the streaming subscriber, which may limit the number further.
        """
        leased: list[Entry] = []
        size = 0
        while len(leased) < limit and (consumer is None or consumer.has_room):
            entries = self._ready.pop(limit - len(leased))
            if not entries:
                break
            for index, entry in enumerate(entries):
                full = leased and size + entry.message.size > max_bytes
                if full or (consumer is not None and not consumer.has_room):
                    self._ready.put_back(entries[index:])
                    return leased
                size += entry.message.size
                entry.lease = next(self._lease_numbers)
                entry.attempts += 1
                self._lease(entry, deadline, consumer)
                leased.append(entry)
        return leased

    def ack(self, message_id: int, lease: int) -> None:
        """Remove a message. Does nothing if a later lease has superseded `lease`."""
        entry = self._current(message_id, lease)
        if entry is not None:
            self.remove(entry)

    def extend(self, message_id: int, lease: int, deadline: float) -> None:
        """Change when a lease ends. Revives an expired one before a redelivery."""
        entry = self._current(message_id, lease)
        if entry is None or entry.state is State.EXHAUSTED:
            return
        if entry.state is State.LEASED:
            entry.deadline = deadline
            self._watch(entry)
        else:
            entry.lease = lease
            self._lease(entry, deadline, None)

    def nack(self, message_id: int, lease: int, now: float) -> list[Entry]:
        """Return a message to the queue.

        Returns:
            The entry in a list if its delivery attempts are used up, else an empty list.
        """
        entry = self._current(message_id, lease)
        if entry is None:
            return []
        entry.lease = Entry.NACKED
        if entry.state is State.LEASED:
            self._return(entry, now)
        return [entry] if entry.state is State.EXHAUSTED else []

    def expire(self, now: float) -> tuple[bool, list[Entry]]:
        """End the leases and delays that are due.

        Returns:
            Whether any message has become READY, and the entries without attempts left.
        """
        exhausted: list[Entry] = []
        any_ready = False
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, entry = due = heapq.heappop(self._deadlines)
            if not self._valid(due):
                continue
            if entry.state is State.DELAYED:
                self._make_ready(entry)
            else:
                self._return(entry, now)
            if entry.state is State.EXHAUSTED:
                exhausted.append(entry)
            any_ready = any_ready or entry.state is State.READY
        return any_ready, exhausted

    def next_deadline(self) -> float | None:
        """Return when `expire` next has something to do, in steady seconds; None for never."""
        while self._deadlines and not self._valid(self._deadlines[0]):
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def drop_older(self, publish_ns: int) -> None:
        """Remove all messages published before `publish_ns`, leased or not."""
        while (oldest := self._oldest()) is not None and oldest.message.publish_ns < publish_ns:
            self.remove(oldest)

    def oldest_publish_ns(self) -> int | None:
        """Return when the oldest unacknowledged message was published; None if there is none."""
        oldest = self._oldest()
        return None if oldest is None else oldest.message.publish_ns

    def remove(self, entry: Entry) -> None:
        """Remove an entry from the backlog."""
        if entry.state is State.LEASED:
            self._release(entry)
        entry.state = State.GONE
        del self._entries[entry.message.id]
        self._dropped(entry.message)
        max_items = 2 * len(self._entries) + _TOMBSTONES
        if len(self._by_age) > max_items:
            self._by_age = deque(self._entries.values())
        if len(self._ready) > max_items:
            self._ready.sweep()

    def requeue(self, entry: Entry) -> None:
        """Make an EXHAUSTED entry deliverable again, because its dead-letter topic is gone."""
        self._make_ready(entry)

    def _oldest(self) -> Entry | None:
        while self._by_age and self._by_age[0].state is State.GONE:
            self._by_age.popleft()
        return self._by_age[0] if self._by_age else None

    def _current(self, message_id: int, lease: int) -> Entry | None:
        """Return the entry of an ack id; None unless the ack id is the entry's latest.

        An ack id from before a restart is valid until the message is delivered again. Its holder
        may be about to finish, and then a redelivery would only repeat the work.
        """
        entry = self._entries.get(message_id)
        if entry is None:
            return None
        from_before = entry.lease == 0 and 0 < lease < self._first_lease
        return entry if entry.lease == lease or from_before else None

    def _lease(self, entry: Entry, deadline: float, consumer: Consumer | None) -> None:
        entry.state = State.LEASED
        entry.deadline = deadline
        entry.consumer = consumer
        self._leased += 1
        if consumer is not None:
            consumer.messages += 1
            consumer.bytes += entry.message.size
        self._ready.leased(entry)
        self._watch(entry)

    def _release(self, entry: Entry) -> list[Entry]:
        self._leased -= 1
        consumer, entry.consumer = entry.consumer, None
        if consumer is not None:
            consumer.messages -= 1
            consumer.bytes -= entry.message.size
            consumer.wake()
        return self._ready.released(entry)

    def _return(self, entry: Entry, now: float) -> None:
        """End a lease without an ack, and with it all later leases of the same ordering key."""
        followers = self._release(entry)
        entry.state, delay_s = after_lease(entry, self.settings)
        if entry.state is State.EXHAUSTED:
            return
        if entry.state is State.DELAYED:
            entry.deadline = now + delay_s
            self._watch(entry)
            return
        self._make_ready(entry)
        for follower in followers:
            self._release(follower)
            self._make_ready(follower)

    def _make_ready(self, entry: Entry) -> None:
        entry.state = State.READY
        self._ready.push(entry)

    def _watch(self, entry: Entry) -> None:
        heapq.heappush(self._deadlines, (entry.deadline, next(self._lease_numbers), entry))
        if len(self._deadlines) > 2 * len(self._entries) + _TOMBSTONES:
            self._deadlines = [due for due in self._deadlines if self._valid(due)]
            heapq.heapify(self._deadlines)

    @staticmethod
    def _valid(due: tuple[float, int, Entry]) -> bool:
        deadline, _, entry = due
        return entry.deadline == deadline and entry.state in {State.LEASED, State.DELAYED}
