"""Where and how Google serves a job's models: locations and the tier, and how long a call takes."""

import argparse
import dataclasses

from beam_jobs.catalog import (
    CATALOG,
    FLEX_CALL_TIMEOUT_S,
    GLOBAL,
    Tier,
    location_problem,
    locations_in,
    tier_problem,
)

CALL_TIMEOUT_S = 300.0


@dataclasses.dataclass(frozen=True)
class Serving:
    """Where and how models are called.

    Attributes:
        gemini_locations: for Gemini models, in the order of preference; at least one.
        predict_location: for models with the `:predict` API.
        tier: what Gemini models are asked for. One that does not have it is asked for standard.
        flex_fallback_s: after how many seconds a call goes on in standard that got nothing in flex;
            None for never.
        call_timeout_s: timeout of one call.
    """

    gemini_locations: tuple[str, ...] = (GLOBAL,)
    predict_location: str = "us-central1"
    tier: Tier = Tier.STANDARD
    flex_fallback_s: float | None = None
    call_timeout_s: float = CALL_TIMEOUT_S

    @classmethod
    def of(cls, options: argparse.Namespace, region: str | None) -> "Serving":
        """Return what checked options say.

        Args:
            options: the job's own.
            region: where the job runs, if it says so.
        """
        names = locations_in(options.model_location)
        tier = Tier(options.request_tier)
        usual_s = FLEX_CALL_TIMEOUT_S if tier is Tier.FLEX else CALL_TIMEOUT_S
        return cls(
            gemini_locations=names or (GLOBAL,),
            predict_location=names[0] if names else region or "us-central1",
            tier=tier,
            flex_fallback_s=options.flex_fallback_seconds,
            call_timeout_s=options.call_timeout_seconds or usual_s,
        )

    @property
    def shortest_timeout_s(self) -> float:
        """The timeout of a call, whatever its model and tier are, in seconds."""
        return min(self.call_timeout_s, self.flex_fallback_s or self.call_timeout_s)

    def tier_of(self, model: str) -> Tier:
        """Return the tier in which a model is called."""
        row = CATALOG.get(model)
        return self.tier if row is None or self.tier in row.tiers else Tier.STANDARD


def serving_problems(options: argparse.Namespace) -> list[str]:
    """Return the problems with the locations and the tier, one line each."""
    model, tier = options.model, options.request_tier
    problems = []
    if problem := location_problem(model, options.model_location, tier):
        problems.append(f"--model_location: {problem}")
    if problem := tier_problem(model, tier):
        problems.append(f"--request_tier: {problem}")
    if options.flex_fallback_seconds is not None and tier != Tier.FLEX:
        problems.append(
            f"--flex_fallback_seconds is only for --request_tier=flex, got {tier}; remove it"
        )
    return problems
