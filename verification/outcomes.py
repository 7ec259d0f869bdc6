"""The outcomes that come back while the checks run, read beside their consumers."""

import base64
import queue
from collections.abc import Callable
from typing import Any

from beam_jobs.cli.watch import watch_topics
from verification.visit import Visit

_KNOWN = "outcomes"


class Outcomes:
    """Predictions and dead letters since this was asked for; a redelivery counts once.

    They come from subscriptions of its own: consumers get all of them too.
    """

    def __init__(self, arrived: "queue.Queue[dict[str, Any]]") -> None:
        self._arrived = arrived
        self._all: dict[str, dict[str, Any]] = {}

    @classmethod
    def of(cls, visit: Visit) -> "Outcomes":
        """Return those of a visit. Ask before what they are outcomes of is published."""
        if _KNOWN not in visit.known:
            where = visit.deployment
            watching = watch_topics(
                where.project, [where.predictions_topic, where.dead_letters_topic]
            )
            visit.known[_KNOWN] = cls(watching.__enter__())
            visit.at_the_end(
                "delete the subscriptions watch-…", lambda: watching.__exit__(None, None, None)
            )
        found: Outcomes = visit.known[_KNOWN]
        return found

    def those(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Return the outcomes so far that are wanted, oldest first."""
        while True:
            try:
                message = self._arrived.get_nowait()
            except queue.Empty:
                return [message for message in self._all.values() if wanted(message)]
            self._all.setdefault(message["deduplication_key"], message)

    def marked(self, mark: str) -> list[dict[str, Any]]:
        """Return the outcomes of prompts whose text or body has a mark in it."""
        return self.those(lambda message: mark.encode() in said_in(message))

    def of_source(self, source: str) -> list[dict[str, Any]]:
        """Return the outcomes of a source, such as `backfill:RUN`."""
        return self.those(lambda message: message.get("source") == source)


def said_in(message: dict[str, Any]) -> bytes:
    """Return what an outcome says of its prompt: the text, the id, or the body."""
    if "reason" in message:
        return base64.b64decode(message["body"]) + str(message["prompt_id"]).encode()
    return f"{message['prompt']} {message['prompt_id']}".encode()
