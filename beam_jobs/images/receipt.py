"""What a delivery of a prompt paid for its images, as their record keeps it.

A worker can die after it has stored a prompt's images, and before the outcome is published. The
prompt is then delivered again, to a worker that finds the images, and that can tell from the
receipt that this very delivery has paid for them. So no cost is lost with the worker.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from beam_jobs.outcomes import Work

# The field of a record that leads to what a custom function has made the images of.
RAW_DIGEST = "raw_digest"


def payer_of(run: str, origin: str) -> str:
    """Return 32 hex digits that name a delivery; empty if nothing identifies it.

    Args:
        run: names the stream, or the run of a backfill.
        origin: identifies the delivery in it: the message id, or `FILE:LINE`. It may be private, so
            the record has only the digits.
    """
    if not origin:
        return ""
    return hashlib.sha256(json.dumps([run, origin]).encode("ascii")).hexdigest()[:32]


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt:
    """What a delivery paid.

    Attributes:
        paid_by: the delivery, as `payer_of` names it.
        work: what it paid; of its fields, only those of the cost count.
        source: the stream or the run of a backfill that the delivery belongs to, as outcomes name
            it; empty in the records of earlier versions.
    """

    paid_by: str
    work: Work
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the record."""
        return {"paid_by": self.paid_by, "source": self.source, **self.work.cost()}

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> "Receipt | None":
        """Return the receipt in a record; None if it has none, as those of earlier versions."""
        try:
            tokens, usd = record["tokens"], record["cost_usd"]
            cost = float(usd or 0.0)
            counts = [
                int(value)
                for value in (
                    record["unpriced_calls"],
                    *(tokens[kind] for kind in ("input", "text", "image")),
                )
            ]
            paid_by = str(record["paid_by"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        if not (0 <= cost < math.inf and min(counts) >= 0):
            return None
        unpriced, input_, text, image = counts
        work = Work(
            cost_usd=cost,
            unpriced_calls=unpriced,
            input_tokens=input_,
            text_tokens=text,
            image_tokens=image,
            tier=str(record.get("tier") or ""),
        )
        return cls(paid_by, work, str(record.get("source") or ""))
