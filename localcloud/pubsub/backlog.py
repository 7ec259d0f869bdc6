"""One subscription's unacknowledged messages and the leases on them.

Time comes in as an argument: `now` in steady seconds for leases, nanoseconds since 1970 for ages.
Every operation costs the same however deep the backlog is: what is acknowledged is left as a
tombstone in the queues that hold it, and a queue that is mostly tombstones is rebuilt.

An ack id counts until its message is delivered again, nacked or acknowledged: an ack that comes
after the lease has expired, but before the redelivery, is accepted, as Google's emulator does.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator

from localcloud.pubsub.entry import Consumer, Entry, State
from localcloud.pubsub.message import Message
from localcloud.pubsub.ready import ReadyQueue
from localcloud.pubsub.redelivery import after_lease
from localcloud.pubsub.settings import SubscriptionSettings

_TOMBSTONES = 1024
"""So many dead items a queue may hold beyond twice its live ones before it is rebuilt."""


class Backlog:
    """See the module. `dropped` is called with each message that leaves, for whatever reason."""

    def __init__(
        self,
        settings: SubscriptionSettings,
        lease_numbers: Iterator[int],
        dropped: Callable[[Message], None],
    ) -> None:
        self.settings = settings
        self._lease_numbers = lease_numbers
        self._before_restart = next(lease_numbers)
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
        """How many messages are with a subscriber."""
        return self._leased

    @property
    def messages(self) -> list[Message]:
        """Every unacknowledged message, oldest first. Takes time in proportion."""
        return [entry.message for entry in self._entries.values()]

    def add(self, message: Message) -> None:
        """Queue a message. Its id must be higher than all before it."""
        entry = self._entries[message.id] = Entry(message)
        self._by_age.append(entry)
        self._ready.push(entry)

    def take(
        self, limit: int, max_bytes: int, deadline: float, consumer: Consumer | None
    ) -> list[Entry]:
        """Lease up to `limit` messages until `deadline`; the first one even beyond `max_bytes`."""
        taken: list[Entry] = []
        size = 0
        while len(taken) < limit and (consumer is None or consumer.has_room):
            entries = self._ready.pop(limit - len(taken))
            if not entries:
                break
            for index, entry in enumerate(entries):
                full = taken and size + entry.message.size > max_bytes
                if full or (consumer is not None and not consumer.has_room):
                    self._ready.put_back(entries[index:])
                    return taken
                size += entry.message.size
                entry.lease = next(self._lease_numbers)
                entry.attempts += 1
                self._lease(entry, deadline, consumer)
                taken.append(entry)
        return taken

    def ack(self, message_id: int, lease: int) -> None:
        """Forget a message, unless `lease` has been superseded: then nothing happens."""
        entry = self._current(message_id, lease)
        if entry is not None:
            self.remove(entry)

    def extend(self, message_id: int, lease: int, deadline: float) -> None:
        """Move a lease's end. An expired lease revives if the message has not gone out again."""
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
        """Give a message back. Returns it in a list if its delivery attempts are used up."""
        entry = self._current(message_id, lease)
        if entry is None:
            return []
        entry.lease = Entry.NACKED
        if entry.state is State.LEASED:
            self._return(entry, now)
        return [entry] if entry.state is State.EXHAUSTED else []

    def expire(self, now: float) -> tuple[bool, list[Entry]]:
        """End what is due. Returns whether any is READY now, and those with no attempt left."""
        exhausted: list[Entry] = []
        freed = False
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
            freed = freed or entry.state is State.READY
        return freed, exhausted

    def next_deadline(self) -> float | None:
        """When `expire` next has something to do, if ever."""
        while self._deadlines and not self._valid(self._deadlines[0]):
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def drop_older(self, publish_ns: int) -> None:
        """Drop every message published before `publish_ns`, leased or not."""
        while (oldest := self._oldest()) is not None and oldest.message.publish_ns < publish_ns:
            self.remove(oldest)

    def oldest_publish_ns(self) -> int | None:
        """When the oldest unacknowledged message was published."""
        oldest = self._oldest()
        return None if oldest is None else oldest.message.publish_ns

    def remove(self, entry: Entry) -> None:
        """Take an entry out for good."""
        if entry.state is State.LEASED:
            self._release(entry)
        entry.state = State.GONE
        del self._entries[entry.message.id]
        self._dropped(entry.message)
        most = 2 * len(self._entries) + _TOMBSTONES
        if len(self._by_age) > most:
            self._by_age = deque(self._entries.values())
        if len(self._ready) > most:
            self._ready.sweep()

    def requeue(self, entry: Entry) -> None:
        """Deliver an EXHAUSTED entry again after all: there is nowhere to forward it to."""
        self._make_ready(entry)

    def _oldest(self) -> Entry | None:
        while self._by_age and self._by_age[0].state is State.GONE:
            self._by_age.popleft()
        return self._by_age[0] if self._by_age else None

    def _current(self, message_id: int, lease: int) -> Entry | None:
        """The entry that an ack id speaks of, if it is the last one handed out.

        An ack id of before a restart counts until the message is delivered again: its holder may
        well be about to finish, and sparing the redelivery spares the work.
        """
        entry = self._entries.get(message_id)
        if entry is None:
            return None
        from_before = entry.lease == 0 and 0 < lease < self._before_restart
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
        """End a lease without an ack. Later leases of the same ordering key end with it."""
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
