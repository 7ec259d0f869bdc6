"""Who was promised what: prompts that went in, against predictions and failures that came out."""

import base64
import functools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from tests.conftest import Lane, eventually

_AT_ONCE = 1000
_KINDS = ("predictions", "dead-letters")


def prompt_bodies(what: str, count: int, **fields: Any) -> list[bytes]:
    """Prompts, each with an id of its own: `<what>-<number>`."""
    return [
        json.dumps({"prompt": f"{what} {n}", "id": f"{what}-{n}", **fields}).encode()
        for n in range(count)
    ]


class Books:
    """Receives all predictions and dead letters of a lane, and counts them by message body.

    A prediction is told by its prompt id, a failure by the body that it carries: a malformed one
    has no other name.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.predictions: Counter[str] = Counter()
        self.failures: Counter[bytes] = Counter()
        self.reasons: Counter[str] = Counter()
        self.images: dict[str, list[str]] = {}
        self.messages: dict[str, dict[str, Any]] = {}
        self._empty: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._receive, args=each, daemon=True)
            for each in zip(_KINDS, (self._prediction, self._failure), strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def count(self) -> int:
        """How many different prompts have come out so far."""
        return len(self.predictions) + len(self.failures)

    def wait(self, bodies: Iterable[bytes], *, within_s: float = 600.0) -> None:
        """Wait until each of these has come out, as whatever."""
        left = list(set(bodies))
        what = f"an outcome of each of {len(left)} prompts"

        def none_left() -> bool:
            # What has come out stays so: tens of thousands are not looked at again and again.
            left[:] = self.missing(left)
            return not left

        eventually(none_left, within_s=within_s, what=what)

    def settle(self) -> None:
        """Wait until there is nothing more to receive. Whatever publishes has to have ended."""
        before = Counter(self._empty)
        eventually(
            # The first empty answer may be of a pull from before.
            lambda: all(self._empty[kind] >= before[kind] + 2 for kind in _KINDS),
            what="the end of predictions and dead letters",
        )

    def missing(self, bodies: Iterable[bytes]) -> list[bytes]:
        """Those that have not come out."""
        return [
            body
            for body in bodies
            if id_of(body) not in self.predictions and body not in self.failures
        ]

    def figures(self, bodies: Iterable[bytes], paid_twice: int, unanswered: int) -> dict[str, int]:
        """What a row of the table says of the outcomes of `bodies`, once they have settled."""
        return {
            "lost": len(self.missing(bodies)),
            "paid_twice": paid_twice,
            "unanswered": unanswered,
            "said_twice": self.repeated(),
        }

    def stays_empty(self, seconds: float) -> None:
        """See that nothing comes out for so long."""
        self._stop.wait(seconds)
        assert self.count() == 0, "an outcome before its time"

    def stays_as_it_is(self, seconds: float) -> None:
        """See that nothing more comes out for so long, once what was on its way has come."""
        before = -1
        while before != self.count():
            before = self.count()
            self._stop.wait(1.0)
        self._stop.wait(seconds)
        assert self.count() == before, "an outcome before its time"

    def both(self) -> list[bytes]:
        """Those that have come out as a failure and as a prediction."""
        return [body for body in self.failures if id_of(body) in self.predictions]

    def repeated(self) -> int:
        """How many messages came beyond the first of each prompt."""
        return sum(n - 1 for counts in (self.predictions, self.failures) for n in counts.values())

    def without_image(self) -> list[str]:
        """Paths that predictions name and that are not there."""
        bucket = f"gs://{self._lane.images_location.split('/')[2]}/"
        prefix = self._lane.images_location.removeprefix(bucket)
        blobs = self._lane.storage.list_blobs(bucket[5:-1], prefix=f"{prefix}/")
        there = {f"{bucket}{blob.name}" for blob in blobs}
        return sorted({path for paths in self.images.values() for path in paths} - there)

    def _prediction(self, message: dict[str, Any]) -> None:
        self.images[message["prompt_id"]] = message["images"]
        self.messages[message["prompt_id"]] = message
        self.predictions[message["prompt_id"]] += 1

    def _failure(self, message: dict[str, Any]) -> None:
        self.reasons[message["reason"]] += 1
        self.failures[base64.b64decode(message["body"])] += 1

    def _receive(self, kind: str, keep: Callable[[dict[str, Any]], None]) -> None:
        subscription = self._lane.subscription(kind)
        while not self._stop.is_set():
            try:
                answer = self._lane.subscriber.pull(
                    subscription=subscription,
                    max_messages=_AT_ONCE,
                    return_immediately=True,
                    timeout=60,
                )
                ids = [item.ack_id for item in answer.received_messages]
                if ids:
                    self._lane.subscriber.acknowledge(subscription=subscription, ack_ids=ids)
            except Exception:
                # Pub/Sub may be broken on purpose; what was not acknowledged comes again.
                self._stop.wait(0.2)
                continue
            for item in answer.received_messages:
                # What Pub/Sub delivers again was said once.
                if item.message.message_id not in self._seen:
                    self._seen.add(item.message.message_id)
                    keep(json.loads(item.message.data))
            if not ids:
                self._empty[kind] += 1
                self._stop.wait(0.05)


@functools.cache
def id_of(body: bytes) -> str | None:
    """The id that a well-formed prompt has."""
    try:
        return str(json.loads(body)["id"])
    except (ValueError, KeyError, TypeError):
        return None
