"""Checks that every prompt that went in came out as one prediction or one dead letter."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass
class Outcomes:
    """Predictions and dead letters that were received, one for each prompt.

    Attributes:
        predictions: the number of predictions.
        final: dead letters that would fail again, by reason.
        retryable: dead letters that can be replayed, by reason.
        keys: the deduplication keys of the outcomes.
    """

    predictions: int = 0
    final: Counter[str] = dataclasses.field(default_factory=Counter)
    retryable: Counter[str] = dataclasses.field(default_factory=Counter)
    keys: set[str] = dataclasses.field(default_factory=set, compare=False)

    def add(self, message: Mapping[str, Any]) -> bool:
        """Count a published outcome.

        Returns:
            False for a redelivery: an outcome of this prompt has been counted before.
        """
        if message["deduplication_key"] in self.keys:
            return False
        self.keys.add(message["deduplication_key"])
        if "reason" not in message:
            self.predictions += 1
        else:
            kind = self.retryable if message["retryable"] else self.final
            kind[message["reason"]] += 1
        return True

    @property
    def failures(self) -> Counter[str]:
        """All dead letters, by reason."""
        return self.final + self.retryable

    def total(self) -> int:
        """Return the number of prompts that have an outcome."""
        return self.predictions + self.failures.total()

    def __add__(self, other: "Outcomes") -> "Outcomes":
        return Outcomes(
            self.predictions + other.predictions,
            self.final + other.final,
            self.retryable + other.retryable,
            self.keys | other.keys,
        )

    def __str__(self) -> str:
        return format_counts({"predictions": self.predictions, **self.failures})


@dataclasses.dataclass(frozen=True)
class Accounting:
    """What went in and what came out.

    Attributes:
        published: the number of prompts published to the stream while the model worked.
        stream: the outcomes of those prompts.
        backfill: the record of `imagen_backfill`: `state`, `counts`, `failures_by_reason`.
        backfill_outcomes: the outcomes received of the backfill's prompts.
        outage: the outcome of the one prompt sent while the model returned no images.
        replay: the record of `imagen_dead_letters_replay`: `replayed`, `archived` and `left`, each
            by reason, and `unreadable`.
        replayed_outcomes: the outcomes of the replayed prompts.
        drain: the report of `imagen_stream_drain`: `state`, `backlog`.
    """

    published: int
    stream: Outcomes
    backfill: Mapping[str, Any]
    backfill_outcomes: Outcomes
    outage: Outcomes
    replay: Mapping[str, Any]
    replayed_outcomes: Outcomes
    drain: Mapping[str, Any]

    def discrepancies(self) -> list[str]:
        """Return a sentence for everything that does not add up; empty if all of it does."""
        checks = (
            self._stream_checks()
            | self._backfill_checks()
            | self._replay_checks()
            | self._drain_checks()
        )
        return [message for message, passed in checks.items() if not passed]

    def _stream_checks(self) -> dict[str, bool]:
        returned = self.stream.total()
        return {
            f"{self.published} prompts were published to the stream, but {returned} came back": (
                returned == self.published
            )
        }

    def _backfill_checks(self) -> dict[str, bool]:
        state, counts = self.backfill["state"], self.backfill["counts"]
        outcomes = counts["predictions"] + counts["failures"]
        reported = {"predictions": counts["predictions"], **self.backfill["failures_by_reason"]}
        received = {
            "predictions": self.backfill_outcomes.predictions,
            **self.backfill_outcomes.failures,
        }
        return {
            f"the backfill ended in state {state}, expected done": state == "done",
            f"the backfill read {counts['prompts']} prompts but reports {outcomes} outcomes": (
                counts["prompts"] == outcomes
            ),
            f"the backfill reports {format_counts(reported)}, but {format_counts(received)} were "
            "received": _nonzero(reported) == _nonzero(received),
        }

    def _replay_checks(self) -> dict[str, bool]:
        dead_letters = self.stream + self.backfill_outcomes + self.outage
        replayed, archived = self.replay["replayed"], self.replay["archived"]
        remaining, unreadable = self.replay["left"], self.replay["unreadable"]
        predictions, expected = self.replayed_outcomes.predictions, sum(replayed.values())
        return {
            "the prompt sent during the outage should be one retryable dead letter, but became "
            f"{self.outage}": (self.outage.total() == self.outage.retryable.total() == 1),
            f"{format_counts(dead_letters.retryable)} could be replayed, but the replay "
            f"republished {format_counts(replayed)}": (
                _nonzero(replayed) == dead_letters.retryable
            ),
            f"{format_counts(dead_letters.final)} should have been archived, but the replay "
            f"archived {format_counts(archived)}": (_nonzero(archived) == dead_letters.final),
            f"the replay should leave nothing behind, but left {format_counts(remaining)} and "
            f"{unreadable} unreadable": (not _nonzero(remaining) and not unreadable),
            f"{expected} prompts were replayed, but {predictions} predictions came back": (
                predictions == self.replayed_outcomes.total() == expected
            ),
        }

    def _drain_checks(self) -> dict[str, bool]:
        state, backlog = self.drain["state"], self.drain["backlog"]
        return {
            f"the stream ended in state {state}, expected DRAINED": state == "DRAINED",
            f"the backlog after the drain is {backlog}, expected 0": backlog == 0,
        }


def format_counts(counts: Mapping[str, int]) -> str:
    """Return counts as text, the largest first: `2 BLOCKED, 1 NO_IMAGE`."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {name}" for name, count in ordered if count) or "none"


def _nonzero(counts: Mapping[str, int]) -> Counter[str]:
    """Return counts without those that are zero."""
    return +Counter(counts)
