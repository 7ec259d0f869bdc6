"""What comes in, before anybody has looked at it: a Pub/Sub message or a row of a file."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class RawPrompt:
    """A body, its attributes, and `origin`, which names this delivery for good."""

    body: bytes
    attributes: Mapping[str, str]
    origin: str
