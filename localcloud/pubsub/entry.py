"""One message in one subscription, and the subscriber that holds it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from localcloud.pubsub.message import Message


class State(Enum):
    """What is the matter with an unacknowledged message."""

    READY = "waits for a subscriber"
    LEASED = "is with a subscriber until its deadline"
    DELAYED = "is held back by the retry policy until its deadline"
    EXHAUSTED = "has had its delivery attempts and is due for the dead-letter topic"
    GONE = "is acknowledged, dropped or forwarded"


@dataclass(slots=True, eq=False)
class Consumer:
    """A streaming subscriber's share: how much it may hold (0: no limit) and how much it holds.

    `wake` is called when something it held is acknowledged, nacked or expired.
    """

    max_messages: int
    max_bytes: int
    wake: Callable[[], None]
    messages: int = 0
    bytes: int = 0

    @property
    def has_room(self) -> bool:
        """Whether one more message may be sent. Bytes may overshoot by one, as documented."""
        return (self.max_messages <= 0 or self.messages < self.max_messages) and (
            self.max_bytes <= 0 or self.bytes < self.max_bytes
        )


class Entry:
    """One message in one subscription. Mutable, and shared by the queue, the leases and the log.

    `lease` is the number in the ack id handed out last: 0 if there is none since the server
    started, and NACKED once that ack id counts for nothing.
    """

    NACKED = -1
    __slots__ = ("attempts", "consumer", "deadline", "lease", "message", "queued", "state")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.state = State.READY
        self.lease = 0
        self.deadline = 0.0
        self.attempts = 0
        self.queued = False
        self.consumer: Consumer | None = None
