"""Whether it adds up: every prompt that went in came out as one prediction or one dead letter."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass
class Ended:
    """What was seen of prompts: predictions, and dead letters by reason; of each prompt once.

    Attributes:
        predictions: how many.
        final: dead letters that would fail again.
        retryable: dead letters that may be replayed.
        prompt_ids: of all of them.
    """

    predictions: int = 0
    final: Counter[str] = dataclasses.field(default_factory=Counter)
    retryable: Counter[str] = dataclasses.field(default_factory=Counter)
    prompt_ids: set[str] = dataclasses.field(default_factory=set, compare=False)

    def add(self, message: Mapping[str, Any]) -> bool:
        """Count one, as it was published, and return True; False where its prompt was counted.

        A redelivery repeats one.
        """
        if message["prompt_id"] in self.prompt_ids:
            return False
        self.prompt_ids.add(message["prompt_id"])
        if "reason" not in message:
            self.predictions += 1
        else:
            kind = self.retryable if message["retryable"] else self.final
            kind[message["reason"]] += 1
        return True

    @property
    def failures(self) -> Counter[str]:
        """The dead letters of both kinds, by reason."""
        return self.final + self.retryable

    def total(self) -> int:
        """Return how many prompts have ended."""
        return self.predictions + self.failures.total()

    def __add__(self, other: "Ended") -> "Ended":
        return Ended(
            self.predictions + other.predictions,
            self.final + other.final,
            self.retryable + other.retryable,
            self.prompt_ids | other.prompt_ids,
        )

    def __str__(self) -> str:
        return in_words({"predictions": self.predictions, **self.failures})


@dataclasses.dataclass(frozen=True)
class Sums:
    """What went in and what came out.

    Attributes:
        published: prompts that were published to the stream while the model was well.
        stream: what was seen of them.
        backfill: the record of `imagen_backfill`: `state`, `counts`, `failures_by_reason`.
        followed: what was seen of the backfill's prompts.
        unlucky: what was seen of the one prompt that came while the model gave no images.
        replay: the record of `imagen_dead_letters_replay`: `replayed`, `archived` and `left`, each
            by reason, and `unreadable`.
        again: what was seen of the prompts that were replayed.
        drained: what `imagen_stream_drain` reported: `state`, `backlog`.
    """

    published: int
    stream: Ended
    backfill: Mapping[str, Any]
    followed: Ended
    unlucky: Ended
    replay: Mapping[str, Any]
    again: Ended
    drained: Mapping[str, Any]

    def wrong(self) -> list[str]:
        """Return what does not add up, in words; nothing if all of it does."""
        checks = self._streamed() | self._backfilled() | self._replayed() | self._drained()
        return [words for words, fine in checks.items() if not fine]

    def _streamed(self) -> dict[str, bool]:
        came_out = self.stream.total()
        return {
            f"{self.published} prompts went in, {came_out} came out": came_out == self.published
        }

    def _backfilled(self) -> dict[str, bool]:
        state, counts = self.backfill["state"], self.backfill["counts"]
        outcomes = counts["predictions"] + counts["failures"]
        reported = {"predictions": counts["predictions"], **self.backfill["failures_by_reason"]}
        seen = {"predictions": self.followed.predictions, **self.followed.failures}
        return {
            f"the backfill was to end done, it ended {state}": state == "done",
            f"the backfill read {counts['prompts']} prompts and reports {outcomes} outcomes": (
                counts["prompts"] == outcomes
            ),
            f"the backfill reports {in_words(reported)}; {in_words(seen)} came out": (
                _counted(reported) == _counted(seen)
            ),
        }

    def _replayed(self) -> dict[str, bool]:
        letters = self.stream + self.followed + self.unlucky
        replayed, archived = self.replay["replayed"], self.replay["archived"]
        left, unreadable = self.replay["left"], self.replay["unreadable"]
        back, wanted = self.again.predictions, sum(replayed.values())
        return {
            "the prompt that got no image was to be one dead letter that may be replayed, it "
            f"became {self.unlucky}": (self.unlucky.total() == self.unlucky.retryable.total() == 1),
            f"{in_words(letters.retryable)} could be replayed, {in_words(replayed)} were": (
                _counted(replayed) == letters.retryable
            ),
            f"{in_words(letters.final)} were to be archived, {in_words(archived)} were": (
                _counted(archived) == letters.final
            ),
            f"the replay was to leave nothing, it left {in_words(left)} and {unreadable} that "
            "cannot be read": (not _counted(left) and not unreadable),
            f"{wanted} prompts were replayed, {back} predictions came of it": (
                back == self.again.total() == wanted
            ),
        }

    def _drained(self) -> dict[str, bool]:
        state, backlog = self.drained["state"], self.drained["backlog"]
        return {
            f"the stream was to end DRAINED, it ended {state}": state == "DRAINED",
            f"the drain was to leave no prompt in the backlog, it left {backlog}": backlog == 0,
        }


def in_words(counts: Mapping[str, int]) -> str:
    """Return counts for a person, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {what}" for what, count in ordered if count) or "none"


def _counted(counts: Mapping[str, int]) -> Counter[str]:
    """Return counts without those that are zero."""
    return +Counter(counts)
