"""Learns together what rate of calls a quota allows, from what all workers report. Pure.

One worker alone learns from each refusal (`engine.quota`). If each of many did that, each would try
to start more calls and be refused for it. So there is one rate for all, and it changes in steps
that everybody knows: a little higher while calls are accepted, and below the accepted rate once
they are refused. Each step has a version, so that what a worker reports is judged against the rate
that it had.
"""

import dataclasses
import math
from collections.abc import Collection

from beam_jobs.fleet.report import Usage

# Steps after calls were refused, as a share of the rate. If they lead beyond `PROBED` times what
# was accepted then, and beyond what two of them add, the quota must be larger, and each is `FASTER`
# times the one before. A service that lets a second's worth of calls start at once hides small
# steps for a while. Simulated in tests/beam_jobs/fleet/test_fleet.py.
FIRST_STEP = 0.01
PROBED = 1.04
# What each has found alone in its first seconds can be off by more, so steps from there are larger.
FIRST_STEP_AFTER_ALONE = 0.05
FASTER = 2.0
MAX_STEP = 0.4
# Below what was accepted when calls were last refused, one step leads back to it.
BACK_OFF_FACTOR = 0.9
# One step lowers the rate to this factor at the lowest, as for one worker.
LOWEST_FACTOR = 0.5
# The lowest rate of all workers together, in calls per second: one has to find out when there is
# quota again.
MIN_CALLS_PER_S = 0.2
# Refusals beyond those that there are below the quota too, as a share of the calls, until the rate
# is lowered.
MAX_EXCESS = 0.01
MIN_REFUSED = 2
# and by so many standard deviations of such a count.
SIGNIFICANCE = 0.5
# Refusals that are there at any rate, as in a pool that all customers share, can be this many.
MAX_NOISE = 0.1
# Until this version, workers that are heard for the first time have learned alone beside those that
# are known. Later, what they were accepted is a part of what is known: they were idle for a moment.
# Added for good, the rate of 1,000 workers grew and grew: 56% of their calls were refused.
LAST_BESIDE = 3
# A rate is tested if calls waited for it, and so many of the workers were heard, for so long, with
# so many calls.
HEARD_SHARE = 0.7
MIN_SECONDS = 1.5
MIN_CALLS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Learned:
    """What is known of a quota.

    Args:
        per_second: calls that all workers together may start per second.
        version: of this rate; from 1.
        step: by which share of it the next step is higher.
        accepted: the highest rate that may have been accepted when calls were last refused.
        noise: the share of calls that is refused below the quota too.
        lowered: whether this rate is lower than the one before.
    """

    per_second: float
    version: int
    step: float = FIRST_STEP
    accepted: float = 0.0
    noise: float = 0.0
    lowered: bool = True


def learn(
    known: Learned | None, usage: Collection[Usage], new: Collection[Usage] = ()
) -> Learned | None:
    """Return what is known of a quota after the workers' reports.

    Args:
        known: what was known before; None: nothing.
        usage: what all workers report, the new ones included.
        new: what those report that are heard for the first time.
    """
    if len(usage) == 1:
        return _alone(known, *usage)
    if known is None:
        if not any(each.refused for each in usage):
            return None
        # Each has found alone what it is allowed beside the others.
        rate = max(MIN_CALLS_PER_S, sum(each.accepted_per_second for each in usage))
        return Learned(rate, 1, FIRST_STEP_AFTER_ALONE, accepted=rate)
    alone = sum(each.accepted_per_second for each in new if each.version == 0)
    if alone and known.version <= LAST_BESIDE:
        rate = known.per_second + alone
        return Learned(
            rate,
            known.version + 1,
            FIRST_STEP_AFTER_ALONE,
            accepted=rate,
            noise=known.noise,
            lowered=False,
        )
    heard = [each for each in usage if each.version == known.version]
    started = sum(each.started for each in heard)
    refused = sum(each.refused for each in heard)
    if not started:
        return known
    of_all = len(usage) / len(heard)
    seconds = sum(each.seconds for each in heard) / len(heard)
    is_limit = any(math.isinf(each.wants) for each in usage)
    tried = known.per_second if is_limit else started * of_all / max(MIN_SECONDS, seconds)
    # Whoever has many refused calls is heard first, so those that are not heard yet have none.
    share = refused / (started * of_all)
    # What is refused right after a step down is there at any rate, unless it is very much.
    most = MAX_NOISE if known.lowered else known.noise + MAX_EXCESS
    if share > most:
        expected = most * started * of_all
        if refused >= max(MIN_REFUSED, expected + SIGNIFICANCE * math.sqrt(expected)):
            return _lowered(known, tried, share, started * of_all)
        return known  # it may be chance: with more calls it will show
    if of_all * HEARD_SHARE > 1 or seconds < MIN_SECONDS or started < MIN_CALLS:
        return known
    return _raised(known, share, started) if is_limit else known


def _alone(known: Learned | None, usage: Usage) -> Learned | None:
    """Return what is known while one worker learns by itself, which is faster."""
    if known is None and not usage.refused:
        return None
    rate = max(MIN_CALLS_PER_S, usage.accepted_per_second)
    if known and math.isfinite(usage.wants):  # it did not need all that it is allowed
        rate = max(rate, known.per_second)
    return Learned(rate, known.version if known else 1, accepted=rate)


def _lowered(known: Learned, tried: float, refused_share: float, calls: float) -> Learned:
    accepted = tried * (1 - refused_share)
    rate = max(MIN_CALLS_PER_S, LOWEST_FACTOR * known.per_second, BACK_OFF_FACTOR * accepted)
    # Few calls were judged, of whoever was refused first. If that was chance, small steps back
    # would take a minute, so one step leads to what else it may have been.
    deviation = math.sqrt(refused_share * (1 - refused_share) / calls)
    return Learned(
        min(rate, known.per_second),
        known.version + 1,
        accepted=max(rate, min(tried, accepted + tried * deviation)),
        noise=known.noise,
    )


def _raised(known: Learned, refused_share: float, calls: int) -> Learned:
    noise = known.noise
    if known.lowered:
        noise = (noise + min(MAX_NOISE, refused_share)) / 2
    step = known.step
    if known.per_second < known.accepted:
        rate = min(known.accepted, known.per_second * (1 + MAX_STEP))
    else:
        # A step that is smaller than one call in those that were judged would not be noticed.
        rate = known.per_second * (1 + max(step, 1 / max(calls, 1 / MAX_STEP) / 2))
        if rate > max(PROBED, 1 + 2 * step) * known.accepted:
            step = min(MAX_STEP, step * FASTER)
    return Learned(
        rate, known.version + 1, step, accepted=known.accepted, noise=noise, lowered=False
    )
