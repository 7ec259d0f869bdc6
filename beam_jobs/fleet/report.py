"""What a worker says of its calls, so that a quota can be shared and learned together. Pure."""

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

# Of a report as text: custom metadata has at most 8 KiB for each object, and 4 KiB for each value
# (https://cloud.google.com/storage/quotas#objects). One quota takes about 90 bytes.
MAX_BYTES = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What a worker does with one quota.

    Args:
        wants: calls that it could start per second; infinity if calls waited for the quota.
        version: under which version of the quota it counted; 0: it knew of none.
        seconds: for how long it counted.
        started: calls that it started in that time.
        refused: how many of those were refused with 429.
    """

    wants: float
    version: int = 0
    seconds: float = 0.0
    started: int = 0
    refused: int = 0

    @property
    def per_second(self) -> float:
        """Calls that it started per second."""
        return self.started / max(self.seconds, 1.0)

    @property
    def accepted_per_second(self) -> float:
        """How many of those were not refused."""
        return max(0, self.started - self.refused) / max(self.seconds, 1.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What one worker says.

    Args:
        usage: by the name of the quota.
        written_at: when, by storage's clock.
    """

    usage: Mapping[str, Usage]
    written_at: datetime

    def __post_init__(self) -> None:
        if self.written_at.tzinfo is None:
            raise ValueError(f"expected a time with its zone, got {self.written_at}")


def to_text(usage: Mapping[str, Usage]) -> str:
    """Return what a worker says as text for an object's custom metadata."""
    return json.dumps(
        {
            name: [
                None if math.isinf(each.wants) else round(each.wants, 4),
                each.version,
                round(each.seconds, 2),
                each.started,
                each.refused,
            ]
            for name, each in usage.items()
        },
        separators=(",", ":"),
    )


def from_text(text: str) -> dict[str, Usage]:
    """Return what `to_text` wrote.

    Raises:
        ValueError: `text` is something else.
    """
    try:
        return {
            str(name): _usage(*fields) for name, fields in json.loads(text[: MAX_BYTES + 1]).items()
        }
    except (TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _usage(wants: Any, version: Any, seconds: Any, started: Any, refused: Any) -> Usage:
    usage = Usage(
        math.inf if wants is None else float(wants),
        int(version),
        float(seconds),
        int(started),
        int(refused),
    )
    if not (usage.wants >= 0 and 0 <= usage.seconds < math.inf and 0 <= refused <= started):
        raise ValueError(f"expected counts of calls, got {usage}")
    return usage
