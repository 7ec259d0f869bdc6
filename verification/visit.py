"""One run of the checks against one deployment: what they share, and what is to clean up."""

import dataclasses
import functools
import os
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from verification.access import Access, NotAskedError
from verification.airflow_api import AirflowApi
from verification.deployment import Deployment


@dataclasses.dataclass
class Visit:
    """What checks are given.

    Attributes:
        deployment: what is looked at.
        access: Google's APIs.
        mark: in the name of whatever is made, and in each prompt: `verify-` and 8 digits.
        until: when the check that asks must give up, in seconds of `time.monotonic`.
        known: what one check found and others need, such as the stream's job.
        clean_ups: what to do at the end, each with words for it; the last one first.
        poll_s: seconds between two looks at what is waited for.
        pull_s: seconds that a pull waits for what may not be there.
    """

    deployment: Deployment
    access: Access
    mark: str = dataclasses.field(default_factory=lambda: f"verify-{uuid.uuid4().hex[:8]}")
    until: float = 0.0
    known: dict[str, Any] = dataclasses.field(default_factory=dict)
    clean_ups: list[tuple[str, Callable[[], object]]] = dataclasses.field(default_factory=list)
    poll_s: float = 5.0
    pull_s: float = 4.0
    environment: Mapping[str, str] = dataclasses.field(default_factory=lambda: os.environ)

    @functools.cached_property
    def composer(self) -> dict[str, Any]:
        """The Composer environment, as its API describes it."""
        where = self.deployment
        return self.access.call(
            "composer",
            "GET",
            f"/v1/projects/{where.project}/locations/{where.region}/environments/{where.environment}",
        )

    @functools.cached_property
    def airflow(self) -> AirflowApi:
        """Airflow's API.

        Raises:
            NotAskedError: there is no Airflow beside the stand-ins that this is told of.
        """
        url = self.deployment.airflow_url
        token = self.environment.get("AIRFLOW_TOKEN", "")
        if not url and self.access.on_stand_ins:
            raise NotAskedError(
                "AIRFLOW_URL and AIRFLOW_TOKEN name no Airflow beside the stand-ins"
            )
        if not token and self.access.on_stand_ins:
            raise NotAskedError(
                "AIRFLOW_TOKEN is not set, and this Airflow knows no Google account"
            )
        return AirflowApi(
            url or str(self.composer["config"]["airflowUri"]), self.access.session(), token=token
        )

    def at_the_end(self, what: str, do: Callable[[], object]) -> None:
        """Have something cleaned up at the end, whatever happens.

        Args:
            what: in words, and how people do it, should this fail.
            do: cleans up; if there is nothing, it does nothing.
        """
        self.clean_ups.append((what, do))

    def wait_for(self, look: Callable[[], Any]) -> Any:
        """Return the first true value that `look` returns; the last one if time is up."""
        while not (found := look()):
            if time.monotonic() > self.until:
                return found
            time.sleep(self.poll_s)
        return found
