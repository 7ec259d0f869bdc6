"""Who claims, who waits, and who takes over, in every order in which workers can meet."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.engine.claim_decision import LEASE_S, OWN_LEASE_S, RENEW_EVERY_S, Step, next_step
from beam_jobs.images.claim import UNKNOWN, Claim, Claimant

ME = Claimant("ab" * 16, "machine/1/1/me")
SAME_DELIVERY = Claimant(ME.payer, "machine/2/1/other")
OTHER = Claimant("cd" * 16, "machine/2/1/other")


def step(by=OTHER, age_s=0.0, *, watched_s=0.0, ended=False):
    return next_step(Claim("7", by, age_s), ME, watched_s=watched_s, ended=ended)


def test_a_prompt_without_a_claim_is_claimed():
    assert next_step(None, ME, watched_s=0.0, ended=False) is Step.CREATE


@pytest.mark.parametrize(
    ("age_s", "watched_s", "expected"),
    [
        (0.0, 0.0, Step.WAIT),
        (-1.0, 0.0, Step.WAIT),  # `Date` has whole seconds
        (LEASE_S - 1, 0.0, Step.WAIT),
        (LEASE_S, 0.0, Step.TAKE_OVER),
        (LEASE_S - 30, 29.0, Step.WAIT),
        (LEASE_S - 30, 30.0, Step.TAKE_OVER),
        (None, LEASE_S - 1, Step.WAIT),
        (None, LEASE_S, Step.TAKE_OVER),
        (-2_300_000_000.0, LEASE_S - 1, Step.WAIT),  # created in the year 2099
        (-2_300_000_000.0, LEASE_S, Step.TAKE_OVER),
        (-LEASE_S / 2, LEASE_S, Step.TAKE_OVER),
    ],
)
@pytest.mark.parametrize("by", [OTHER, UNKNOWN], ids=["other", "unknown"])
def test_somebody_elses_claim_expires_by_its_age_and_by_how_long_it_was_watched(
    by, age_s, watched_s, expected
):
    assert step(by, age_s, watched_s=watched_s) is expected


def test_a_delivery_waits_for_its_own_claim_for_half_as_long():
    assert step(SAME_DELIVERY, OWN_LEASE_S - 1) is Step.WAIT
    assert step(SAME_DELIVERY, OWN_LEASE_S) is Step.TAKE_OVER
    assert step(OTHER, OWN_LEASE_S) is Step.WAIT


def test_deliveries_that_nothing_identifies_are_not_the_same():
    nobody = Claimant("", "machine/1/1/me")
    claim = Claim("7", Claimant("", "machine/2/1/other"), OWN_LEASE_S)
    assert next_step(claim, nobody, watched_s=0.0, ended=False) is Step.WAIT


def test_a_claim_of_a_process_that_has_ended_is_taken_over_at_once():
    assert step(ended=True) is Step.TAKE_OVER


def test_a_claim_whose_creation_was_answered_too_late_is_ones_own():
    assert step(ME) is Step.TAKE_OVER


def test_a_claim_does_not_expire_because_one_renewal_is_late_or_fails():
    assert 2 * RENEW_EVERY_S < OWN_LEASE_S < LEASE_S / 1.5


@dataclasses.dataclass
class Worker:
    """A worker as the engine has it: it looks, decides on what it saw, and then acts."""

    me: Claimant
    seen: tuple[int, Claimant, float] | None = None  # generation, by, created at
    seen_at: float = 0.0
    looked: bool = False
    held: int = 0
    renewed_at: float = 0.0
    alive: bool = True


class World:
    """Storage with a clock of its own, and the workers that got the same prompt."""

    def __init__(self, same_delivery: bool) -> None:
        self.now = 0.0
        self.claim: tuple[int, Claimant, float] | None = None
        self.generation = 0
        self.recorded = False
        self.paying: set[int] = set()
        payers = ["aa" * 16] * 3 if same_delivery else ["aa" * 16, "bb" * 16, "cc" * 16]
        self.workers = [Worker(Claimant(payer, f"m/{n}/1/x")) for n, payer in enumerate(payers)]

    def write(self, by: Claimant, replaced: int) -> int | None:
        """Write with a precondition on the generation, as Cloud Storage does."""
        if (self.claim[0] if self.claim else 0) != replaced:
            return None
        self.generation += 1
        self.claim = (self.generation, by, self.now)
        return self.generation

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in which those who work renew their claims."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + 1.0, until)
            for number, worker in enumerate(self.workers):
                due = self.now - worker.renewed_at >= RENEW_EVERY_S
                if worker.alive and number in self.paying and due:
                    worker.held = self.write(worker.me, worker.held) or 0
                    worker.renewed_at = self.now
                    assert worker.held, "a claim that is renewed in time is never taken over"

    def act(self, number: int) -> None:
        """Let a worker do its next request."""
        worker = self.workers[number]
        if not worker.alive:
            return
        if number in self.paying:
            self.recorded = True
            self.paying.discard(number)
            return
        if not worker.looked:
            if self.claim is None or worker.seen is None or worker.seen[0] != self.claim[0]:
                worker.seen, worker.seen_at = self.claim, self.now
            worker.looked = not self.recorded
            return
        worker.looked = False
        seen = worker.seen
        # What the engine reads is the age when it looked; the rest it has watched.
        claim = Claim(str(seen[0]), seen[1], worker.seen_at - seen[2]) if seen else None
        ended = bool(seen) and not self.owner_alive(seen[1])
        what = next_step(
            claim, worker.me, watched_s=self.now - worker.seen_at, ended=ended and number == 2
        )
        if what is Step.WAIT:
            return
        held = self.write(worker.me, seen[0] if seen else 0)
        if held is None:
            return
        worker.held, worker.renewed_at = held, self.now
        if not self.recorded:
            self.paying.add(number)
            alive = {each for each in self.paying if self.workers[each].alive}
            assert alive == {number}, "two that are alive pay for the same prompt"

    def owner_alive(self, by: Claimant) -> bool:
        return any(worker.me == by and worker.alive for worker in self.workers)


ACTIONS = st.one_of(
    st.tuples(st.just("act"), st.integers(0, 2)),
    st.tuples(st.just("kill"), st.integers(0, 2)),
    st.tuples(st.just("pass"), st.sampled_from([1, 20, 44, 46, 89, 91])),
)


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(ACTIONS, max_size=40))
def test_in_no_order_do_two_living_workers_pay_and_in_every_order_somebody_does(
    same_delivery, actions
):
    world = World(same_delivery)
    for kind, number in actions:
        if kind == "act":
            world.act(number)
        elif kind == "pass":
            world.pass_time(number)
        elif sum(worker.alive for worker in world.workers) > 1:
            world.workers[number].alive = False
    for _ in range(12):
        world.pass_time(LEASE_S / 2)
        for number in range(3):
            world.act(number)
    assert world.recorded, "whoever is alive gets the images made"
