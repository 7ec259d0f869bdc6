"""What the trigger forms ask about a job, checked before anything is launched. Pure."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from imagen_ops.settings import DEFAULT_MODEL

# As in beam_jobs/config/options.py: both become parts of an address that the job calls, with its
# rights.
MODEL = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}"
ENDPOINT = rf"projects/[A-Za-z0-9][A-Za-z0-9.:_-]*/locations/[a-z][a-z0-9-]*/endpoints/{MODEL}"


@dataclasses.dataclass(frozen=True)
class JobForm:
    """What the trigger forms ask about a job; units are in the names. None: not set."""

    model: str
    model_endpoint: str | None = None
    request_tier: str = "standard"
    max_in_flight: int = 64
    max_requests_per_minute: float | None = None
    max_retry_seconds: float = 600.0
    max_workers: int = 2

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "JobForm":
        """Take the fields of a form out of a run's parameters; others are left alone.

        Raises:
            ValueError: a field without which there is no launching is missing, or one that becomes
                part of an address is not what it has to be. (Airflow holds forms against that; a
                form that comes back from the Variable was not.)
        """
        names = {field.name for field in dataclasses.fields(cls)}
        taken = {name: value for name, value in given.items() if name in names}
        if not taken.get("model"):
            raise ValueError(f"expected a form that names a model, got fields {sorted(given)}")
        form = cls(**taken)
        if not re.fullmatch(MODEL, form.model):
            raise ValueError(f"model: expected an id such as {DEFAULT_MODEL}, got {form.model!r}")
        if form.model_endpoint and not re.fullmatch(ENDPOINT, form.model_endpoint):
            raise ValueError(
                "model_endpoint: expected projects/P/locations/L/endpoints/E, got "
                f"{form.model_endpoint!r}"
            )
        return form

    def contradictions(self) -> list[str]:
        """Return what no single field shows; the job would refuse it, minutes later."""
        gemini = self.model.startswith("gemini-")
        wrong = []
        if self.model_endpoint and gemini:
            wrong.append(
                f"model_endpoint: {self.model} is Google's own; an endpoint is for a model that is "
                "deployed on one, which the field model names"
            )
        if not (self.model_endpoint or gemini or self.model.startswith("imagen-")):
            wrong.append(
                f"model: {self.model} is none of Google's own; say in model_endpoint where it is "
                "deployed"
            )
        if self.request_tier == "flex" and not gemini:
            wrong.append(f"request_tier: flex is offered for Gemini models, not for {self.model}")
        return wrong

    def to_json(self) -> dict[str, Any]:
        """Return the fields, for `of`."""
        return dataclasses.asdict(self)
