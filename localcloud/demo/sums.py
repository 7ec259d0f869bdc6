"""Whether it adds up: every prompt that went in came out as one prediction or one dead letter."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Sums:
    """What went in and what came out.

    Attributes:
        published: prompts that were published to the stream.
        ended: what was seen of them, by reason; a prediction's is `predictions`.
        backfill: the backfill's own report: `prompts`, `predictions`, `failures`, `reused`.
        followed: predictions and dead letters of the backfill that were seen.
        drained: what `imagen_stream_drain` reported: `state`, `backlog`.
    """

    published: int
    ended: Mapping[str, int]
    backfill: Mapping[str, Any]
    followed: int
    drained: Mapping[str, Any]

    def wrong(self) -> list[str]:
        """Return what does not add up, in words; nothing if all of it does."""
        came_out = sum(self.ended.values())
        prompts = self.backfill["prompts"]
        outcomes = self.backfill["predictions"] + self.backfill["failures"]
        state, backlog = self.drained["state"], self.drained["backlog"]
        checks = {
            f"{self.published} prompts went in, {came_out} came out": came_out == self.published,
            f"the backfill read {prompts} prompts and reports {outcomes} outcomes": (
                prompts == outcomes
            ),
            f"the backfill reports {outcomes} outcomes, {self.followed} came out": (
                self.followed == outcomes
            ),
            f"the stream was to end DRAINED, it ended {state}": state == "DRAINED",
            f"the drain was to leave no prompt in the backlog, it left {backlog}": backlog == 0,
        }
        return [words for words, fine in checks.items() if not fine]


def in_words(ended: Mapping[str, int]) -> str:
    """Return counts for a person, the largest first."""
    ordered = sorted(ended.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {what}" for what, count in ordered)
