"""What the doctor looks for: the names that options and environment variables give."""

import dataclasses
import os
import re

from beam_jobs import names
from beam_jobs.catalog import (
    DEFAULT_MODEL,
    GLOBAL,
    LOCATION_PATTERN,
    MODEL_PATTERN,
    PREDICT_PATTERN,
    Family,
    Tier,
    family_of,
    location_problem,
    locations_in,
)

_AN_ENDPOINT = "projects/PROJECT/locations/LOCATION/endpoints/ID"


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """A topic or a subscription.

    Args:
        name: its name.
        variable: the environment variable that names another one, if there is one.
        topic: the topic of a subscription.
        topic_variable: the environment variable that names another topic.
    """

    name: str
    variable: str
    topic: str = ""
    topic_variable: str = ""

    @property
    def other(self) -> str:
        """How to use another one."""
        return f", or name another with {self.variable}" if self.variable else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """What to look for. What no option says, an environment variable may.

    Args:
        project: the Google Cloud project, if there is one.
        images: the image folder, as `gs://BUCKET/FOLDER`; default: that of the project.
        model: the model for prompts that don't name one.
        endpoint: what serves it over `:predict`, if it isn't Google's own model.
        given_location: the locations that serve it, separated by commas; default: as for the jobs.

    Raises:
        ValueError: model, endpoint or location are none. They become part of a URL.
    """

    project: str | None
    images: str | None
    model: str
    endpoint: str | None
    given_location: str | None

    def __post_init__(self) -> None:
        for option, pattern, given, expected in (
            ("--model", MODEL_PATTERN, self.model, DEFAULT_MODEL),
            ("--model-endpoint", PREDICT_PATTERN, self.endpoint, _AN_ENDPOINT),
            ("REGION", LOCATION_PATTERN, os.environ.get("REGION"), "us-central1"),
        ):
            if given and not re.fullmatch(pattern, given):
                raise ValueError(f"{option}: expected a value such as {expected}, got {given!r}")
        if problem := location_problem(self.model, self.given_location, Tier.STANDARD):
            raise ValueError(f"--model-location: {problem}")

    @property
    def images_url(self) -> str:
        """The image folder, as the scripts name it."""
        bucket = os.environ.get("BUCKET") or f"{self.project or 'PROJECT'}-imagen"
        return self.images or f"gs://{bucket}/images"

    @property
    def locations(self) -> tuple[str, ...]:
        """The locations that serve the model, as the jobs choose them."""
        if self.endpoint:
            return (self.endpoint.split("/")[3],)
        is_gemini = family_of(self.model) is Family.GEMINI
        return locations_in(self.given_location) or (GLOBAL if is_gemini else self.region,)

    @property
    def region(self) -> str:
        """The region of the jobs."""
        return os.environ.get("REGION") or "us-central1"

    @property
    def stream(self) -> str:
        """The name of the stream's job."""
        return os.environ.get("STREAM_JOB_NAME") or names.STREAM_JOB

    @property
    def topics(self) -> list[Named]:
        """The topics that prompts, predictions and dead letters go through."""
        return [
            _named("PROMPTS_TOPIC", names.PROMPTS_TOPIC),
            _named("PREDICTIONS_TOPIC", names.PREDICTIONS_TOPIC),
            _named("DEAD_LETTERS_TOPIC", names.DEAD_LETTERS_TOPIC),
        ]

    @property
    def subscriptions(self) -> list[Named]:
        """The subscriptions of these topics."""
        prompts, predictions, dead_letters = self.topics
        return [
            _named("PROMPTS_SUBSCRIPTION", names.PROMPTS_SUBSCRIPTION, prompts),
            _named("PREDICTIONS_SUBSCRIPTION", names.PREDICTIONS_SUBSCRIPTION, predictions),
            _named("", names.CANARY_SUBSCRIPTION, predictions),
            _named("", names.DEAD_LETTERS_SUBSCRIPTION, dead_letters),
        ]


def _named(variable: str, default: str, topic: Named | None = None) -> Named:
    name = os.environ.get(variable) or default
    return Named(name, variable, topic.name, topic.variable) if topic else Named(name, variable)
