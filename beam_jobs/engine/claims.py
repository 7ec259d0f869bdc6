"""Claims on prompts: of all workers that get the same new prompt, one pays, and the others wait.

A claim is written before the first model call, and is left where it is once the record is there:
whoever was about to write one then finds it, and looks again. A prompt that fails gives its claim
up at once. What a worker leaves behind that dies expires.

Two may still pay if a claim expires while its holder is alive: it could neither renew it nor finish
for as long as a lease. And whoever may not write claims goes on without them.
"""

import asyncio
import dataclasses
import logging
import random
import time

from beam_jobs.engine.claim_decision import RENEW_EVERY_S, Step, next_step
from beam_jobs.engine.persist import Persist
from beam_jobs.engine.this_process import has_ended, process_name
from beam_jobs.images.claim import Claim, Claimant, ClaimListing
from beam_jobs.images.refusals import Meaning
from beam_jobs.images.requests import StoreError
from beam_jobs.images.store import ImageStore
from beam_jobs.models.base import CallError, Retry
from beam_jobs.outcomes import Reason

_log = logging.getLogger(__name__)

# Seconds between two looks at what somebody else makes, from the first to the longest. A look is a
# list request; an image takes 10 to 30 s, so that it takes about eight.
FIRST_LOOK_S = 0.25
MAX_LOOK_S = 4.0
# Of all prompts of a process that wait together: those of a few windows of calls would be looked at
# hundreds of times a second. With many, each is looked at more seldom.
MAX_LOOKS_PER_S = 20.0
# A prompt waits no longer than this: twice what a call of the tier `flex` may take.
MAX_WAIT_S = 3600.0
# If storage took longer than this from the lookup to the claim, somebody else may have made the
# images in between, so they are looked up again.
STALE_AFTER_S = 1.0
# For so long no claims are tried after storage has refused one.
REFUSED_FOR_S = 300.0


class ClaimedError(Exception):
    """Somebody else is making the images, or was about to.

    Attributes:
        digest: under which they will be stored.
    """

    def __init__(self, digest: str) -> None:
        super().__init__(f"prompt {digest} is claimed")
        self.digest = digest


@dataclasses.dataclass
class Wait:
    """One prompt's wait for what somebody else makes.

    Attributes:
        claim: the one that was seen last; None if there was none.
        seen_at: since when, by `time.monotonic`.
        since: since when the prompt waits; None if it does not.
        looks: how often it was looked up meanwhile.
    """

    claim: Claim | None = None
    seen_at: float = 0.0
    since: float | None = None
    looks: int = 0


@dataclasses.dataclass
class _Held:
    """A claim of this process; `renewal` is the next or current one."""

    by: Claimant
    generation: str
    timer: asyncio.TimerHandle | None = None
    renewal: asyncio.Task[None] | None = None


class Claims:
    """The claims of a process. Use it from one event loop only.

    Args:
        store: where images and claims are.
        persist: sends the requests.
    """

    def __init__(self, store: ImageStore, persist: Persist) -> None:
        self._store = store
        self._persist = persist
        self._process = process_name()
        self._held: dict[str, _Held] = {}
        self._next_look_at = float("-inf")
        self._refused_until = float("-inf")
        self._reported = False

    async def claim(
        self,
        digest: str,
        payer: str,
        listed: ClaimListing | None,
        *,
        wait: Wait,
        looked_at: float,
    ) -> bool:
        """Claim a prompt before it is paid for, unless storage takes no claims.

        Args:
            digest: of the prompt.
            payer: its delivery.
            listed: the claim that was found; None if there was none.
            wait: the prompt's wait so far.
            looked_at: when the lookup began, by `time.monotonic`.

        Returns:
            Whether what is stored has to be looked up again.

        Raises:
            ClaimedError: somebody else has it.
            StoreError: storage fails.
        """
        me = Claimant(payer, self._process)
        step = await self._step(digest, me, listed, wait)
        if step is Step.WAIT:
            raise ClaimedError(digest)
        if time.monotonic() < self._refused_until:
            return False
        replaced = wait.claim.generation if wait.claim and step is Step.TAKE_OVER else "0"
        try:
            generation = await self._persist(
                lambda: self._store.claims.write(digest, me, replaced), paid=False
            )
        except StoreError as error:
            if error.meaning in (None, Meaning.TRANSIENT):
                raise
            self._refused(error)
            return False
        if generation is None:
            raise ClaimedError(digest)
        self._held[digest] = held = _Held(me, generation)
        self._schedule(digest, held, RENEW_EVERY_S)
        return step is Step.TAKE_OVER or time.monotonic() - looked_at > STALE_AFTER_S

    def keep(self, digest: str) -> None:
        """Leave a claim where it is: the record says the rest."""
        if held := self._held.pop(digest, None):
            _cancel(held)

    async def release(self, digest: str) -> None:
        """Give up a claim, so that nobody waits for images that do not come. Raises nothing."""
        if held := self._held.pop(digest, None):
            _cancel(held)
            if held.renewal:
                await asyncio.wait([held.renewal])
            await self._store.claims.delete(digest, held.generation)

    async def wait(self, digest: str, payer: str, wait: Wait) -> None:
        """Wait until the record is there, or the prompt can be claimed.

        Raises:
            CallError: it took too long.
            StoreError: storage fails.
        """
        me = Claimant(payer, self._process)
        wait.since = time.monotonic() if wait.since is None else wait.since
        while True:
            longest_s = min(MAX_LOOK_S, FIRST_LOOK_S * 1.6 ** min(wait.looks, 16))
            wait.looks += 1
            await asyncio.sleep(random.uniform(longest_s / 2, longest_s))  # noqa: S311 - jitter
            await self._turn()
            found = await self._persist(lambda: self._store.find(digest), paid=False)
            if found.record is not None:
                return
            if await self._step(digest, me, found.claim, wait) is not Step.WAIT:
                return
            if (waited_s := time.monotonic() - wait.since) > MAX_WAIT_S:
                raise CallError(
                    Reason.UNAVAILABLE,
                    f"another worker has been making these images for {waited_s / 60:.0f} min, as "
                    f"{self._store.claims.url(digest)} says; replay the prompt once it is done, or "
                    "delete that object first if no job is at work on it",
                    retry=Retry.NEVER,
                    retryable=True,
                )

    async def _turn(self) -> None:
        """Wait until another look may begin."""
        now = time.monotonic()
        at = max(now, self._next_look_at)
        self._next_look_at = at + 1.0 / MAX_LOOKS_PER_S
        await asyncio.sleep(at - now)

    async def _step(
        self, digest: str, me: Claimant, listed: ClaimListing | None, wait: Wait
    ) -> Step:
        if listed is None:
            wait.claim = None
        elif wait.claim is None or wait.claim.generation != listed.generation:
            wait.claim = await self._persist(
                lambda: self._store.claims.read(digest, listed), paid=False
            )
            wait.seen_at = time.monotonic()
            if wait.claim is None:  # it was renewed, or is gone: the next look tells
                return Step.WAIT
        claim = wait.claim
        return next_step(
            claim,
            me,
            watched_s=time.monotonic() - wait.seen_at,
            ended=claim is not None and has_ended(claim.by.process),
        )

    def _schedule(self, digest: str, held: _Held, after_s: float) -> None:
        loop = asyncio.get_running_loop()
        held.timer = loop.call_later(after_s, self._start_renewal, digest, held)

    def _start_renewal(self, digest: str, held: _Held) -> None:
        held.renewal = asyncio.create_task(self._renew(digest, held))

    async def _renew(self, digest: str, held: _Held) -> None:
        again_s = RENEW_EVERY_S
        try:
            generation = await self._store.claims.write(digest, held.by, held.generation)
            if generation is None:
                generation = await self._generation_of(digest, held)
            held.generation = generation
        except StoreError:
            again_s /= 3  # before it expires
        except ClaimedError:
            _log.warning("the claim on prompt %s was taken over; it may be paid for twice", digest)
            self._held.pop(digest, None)
            return
        if self._held.get(digest) is held:
            self._schedule(digest, held, again_s)

    async def _generation_of(self, digest: str, held: _Held) -> str:
        """Return the generation of this process's claim, after an answer that was lost.

        Raises:
            ClaimedError: it is not this process's any more.
            StoreError: storage fails.
        """
        found = await self._store.find(digest)
        claim = await self._store.claims.read(digest, found.claim) if found.claim else None
        if claim is None or claim.by != held.by:
            raise ClaimedError(digest)
        return claim.generation

    def _refused(self, error: StoreError) -> None:
        self._refused_until = time.monotonic() + REFUSED_FOR_S
        if not self._reported:
            self._reported = True
            _log.warning(
                "storage takes no claims, so workers that get the same new prompt at the same "
                "moment each pay for it: %s. Let the workers' account create, replace, and delete "
                "objects whose names end with .claim, as in composer.tf",
                str(error).rstrip(". "),
            )


def _cancel(held: _Held) -> None:
    if held.timer:
        held.timer.cancel()
