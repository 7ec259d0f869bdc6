"""Builds the adapters of the models that a job calls, and the routes to them."""

import asyncio

import aiohttp

from beam_jobs.catalog import PROMPT_FIELD, Family, Tier, family_of
from beam_jobs.config.job_config import JobConfig
from beam_jobs.engine.limiter import AdaptiveLimiter
from beam_jobs.engine.routes import Route, RoutedModel
from beam_jobs.engine.shared_quota import SharedQuota
from beam_jobs.fleet.fleet import Fleet
from beam_jobs.models.base import ImageModel


class ServedModels:
    """Models, and the limiter of each place that serves them. Create it in the event loop.

    Args:
        config: the job's checked options.
        session: sends the calls.
        fleet: shares the quotas with other workers.

    Attributes:
        limiter: paces the calls of models that have no routes.
    """

    def __init__(self, config: JobConfig, session: aiohttp.ClientSession, fleet: Fleet) -> None:
        self._config = config
        self._session = session
        self._fleet = fleet
        self._job_rate = None
        if config.requests_per_minute is not None:
            self._job_rate = SharedQuota(
                fleet.member(job_quota(config.requests_per_minute)),
                # One second's worth of calls may start at once. A larger burst would hit the
                # service's own limit.
                catch_up_s=1.0,
                others=config.fleet is not None,
            )
        self._in_flight = asyncio.Semaphore(config.max_in_flight)
        self._limiters: dict[tuple[str, Tier], AdaptiveLimiter] = {}
        serving = config.serving
        self.limiter = self._limiter_of(serving.gemini_locations[0], serving.tier)

    @property
    def in_flight(self) -> int:
        """How many model calls are in flight now."""
        return sum(limiter.in_flight for limiter in self._limiters.values())

    def model(self, name: str) -> ImageModel | RoutedModel:
        """Build the adapter of a model, or the routes to it."""
        if family_of(name) is Family.PREDICT:
            return self._predict_model(name)
        tier, fallback_s = self._config.serving.tier_of(name), self._config.serving.flex_fallback_s
        if tier is not Tier.FLEX or fallback_s is None:
            return self._routed(name, tier)
        standard = self._routed(name, Tier.STANDARD)
        return self._routed(name, tier, otherwise=standard, otherwise_after_s=fallback_s)

    def _routed(
        self,
        name: str,
        tier: Tier,
        *,
        otherwise: RoutedModel | None = None,
        otherwise_after_s: float = 0.0,
    ) -> RoutedModel:
        return RoutedModel(
            [
                self._route(name, location, tier, otherwise_after_s)
                for location in self._config.serving.gemini_locations
            ],
            in_flight=self._in_flight,
            otherwise=otherwise,
            otherwise_after_s=otherwise_after_s,
        )

    def _route(self, name: str, location: str, tier: Tier, otherwise_after_s: float) -> Route:
        # Each adapter's client library takes seconds to import, and most jobs use only one.
        from beam_jobs.models.gemini import GeminiModel

        timeout_s = self._config.serving.call_timeout_s
        adapter = GeminiModel(
            self._session,
            model=name,
            project=self._config.project,
            location=location,
            timeout_s=min(timeout_s, otherwise_after_s or timeout_s),
            tier=tier,
        )
        shown = f"{name} at {location}" + ("" if tier is Tier.STANDARD else f" in {tier}")
        return Route(shown, adapter, self._limiter_of(location, tier))

    def _limiter_of(self, location: str, tier: Tier) -> AdaptiveLimiter:
        if (location, tier) not in self._limiters:
            # Google counts each project's calls, by location and tier.
            member = self._fleet.member(f"{self._config.project}/{location}/{tier.value}")
            self._limiters[location, tier] = AdaptiveLimiter(
                self._config.max_in_flight, quota=SharedQuota(member), job_rate=self._job_rate
            )
        return self._limiters[location, tier]

    def _predict_model(self, name: str) -> ImageModel:
        from beam_jobs.models.predict import PredictModel, base_url_from_environment

        config = self._config
        return PredictModel(
            self._session,
            resource=resource_of(name, config),
            timeout_s=config.serving.call_timeout_s,
            base_url=base_url_from_environment(),
            prompt_field=config.prompt_field if name == config.defaults.model else PROMPT_FIELD,
        )


def job_quota(requests_per_minute: float) -> str:
    """Return the name of the quota that --max_requests_per_minute sets.

    It says the rate, so that a job that is updated in place, with another one, doesn't share it.
    """
    return f"--max_requests_per_minute={requests_per_minute:g}"


def resource_of(name: str, config: JobConfig) -> str:
    """Return the endpoint or publisher model that serves the model `name` over `:predict`.

    The job's endpoint serves only the job's default model, and Google serves all others. Otherwise
    one model would generate images under the name of another, and they would be reused for it.
    """
    if endpoint := config.defaults.endpoint_of(name):
        return endpoint
    parent = f"projects/{config.project}/locations/{config.serving.predict_location}"
    return f"{parent}/publishers/google/models/{name}"
