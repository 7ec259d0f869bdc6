"""One message in one subscription, and the subscriber that has leased it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from localcloud.pubsub.message import Message


class State(Enum):
    """The state of a message in a subscription."""

    READY = "waits for a subscriber"
    LEASED = "is leased to a subscriber until its deadline"
    DELAYED = "is held back by the retry policy until its deadline"
    EXHAUSTED = "has used up its delivery attempts and must be forwarded to the dead-letter topic"
    GONE = "was acknowledged, dropped or forwarded"


@dataclass(slots=True, eq=False)
class Consumer:
    """The flow control of one streaming subscriber.

    Attributes:
        max_messages: maximum number of leased messages; 0 means no limit.
        max_bytes: maximum size of leased messages; 0 means no limit.
        wake: called when one of its leases ends.
        messages: number of messages leased now.
        bytes: size of the messages leased now.
    """

    max_messages: int
    max_bytes: int
    wake: Callable[[], None]
    messages: int = 0
    bytes: int = 0

    @property
    def has_room(self) -> bool:
        """Whether one more message can be sent. It may exceed `max_bytes`, as documented."""
        return (self.max_messages <= 0 or self.messages < self.max_messages) and (
            self.max_bytes <= 0 or self.bytes < self.max_bytes
        )


class Entry:
    """One message in one subscription. Mutable, and shared by the queues and the leases.

    `lease` is the number in the latest ack id: 0 if there is none since the server started, and
    NACKED once that ack id is invalid.
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
