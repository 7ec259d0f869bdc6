"""How the stand-in for Vertex AI behaves: latency, quota, error rates, and faults on demand.

A prompt can ask for a fault with a word of the form `fault:NAME` or `fault:NAME-once`; the latter
strikes the first time that a prompt comes and not again.
"""

import dataclasses
import random
import re
import time
from enum import StrEnum


class Fault(StrEnum):
    """What may become of a call; the value is the word that a prompt asks for it with."""

    UNAVAILABLE = "unavailable"  # 503
    QUOTA = "quota"  # 429
    ERROR = "error"  # 500
    INVALID = "invalid"  # 400, about the request
    BLOCKED = "blocked"  # the prompt is refused
    BLOCKED_IMAGE = "blocked-image"  # an image was made, and is withheld
    EMPTY = "empty"  # 200, without an image
    NOT_AN_IMAGE = "not-an-image"  # 200, with bytes that are no picture
    GARBAGE = "garbage"  # 200, with a body that is not JSON
    SLOW = "slow"  # twenty times the latency
    HANG = "hang"  # no answer
    CUT = "cut"  # the connection ends in mid-answer


_NAMES = frozenset(fault.value for fault in Fault)
_WORD = re.compile(r"\bfault:([a-z-]+?)(-once)?(?![\w-])")


@dataclasses.dataclass
class Settings:
    """What can be set at the start, and changed while running by a PATCH of `/localcloud`.

    Rates are shares of all calls, from 0 to 1. `canned_bytes` answers with one encoded picture of
    that size instead of drawing, so that the stand-in is not what a measurement measures.
    `tail_rate` of the calls take `tail_factor` times the latency. While `hold` is set no call is
    answered that has come as far as an answer, however long that is.
    """

    latency_s: float = 0.5
    quota_per_minute: float = 0.0
    retry_after_s: float = 0.0
    unavailable_rate: float = 0.0
    quota_rate: float = 0.0
    blocked_rate: float = 0.0
    empty_rate: float = 0.0
    hang_rate: float = 0.0
    cut_rate: float = 0.0
    tail_rate: float = 0.0
    tail_factor: float = 20.0
    canned_bytes: int = 0
    down: bool = False
    hold: bool = False


@dataclasses.dataclass
class Counts:
    """What has happened since the start.

    `images` were answered, and a real service would charge for them. `unanswered` calls were cut
    off, hung, or left by their client before the answer: for those it may charge, too.
    """

    calls: int = 0
    images: int = 0
    unanswered: int = 0
    refused_for_quota: int = 0
    in_flight: int = 0
    most_in_flight: int = 0


class Behaviour:
    """Decides what becomes of each call. `seed` makes the rates repeatable."""

    def __init__(self, settings: Settings | None = None, *, seed: int | None = None) -> None:
        self.settings = settings or Settings()
        self.counts = Counts()
        self._chance = random.Random(seed)  # noqa: S311 - chance, not a secret
        self._struck: set[tuple[str, str]] = set()
        self._tokens = 1.0
        self._refilled_at = time.monotonic()

    def fault(self, prompt: str) -> Fault | None:
        """Return what happens to a call with this prompt, other than an image."""
        if self.settings.down:
            return Fault.UNAVAILABLE
        if self._over_quota():
            self.counts.refused_for_quota += 1
            return Fault.QUOTA
        for name, once in _WORD.findall(prompt):
            if name in _NAMES and not (once and self._has_struck(name, prompt)):
                return Fault(name)
        return self._by_chance()

    def latency_s(self, fault: Fault | None) -> float:
        """Return how long the call takes; refusals of quota and the like are quick."""
        latency = self.settings.latency_s
        if fault in (Fault.QUOTA, Fault.UNAVAILABLE, Fault.INVALID):
            return min(latency, 0.02)
        slow = fault is Fault.SLOW or self._chance.random() < self.settings.tail_rate
        return latency * self.settings.tail_factor if slow else latency

    def _by_chance(self) -> Fault | None:
        s = self.settings
        roll = self._chance.random()
        for fault, rate in (
            (Fault.UNAVAILABLE, s.unavailable_rate),
            (Fault.QUOTA, s.quota_rate),
            (Fault.BLOCKED, s.blocked_rate),
            (Fault.EMPTY, s.empty_rate),
            (Fault.HANG, s.hang_rate),
            (Fault.CUT, s.cut_rate),
        ):
            if roll < rate:
                return fault
            roll -= rate
        return None

    def _has_struck(self, name: str, prompt: str) -> bool:
        if (name, prompt) in self._struck:
            return True
        self._struck.add((name, prompt))
        return False

    def _over_quota(self) -> bool:
        per_s = self.settings.quota_per_minute / 60
        now = time.monotonic()
        passed, self._refilled_at = now - self._refilled_at, now
        if not per_s:
            return False
        # A second's worth may come at once.
        self._tokens = min(max(1.0, per_s), self._tokens + passed * per_s)
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False
