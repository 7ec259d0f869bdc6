"""A prompt before parsing: a Pub/Sub message or a row of a file."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class RawPrompt:
    """A prompt before parsing.

    Args:
        body: the bytes of the message or row.
        attributes: of the message; for a row, its file and line.
        origin: identifies this delivery: the message id, or `FILE:LINE`. Stays the same when the
            message is delivered again.
    """

    body: bytes
    attributes: Mapping[str, str]
    origin: str
