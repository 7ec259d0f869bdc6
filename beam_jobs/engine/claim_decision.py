"""What to do about a prompt that is not paid for yet: claim it, take its claim over, or wait. Pure.

Whoever has a claim renews it while the work goes on, so a claim that is not renewed is left behind.
A claim that belonged to this delivery of the prompt is left behind even if it is younger: a message
is delivered again because its worker died.
"""

from enum import StrEnum

from beam_jobs.images.claim import Claim, Claimant

# An image takes 10 to 30 s, so many claims are never renewed.
RENEW_EVERY_S = 20.0
# Seconds after which a claim that was not renewed is left behind: of somebody else, four renewals
# have failed; of this very delivery, two.
LEASE_S = 90.0
OWN_LEASE_S = 45.0


class Step(StrEnum):
    """What to do next."""

    CREATE = "create"
    TAKE_OVER = "take over"
    WAIT = "wait"


def next_step(claim: Claim | None, me: Claimant, *, watched_s: float, ended: bool) -> Step:
    """Return what to do about a prompt that is not paid for.

    This process's own clock measures nothing but how long it has watched the claim. So one whose
    age is not told, or is absurd, expires too.

    Args:
        claim: that is there; None if there is none.
        me: who asks. Nobody else in this process works on the prompt.
        watched_s: for how many seconds this generation of the claim was seen so far.
        ended: whether the process that has it is known to have ended.
    """
    if claim is None:
        return Step.CREATE
    if claim.by.process == me.process or ended:
        return Step.TAKE_OVER  # one's own: the answer to the request that created it was lost
    own = bool(me.payer) and claim.by.payer == me.payer
    lease_s = OWN_LEASE_S if own else LEASE_S
    age_s = claim.age_s if claim.age_s is not None and claim.age_s > -LEASE_S else 0.0
    return Step.TAKE_OVER if max(age_s, 0.0) + watched_s >= lease_s else Step.WAIT
