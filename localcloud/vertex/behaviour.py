"""How the stand-in for Vertex AI behaves: latency, quota, error rates, and faults on request.

A prompt requests a fault with a word of the form `fault:NAME` or `fault:NAME-once`. The latter
affects only the first call with that prompt.
"""

import dataclasses
import random
import re
import time
from collections import defaultdict
from enum import StrEnum


class Fault(StrEnum):
    """A fault of a call. The value is the NAME by which a prompt requests it."""

    UNAVAILABLE = "unavailable"  # 503
    QUOTA = "quota"  # 429
    ERROR = "error"  # 500
    INVALID = "invalid"  # 400: the request is invalid
    BLOCKED = "blocked"  # the prompt is blocked
    BLOCKED_IMAGE = "blocked-image"  # an image was generated, but is withheld
    EMPTY = "empty"  # 200 without an image
    NOT_AN_IMAGE = "not-an-image"  # 200 with bytes that are not an image
    GARBAGE = "garbage"  # 200 with a body that is not JSON
    CANCELLED = "cancelled"  # 499, although nobody cancelled: under load
    ABORTED = "aborted"  # 409: under load
    NOT_ENABLED = "not-enabled"  # 400 FAILED_PRECONDITION: the project may not use the model
    QUOTA_GARBLED = "quota-garbled"  # 429 with a body that says it is JSON and is not
    DRAFTS = "drafts"  # two images: a draft, then the final one; Gemini only
    THOUGHT_IMAGE = "thought-image"  # the only image is in a thought; Gemini only
    CUT_IMAGE = "cut-image"  # a JPEG without its end
    URL_SAFE = "url-safe"  # base64 in the URL-safe alphabet, without padding
    SLOW = "slow"  # 20 times the latency
    HANG = "hang"  # no response
    CUT = "cut"  # the connection is closed without a response


_NAMES = frozenset(fault.value for fault in Fault)
_WORD = re.compile(r"\bfault:([a-z-]+?)(-once)?(?![\w-])")


@dataclasses.dataclass
class Settings:
    """Settings, given at the start or changed while running by a PATCH of `/localcloud`.

    Rates are shares of all calls, from 0 to 1.

    Attributes:
        latency_s: seconds that a call takes.
        quota_per_minute: calls per minute beyond which calls answer 429; 0 means no quota.
        location_quotas: the same for single locations, such as `us=600,eu=300`.
        retry_after_s: the Retry-After header of a 429, in seconds; 0 sends none.
        unavailable_rate, quota_rate, blocked_rate, empty_rate, hang_rate, cut_rate, drafts_rate,
            thought_image_rate, cancelled_rate, aborted_rate: the shares of calls with the fault of
            that name.
        tail_rate: the share of slow calls.
        tail_factor: how many times the latency a slow call takes.
        canned_bytes: answer with a prepared picture of that size instead of drawing one, so that
            benchmarks do not measure the stand-in; 0 draws.
        flux: endpoints have a container as FLUX has in Model Garden: it takes the prompt as `text`,
            and answers one picture per instance, as `{"output": …}`.
        stable_diffusion: endpoints have a container as Stable Diffusion has in TorchServe: it
            answers one picture per instance, as plain base64.
        dedicated: endpoints have a host of their own, and the shared host refuses their calls.
        retired_models: comma-separated models that are gone: they answer 404.
        successors_answer: instead, a retired model's successor answers, as the Gemini Developer API
            does for some text models.
        forbidden_models: comma-separated models that the project may not use: they answer 403.
        down: all calls answer 503.
        down_locations: comma-separated locations in which all calls answer 503.
        hold: calls that are ready to be answered wait until this is unset.
    """

    latency_s: float = 0.5
    quota_per_minute: float = 0.0
    location_quotas: str = ""
    retry_after_s: float = 0.0
    unavailable_rate: float = 0.0
    quota_rate: float = 0.0
    blocked_rate: float = 0.0
    empty_rate: float = 0.0
    hang_rate: float = 0.0
    cut_rate: float = 0.0
    drafts_rate: float = 0.0
    thought_image_rate: float = 0.0
    cancelled_rate: float = 0.0
    aborted_rate: float = 0.0
    tail_rate: float = 0.0
    tail_factor: float = 20.0
    canned_bytes: int = 0
    flux: bool = False
    stable_diffusion: bool = False
    dedicated: bool = False
    retired_models: str = ""
    successors_answer: bool = False
    forbidden_models: str = ""
    down: bool = False
    down_locations: str = ""
    hold: bool = False


@dataclasses.dataclass
class Counts:
    """Counters since the start.

    Attributes:
        calls: all calls.
        images: images that were returned, for which the real service would charge.
        unanswered: calls that were cut off, hung, or were abandoned by the client before the
            response. The real service may charge for those too.
        refused_for_quota: calls beyond the quota.
        in_flight: calls in progress now.
        most_in_flight: the maximum of `in_flight` so far.
        endpoint_reads: how often an endpoint was asked for its host.
        billed_usd: what the calls to Gemini models cost, by the catalog's prices.
    """

    calls: int = 0
    images: int = 0
    unanswered: int = 0
    refused_for_quota: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    endpoint_reads: int = 0
    billed_usd: float = 0.0


class Behaviour:
    """Decides the fault and the latency of each call. `seed` makes random faults repeatable."""

    def __init__(self, settings: Settings | None = None, *, seed: int | None = None) -> None:
        self.settings = settings or Settings()
        self.counts = Counts()
        self._chance = random.Random(seed)  # noqa: S311 - chance, not a secret
        self._seen: set[tuple[str, str]] = set()
        self._shared_quota = _Quota()
        self._location_quotas: defaultdict[str, _Quota] = defaultdict(_Quota)

    def fault(self, prompt: str, location: str) -> Fault | None:
        """Return the fault of a call with this prompt; None to return an image.

        Args:
            prompt: the text of the prompt.
            location: where the call goes, such as `global`.
        """
        if self.settings.down or location in names_in(self.settings.down_locations):
            return Fault.UNAVAILABLE
        if self._over_quota(location):
            self.counts.refused_for_quota += 1
            return Fault.QUOTA
        return self.requested_fault(prompt) or self._random_fault()

    def requested_fault(self, prompt: str) -> Fault | None:
        """Return the fault that a prompt requests for itself; None if it requests none."""
        for name, once in _WORD.findall(prompt):
            if name in _NAMES and not (once and self._seen_before(name, prompt)):
                return Fault(name)
        return None

    def latency_s(self, fault: Fault | None) -> float:
        """Return how long the call takes, in seconds. Immediate rejections are quick."""
        latency = self.settings.latency_s
        if fault in (Fault.QUOTA, Fault.UNAVAILABLE, Fault.INVALID):
            return min(latency, 0.02)
        slow = fault is Fault.SLOW or self._chance.random() < self.settings.tail_rate
        return latency * self.settings.tail_factor if slow else latency

    def _random_fault(self) -> Fault | None:
        s = self.settings
        roll = self._chance.random()
        for fault, rate in (
            (Fault.UNAVAILABLE, s.unavailable_rate),
            (Fault.QUOTA, s.quota_rate),
            (Fault.BLOCKED, s.blocked_rate),
            (Fault.EMPTY, s.empty_rate),
            (Fault.HANG, s.hang_rate),
            (Fault.CUT, s.cut_rate),
            (Fault.DRAFTS, s.drafts_rate),
            (Fault.THOUGHT_IMAGE, s.thought_image_rate),
            (Fault.CANCELLED, s.cancelled_rate),
            (Fault.ABORTED, s.aborted_rate),
        ):
            if roll < rate:
                return fault
            roll -= rate
        return None

    def _seen_before(self, name: str, prompt: str) -> bool:
        if (name, prompt) in self._seen:
            return True
        self._seen.add((name, prompt))
        return False

    def _over_quota(self, location: str) -> bool:
        own = {
            name: limit
            for name, _, limit in (
                each.partition("=") for each in names_in(self.settings.location_quotas)
            )
        }
        if location in own:
            return self._location_quotas[location].used_up(float(own[location]))
        return self._shared_quota.used_up(self.settings.quota_per_minute)


def names_in(setting: str) -> frozenset[str]:
    """Return the values of a setting that lists them with commas."""
    return frozenset(name.strip() for name in setting.split(",") if name.strip())


class _Quota:
    """A token bucket, with a burst of one second's quota."""

    def __init__(self) -> None:
        self._tokens = 1.0
        self._refilled_at = time.monotonic()

    def used_up(self, per_minute: float) -> bool:
        """Take a call from the bucket, and return whether there was none; 0 means no quota."""
        per_s = per_minute / 60
        now = time.monotonic()
        passed, self._refilled_at = now - self._refilled_at, now
        if not per_s:
            return False
        self._tokens = min(max(1.0, per_s), self._tokens + passed * per_s)
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False
